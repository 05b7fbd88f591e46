"""Providers: gRPC servers on unix sockets, found by name and called as upstream calls them.

A socket is looked for at every call, in upstream's directories and order; a channel is kept only while the
path is still the same socket (device and inode), so a provider that moved or was restarted is found again
without a restart here (upstream keeps its first channel for ever; users.md, P17).
"""

import dataclasses
import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc

from sscsi.core.file_plan import PlannedFile
from sscsi.edges.grpc_status import GO_NAMES
from sscsi.edges.unix_socket import unix_target
from sscsi.errors import ProviderCallError, ProviderNotFoundError, StoppingError
from sscsi.pb import provider_pb2, provider_pb2_grpc
from sscsi.ports import ProviderAnswer, ProviderRequest, ProviderVersion

_API_VERSION = "v1alpha1"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,30}")
# gRPC counts in 32 bits; Go, whose flag this is, in 64.
_MAX_COUNTED_BYTES = 2**31 - 1
# The retry policy of upstream's client (reference, 3.3), in gRPC's service config form.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": f"{_API_VERSION}.CSIDriverProvider"}],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "1s",
                "maxBackoff": "10s",
                "backoffMultiplier": 1.1,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


A = TypeVar("A")


@dataclasses.dataclass(slots=True, eq=False)
class _Connection:
    """A channel to one socket; `calls` in flight keep a replaced one open until they end."""

    path: str
    identity: tuple[int, int]
    channel: grpc.Channel
    stub: provider_pb2_grpc.CSIDriverProviderStub = dataclasses.field(init=False)
    calls: int = 0

    def __post_init__(self) -> None:
        self.stub = provider_pb2_grpc.CSIDriverProviderStub(self.channel)


class ProviderSockets:
    """The Providers port over the search list `directories`, left to right."""

    def __init__(self, directories: Sequence[str], *, max_answer_bytes: int) -> None:
        self._directories = tuple(directories)
        self._options = (
            # Providers may refuse any other authority, as upstream's own test provider does.
            ("grpc.default_authority", "localhost"),
            ("grpc.max_receive_message_length", min(max_answer_bytes, _MAX_COUNTED_BYTES)),
            ("grpc.max_send_message_length", -1),
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
            # Else gRPC gives a new channel the old one's connection while a call of that lives, and with it the old
            # server, whose socket is no longer at the path.
            ("grpc.use_local_subchannel_pool", 1),
            # A provider that restarts is waited for in small steps; the default grows to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2000),
        )
        self._connections: dict[str, _Connection] = {}
        self._replaced: list[_Connection] = []
        self._closed = False
        self._lock = threading.Lock()

    def mount(self, provider: str, request: ProviderRequest, *, timeout_seconds: float) -> ProviderAnswer:
        message = _message(request)
        answer = self._call(
            provider, timeout_seconds, lambda stub: stub.Mount(message, timeout=timeout_seconds)
        )
        return ProviderAnswer(
            object_versions=tuple((version.id, version.version) for version in answer.object_version),
            error_code=answer.error.code if answer.HasField("error") else "",
            files=tuple(PlannedFile(file.path, file.mode, file.contents) for file in answer.files),
        )

    def version(self, provider: str, *, timeout_seconds: float) -> ProviderVersion:
        message = provider_pb2.VersionRequest(version=_API_VERSION)
        answer = self._call(
            provider, timeout_seconds, lambda stub: stub.Version(message, timeout=timeout_seconds)
        )
        return ProviderVersion(runtime_name=answer.runtime_name, runtime_version=answer.runtime_version)

    def close(self) -> None:
        """Close every channel, which cancels the calls in flight, and refuse new ones."""
        with self._lock:
            self._closed = True
            connections = [*self._connections.values(), *self._replaced]
            self._connections.clear()
            self._replaced.clear()
        for connection in connections:
            connection.channel.close()

    def _call(
        self,
        provider: str,
        timeout_seconds: float,
        call: Callable[[provider_pb2_grpc.CSIDriverProviderStub], A],
    ) -> A:
        connection = self._enter(provider)
        try:
            return call(connection.stub)
        except grpc.RpcError as error:
            raise _call_error(provider, connection.path, timeout_seconds, error) from error
        except ValueError as error:
            # grpc raises it for a channel that was closed under the call, which only stopping does.
            raise ProviderCallError(
                f"the call to provider {provider!r} was cancelled", code=grpc.StatusCode.CANCELLED.value[0]
            ) from error
        finally:
            self._leave(connection)

    def _enter(self, provider: str) -> _Connection:
        path, identity = self._find(provider)
        with self._lock:
            if self._closed:
                raise StoppingError("the driver is stopping; try again later")
            connection = self._connections.get(provider)
            if connection is None or (connection.path, connection.identity) != (path, identity):
                stale, connection = (
                    connection,
                    _Connection(path, identity, grpc.insecure_channel(unix_target(path), self._options)),
                )
                self._connections[provider] = connection
                if stale is not None:
                    self._replaced.append(stale)
                    self._close_if_done(stale)
            connection.calls += 1
        return connection

    def _leave(self, connection: _Connection) -> None:
        with self._lock:
            connection.calls -= 1
            self._close_if_done(connection)

    def _close_if_done(self, connection: _Connection) -> None:
        if connection.calls == 0 and connection in self._replaced:
            self._replaced.remove(connection)
            connection.channel.close()

    def _find(self, provider: str) -> tuple[str, tuple[int, int]]:
        if not _NAME.fullmatch(provider):
            raise ProviderNotFoundError(
                f'error connecting to provider "{provider[:100]}": invalid provider: provider "{provider[:100]}"'
            )
        for directory in self._directories:
            path = os.path.join(directory, provider + ".sock")
            try:
                status = os.stat(path)
            except OSError:
                continue
            return path, (status.st_dev, status.st_ino)
        raise ProviderNotFoundError(
            f'error connecting to provider "{provider}": provider not found: provider "{provider}"'
            f" (no {provider}.sock in {', '.join(self._directories)}; found there: {', '.join(self.names()) or 'no provider'})"
        )

    def names(self) -> list[str]:
        """The providers whose sockets are there now, sorted. Reads the directories, calls nobody."""
        names: set[str] = set()
        for directory in self._directories:
            try:
                names.update(
                    name.removesuffix(".sock") for name in os.listdir(directory) if name.endswith(".sock")
                )
            except OSError:
                continue
        return sorted(name for name in names if _NAME.fullmatch(name))


def is_provider_name(name: str) -> bool:
    """Whether a provider can have this name (upstream's rule)."""
    return _NAME.fullmatch(name) is not None


def _message(request: ProviderRequest) -> provider_pb2.MountRequest:
    return provider_pb2.MountRequest(
        attributes=request.attributes,
        secrets=request.secrets,
        target_path=request.target_path,
        permission=request.permission,
        current_object_version=[
            provider_pb2.ObjectVersion(id=name, version=version)
            for name, version in request.current_object_versions
        ],
    )


def _call_error(provider: str, path: str, timeout_seconds: float, error: grpc.RpcError) -> ProviderCallError:
    code, details = error.code(), error.details() or ""
    text = f"rpc error: code = {GO_NAMES[code]} desc = {details}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text += f" (provider {provider!r} did not answer within {timeout_seconds:.3g} s at {path})"
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        text += f" (the answer of provider {provider!r} is larger than --max-call-recv-msg-size)"
    return ProviderCallError(text, code=code.value[0])
