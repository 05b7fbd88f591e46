"""Calls to the CSI driver's Identity service, each over connections of its own, which are closed afterwards.

A channel that is kept would go on over a connection whose socket file is gone (livenessprobe issue 68: healthy while
kubelet can't connect), so every call connects anew; what a channel per call costs was measured, 1.3 ms, and it does
not grow. Before the channel comes a test of the connection (`grpc_connection`).
"""

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import grpc

from sscsi.core.redaction import clean_message
from sscsi.edges.grpc_connection import HandshakeError, connect, shake_hands
from sscsi.edges.grpc_status import GO_NAMES
from sscsi.edges.unix_socket import unix_target
from sscsi.errors import DriverCallError, DriverUnreachableError, StoppingError
from sscsi.pb import csi_pb2, csi_pb2_grpc

PROBE = "/csi.v1.Identity/Probe"
GET_PLUGIN_INFO = "/csi.v1.Identity/GetPluginInfo"
CONNECT_FAILURES = ("missing", "refused", "denied", "timeout", "handshake", "other")
"""The reasons of DriverUnreachableError: no such file; nobody listens; no right to connect; nothing came in time;
what answers is no gRPC server, or hung up at once; anything else."""

Observer = Callable[[str, str, float], None]
"""Told of each call that had a connection: the method, the code in Go's spelling, the seconds it took."""

_REASONS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ECONNREFUSED: "refused",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
}
# Go's words for a deadline that passed; gRPC's core has several of its own, and ends a call a little early.
_OUT_OF_TIME = "context deadline exceeded"
_EARLY_SECONDS = 0.01
_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    # Channels to one address share connections otherwise, also to a socket that has been replaced.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)

R = TypeVar("R")


class IdentityCalls:
    """Calls to the driver at one socket path. `timeout_seconds` of each covers connecting and the call together.

    They raise DriverUnreachableError, DriverCallError, and StoppingError once `close` was called, which also ends
    those under way. Any number of threads may call at once; nobody waits for another.
    """

    def __init__(self, socket_path: str, observe: Observer | None = None) -> None:
        self.socket_path = socket_path
        self._observe = observe
        self._lock = threading.Lock()
        self._interrupts: set[Callable[[], None]] = set()
        self._closed = threading.Event()

    def probe(self, *, timeout_seconds: float) -> bool:
        """Whether the driver says it is ready; one that says nothing about it is."""
        response = self._call(
            PROBE,
            lambda stub, seconds: stub.Probe(csi_pb2.ProbeRequest(), timeout=seconds),
            timeout_seconds,
        )
        return response.ready.value if response.HasField("ready") else True

    def driver_name(self, *, timeout_seconds: float) -> str:
        """The name in the driver's GetPluginInfo, which is not empty."""
        response = self._call(
            GET_PLUGIN_INFO,
            lambda stub, seconds: stub.GetPluginInfo(csi_pb2.GetPluginInfoRequest(), timeout=seconds),
            timeout_seconds,
        )
        if not response.name:
            raise DriverCallError("driver name is empty", code=grpc.StatusCode.UNKNOWN.value[0])
        return response.name

    def close(self) -> None:
        """End the calls under way, and refuse new ones."""
        with self._lock:
            self._closed.set()
            interrupts = list(self._interrupts)
        for interrupt in interrupts:
            interrupt()

    def _call(
        self, method: str, call: Callable[[csi_pb2_grpc.IdentityStub, float], R], timeout_seconds: float
    ) -> R:
        deadline = time.monotonic() + timeout_seconds
        self._test_connection(deadline)
        channel = grpc.insecure_channel(unix_target(self.socket_path), _OPTIONS)
        with contextlib.closing(channel), self._interruptible(channel.close):
            begun = time.monotonic()
            code = grpc.StatusCode.OK
            try:
                return call(csi_pb2_grpc.IdentityStub(channel), max(deadline - begun, 0.0))
            except grpc.RpcError as error:
                self._raise_if_closed()
                code, details = error.code(), error.details() or ""
                is_late = time.monotonic() > deadline - _EARLY_SECONDS
                raise _call_error(code, details, is_late=is_late) from error
            except ValueError:  # gRPC's, for a channel that was closed by now
                self._raise_if_closed()
                raise
            finally:
                if self._observe and not self._closed.is_set():
                    self._observe(method, GO_NAMES[code], time.monotonic() - begun)

    def _test_connection(self, deadline: float) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            with self._interruptible(lambda: _shut_down(probe)):
                try:
                    connect(probe, self.socket_path, deadline=deadline, pause=self._pause)
                    # An interruption before this found nothing to shut down.
                    self._raise_if_closed()
                    shake_hands(probe, deadline=deadline)
                except OSError as error:
                    self._raise_if_closed()
                    raise self._unreachable(error) from error

    def _pause(self, seconds: float) -> None:
        self._closed.wait(seconds)
        self._raise_if_closed()

    def _unreachable(self, error: OSError) -> DriverUnreachableError:
        if isinstance(error, TimeoutError):
            # Upstream's body; it has no more to say either.
            return DriverUnreachableError(_OUT_OF_TIME, reason="timeout")
        reason = "handshake" if isinstance(error, HandshakeError) else _REASONS.get(error.errno or 0, "other")
        text = error.strerror or str(error)
        return DriverUnreachableError(
            f"cannot connect to the CSI driver at {self.socket_path}: {text}", reason=reason
        )

    def _raise_if_closed(self) -> None:
        if self._closed.is_set():
            raise StoppingError("stopping; the driver is not asked any more")

    @contextlib.contextmanager
    def _interruptible(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """`interrupt` is called if these calls are closed before the end of the block; it ends a wait there."""
        with self._lock:
            self._raise_if_closed()
            self._interrupts.add(interrupt)
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.discard(interrupt)


def _call_error(code: grpc.StatusCode, details: str, *, is_late: bool) -> DriverCallError:
    if is_late and code is grpc.StatusCode.DEADLINE_EXCEEDED:
        details = _OUT_OF_TIME
    text = f"rpc error: code = {GO_NAMES[code]} desc = {clean_message(details, ())}"
    return DriverCallError(text, code=code.value[0])


def _shut_down(connection: socket.socket) -> None:
    """End another thread's wait on the connection, which that thread closes."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
