"""The CSI driver, as far as the registrar asks it anything: its name."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

import grpc

from sscsi.core.redaction import clean_message
from sscsi.edges.grpc_status import GO_NAMES
from sscsi.edges.unix_socket import unix_target
from sscsi.errors import DriverUnavailableError
from sscsi.pb import csi_pb2, csi_pb2_grpc

_CONNECT_SECONDS = 1.0
_LONGEST_SECONDS = 30.0
_MAX_NAME = 63
# CSI: RFC 1035 with 63 characters in all; Kubernetes looks at the name in lower case.
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*")
_CHANNEL_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    # Each question is asked anew: no back-off of the last one's connection counts.
    ("grpc.use_local_subchannel_pool", 1),
)


def is_driver_name(name: str) -> bool:
    """Whether Kubernetes would register a driver of this name; it is part of a file's name too."""
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


class Driver:
    """Asks for the name, one question at a time; `close`, by any thread, ends the one under way.

    A driver that is late gets twice the time at the next question, up to 30 s: one that always takes 3 s to answer
    is no less a driver.
    """

    def __init__(self, socket_path: str, *, timeout_seconds: float) -> None:
        self.socket_path = socket_path
        self._timeout_seconds = self._first_timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._closed = False

    def ask_name(self) -> str:
        """The driver's name, fit to be registered. Raises DriverUnavailableError."""
        self._check_listening()
        with self._connected() as channel:
            name = self._ask(channel)
        if not name:
            raise DriverUnavailableError(f"the driver at {self.socket_path} has an empty name")
        if not is_driver_name(name):
            raise DriverUnavailableError(
                f"the driver at {self.socket_path} calls itself {clean_message(name, ())!r}, which Kubernetes does "
                f"not register: letters, digits, '-' and '.', at most {_MAX_NAME} of them"
            )
        self._timeout_seconds = self._first_timeout_seconds
        return name

    def close(self) -> None:
        """End the question under way, and any later one."""
        with self._lock:
            self._closed = True
            channel = self._channel
        if channel is not None:
            channel.close()

    def _check_listening(self) -> None:
        """Nobody there is found out without gRPC, so cheaply that it can be done all the time."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_SECONDS)
            try:
                probe.connect(self.socket_path)
            except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
                raise DriverUnavailableError(
                    f"nobody listens at {self.socket_path} ({error.strerror})", is_absent=True
                ) from error
            except OSError as error:
                raise DriverUnavailableError(
                    f"cannot connect to {self.socket_path} ({error.strerror or 'timed out'})"
                ) from error

    @contextlib.contextmanager
    def _connected(self) -> Iterator[grpc.Channel]:
        with self._lock:
            if self._closed:
                raise DriverUnavailableError("stopping")
            channel = self._channel = grpc.insecure_channel(unix_target(self.socket_path), _CHANNEL_OPTIONS)
        try:
            yield channel
        finally:
            with self._lock:
                self._channel = None
            channel.close()

    def _ask(self, channel: grpc.Channel) -> str:
        stub = csi_pb2_grpc.IdentityStub(channel)
        try:
            return stub.GetPluginInfo(csi_pb2.GetPluginInfoRequest(), timeout=self._timeout_seconds).name
        except ValueError as error:
            # gRPC's word for a channel that was closed before the call began.
            raise DriverUnavailableError("stopping") from error
        except grpc.RpcError as error:
            code = error.code()
            text = f"GetPluginInfo at {self.socket_path}: {GO_NAMES[code]}"
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                text += f" after {self._timeout_seconds:g} s"
                longest = max(_LONGEST_SECONDS, self._first_timeout_seconds)
                self._timeout_seconds = min(self._timeout_seconds * 2, longest)
            else:
                text += f" ({clean_message(error.details() or '', ())})"
            if code is grpc.StatusCode.UNIMPLEMENTED:
                text += "; is it a CSI driver's socket?"
            raise DriverUnavailableError(text) from error
