"""A secrets store provider for tests: a real gRPC server on a real socket, told what to answer."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc

from sscsi.pb import provider_pb2, provider_pb2_grpc

Answer = Callable[[provider_pb2.MountRequest], provider_pb2.MountResponse]


def files_answer(*files: tuple[str, int, bytes], version: str = "v1") -> provider_pb2.MountResponse:
    """An answer with files, each with its path as the object's id."""
    return provider_pb2.MountResponse(
        object_version=[provider_pb2.ObjectVersion(id=path, version=version) for path, _, _ in files],
        files=[provider_pb2.File(path=path, mode=mode, contents=contents) for path, mode, contents in files],
    )


class FakeProvider(provider_pb2_grpc.CSIDriverProviderServicer):
    """Keeps every request; answers what `answer` is or returns.

    `hold` makes calls wait inside the provider until it is set (it is set at first); `waiting` counts the
    calls that have arrived, `holding` those that wait. What begins with `version` is the same for calls of Version.
    """

    def __init__(self) -> None:
        self.answer: provider_pb2.MountResponse | Answer = files_answer(("secret", 0o644, b"first content"))
        self.error: tuple[grpc.StatusCode, str] | None = None
        self.requests: list[provider_pb2.MountRequest] = []
        self.version = provider_pb2.VersionResponse(
            version="v1alpha1", runtime_name="fake", runtime_version="0.0.1"
        )
        self.version_error: tuple[grpc.StatusCode, str] | None = None
        self.version_requests: list[provider_pb2.VersionRequest] = []
        self.version_hold = threading.Event()
        self.version_hold.set()
        self.hold = threading.Event()
        self.hold.set()
        self.waiting = threading.Semaphore(0)
        self.holding = 0
        self._holding_lock = threading.Lock()

    def Mount(
        self, request: provider_pb2.MountRequest, context: grpc.ServicerContext
    ) -> provider_pb2.MountResponse:
        self.requests.append(request)
        json.loads(request.attributes), json.loads(request.secrets), int(request.permission)
        self.waiting.release()
        if not self.hold.is_set():
            self._wait()
        if self.error is not None:
            context.abort(*self.error)
        return self.answer(request) if callable(self.answer) else self.answer

    def _wait(self) -> None:
        with self._holding_lock:
            self.holding += 1
        self.hold.wait(120)
        with self._holding_lock:
            self.holding -= 1

    def Version(
        self, request: provider_pb2.VersionRequest, context: grpc.ServicerContext
    ) -> provider_pb2.VersionResponse:
        self.version_requests.append(request)
        self.version_hold.wait(120)
        if self.version_error is not None:
            context.abort(*self.version_error)
        return self.version

    def attributes(self) -> dict[str, str]:
        """The attributes of the last request."""
        attributes: dict[str, str] = json.loads(self.requests[-1].attributes)
        return attributes


@contextlib.contextmanager
def serving(provider: FakeProvider, socket_path: str, *, threads: int = 16) -> Iterator[FakeProvider]:
    """Serve `provider` on `socket_path` until the block ends; a provider that holds is let go then."""
    os.makedirs(os.path.dirname(socket_path), exist_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(threads))
    provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(provider, server)
    server.add_insecure_port(f"unix:{socket_path}")
    server.start()
    try:
        yield provider
    finally:
        provider.hold.set()
        provider.version_hold.set()
        server.stop(0).wait()
