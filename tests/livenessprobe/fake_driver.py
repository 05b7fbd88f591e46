"""A CSI driver's Identity service that answers as a test says, and what may be at a socket's path in its place."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc

from sscsi.pb import csi_pb2, csi_pb2_grpc

NAME = "fake.csi.example"
Context = grpc.ServicerContext
Probe = Callable[[Context], csi_pb2.ProbeResponse]


def says(*, ready: bool | None) -> Probe:
    """An answer; None leaves `ready` out."""
    response = csi_pb2.ProbeResponse()
    if ready is not None:
        response.ready.value = ready
    return lambda _context: response


def says_after(seconds: float) -> Probe:
    """A driver that takes its time, and is well."""

    def slow(_context: Context) -> csi_pb2.ProbeResponse:
        threading.Event().wait(seconds)
        return csi_pb2.ProbeResponse()

    return slow


def fails(code: grpc.StatusCode, details: str) -> Probe:
    def abort(context: Context) -> csi_pb2.ProbeResponse:
        context.abort(code, details)

    return abort


class FakeDriver(csi_pb2_grpc.IdentityServicer):
    """`probe` answers each Probe; `name` is told by GetPluginInfo, which waits while `go_on` is clear."""

    def __init__(self) -> None:
        self.probe: Probe = says(ready=None)
        self.name = NAME
        self.name_error: tuple[grpc.StatusCode, str] | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.probes = 0
        self.name_questions = 0

    def Probe(self, _request: csi_pb2.ProbeRequest, context: Context) -> csi_pb2.ProbeResponse:
        self.probes += 1
        return self.probe(context)

    def GetPluginInfo(
        self, _request: csi_pb2.GetPluginInfoRequest, context: Context
    ) -> csi_pb2.GetPluginInfoResponse:
        self.name_questions += 1
        self.go_on.wait(60)
        if self.name_error is not None:
            context.abort(*self.name_error)
        return csi_pb2.GetPluginInfoResponse(name=self.name)

    def GetPluginCapabilities(
        self, _request: csi_pb2.GetPluginCapabilitiesRequest, _context: Context
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        return csi_pb2.GetPluginCapabilitiesResponse()

    def hang(self, context: Context) -> csi_pb2.ProbeResponse:
        """A `probe` that answers when its caller has gone."""
        gone = threading.Event()
        if context.add_callback(gone.set):
            gone.wait(60)
        return csi_pb2.ProbeResponse()


@contextlib.contextmanager
def serving(driver: FakeDriver, path: str) -> Iterator[None]:
    """Serve at `path`, in place of whatever is there, until the block ends; then the path is gone."""
    server = grpc.server(futures.ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
    csi_pb2_grpc.add_IdentityServicer_to_server(driver, server)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield
    finally:
        driver.go_on.set()
        server.stop(0).wait()


@contextlib.contextmanager
def nothing_at(path: str) -> Iterator[None]:
    """No file."""
    assert not os.path.exists(path)
    yield


@contextlib.contextmanager
def leftover_at(path: str) -> Iterator[None]:
    """A socket whose listener was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    yield


@contextlib.contextmanager
def silence_at(path: str) -> Iterator[None]:
    """A listener that takes no connection, as that of a process that is stopped: the kernel completes them."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        yield


@contextlib.contextmanager
def full_backlog_at(path: str) -> Iterator[None]:
    """The same, with so many waiting that the kernel takes no more."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        while True:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            try:
                waiting.connect(path)
            except BlockingIOError:
                break
        yield


@contextlib.contextmanager
def stranger_at(path: str, says: bytes, *, listens: bool = True) -> Iterator[None]:
    """A listener that says `says` to everybody and hangs up; `listens`: not before it heard something."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        thread = threading.Thread(target=_talk, args=(listener, says, listens))
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _talk(listener: socket.socket, says: bytes, listens: bool) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                if listens:
                    connection.recv(4096)
                connection.sendall(says)
