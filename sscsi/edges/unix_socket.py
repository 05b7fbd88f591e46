"""gRPC servers on unix sockets that are taken with care and given up with care.

gRPC's core binds silently over a live socket, and unlinks whatever is at the path when it stops. So a server
here binds a hidden name in the same directory and is put in its place once it answers (`socket_path`); a live server
of somebody else's is waited for, never replaced (design, section 1).
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent import futures

import grpc

from sscsi.core.backoff import delays
from sscsi.core.log_keys import PATH, REASON
from sscsi.edges.socket_path import SocketPath
from sscsi.errors import ConfigError, SocketBusyError

log = logging.getLogger(__name__)

# Somebody who waits takes over within a second, whatever the time it has waited; a look costs next to nothing.
_LONGEST_WAIT_SECONDS = 1.0

# What a channel from one room to another needs.
ROOM_CHANNEL_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    # Rooms start in any order, and a peer that restarts is back within a second or two.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

AddServices = Callable[[grpc.Server], object]


def unix_target(path: str) -> str:
    """The gRPC address of a unix socket: gRPC's core takes it for a URI and decodes %20 in it."""
    return "unix:" + path.replace("%", "%25")


class SocketServer:
    """One gRPC server on one unix socket.

    `add_services` are the generated `add_...Servicer_to_server` calls. `mode` is the socket file's: access to
    a room is decided by it, as grpcio tells no peer's uid. `on_wait` is told why, when the path must be waited for
    and each time the reason changes.
    """

    def __init__(
        self,
        path: str,
        *,
        mode: int,
        add_services: AddServices,
        pool: futures.Executor,
        interceptors: Sequence[grpc.ServerInterceptor],
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self._place = SocketPath(path)
        self._on_wait = on_wait
        self._mode = mode
        self._add_services = add_services
        self._pool = pool
        self._interceptors = interceptors
        self._server: grpc.Server | None = None

    def check(self) -> None:
        """Raise ConfigError for a path that can never work."""
        self._place.check()

    def claim(self, stop: threading.Event) -> bool:
        """Have the path to ourselves; wait, with back-off, while another live server has it.

        From then on no other of ours takes it. True when it is ours; False when `stop` was set first. Raises
        ConfigError for a path that can never work.
        """
        self.check()
        said = ""
        for delay in delays(first_seconds=0.1, factor=1.6, max_seconds=_LONGEST_WAIT_SECONDS):
            try:
                self._place.claim()
            except SocketBusyError as busy:
                if str(busy) != said:
                    said = str(busy)
                    log.warning("waiting for the socket", extra={PATH: self.path, REASON: said})
                    if self._on_wait:
                        self._on_wait(said)
                if stop.wait(delay):
                    return False
            else:
                return True
        raise AssertionError("delays never end")

    def serve(self, stop: threading.Event) -> bool:
        """Claim the path and serve. True when serving; False when `stop` was set first.

        Raises ConfigError; whose cause is FileNotFoundError when the directory went meanwhile. However it ends,
        `stop_accepting` and `close` are due.
        """
        if not self.claim(stop):
            return False
        try:
            self._listen()
            while not self._place.publish(self._mode):
                if not self.claim(stop):
                    return False
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {self.path!r}: {error.strerror} ({error.filename})", exit_code=1
            ) from error
        log.info("serving", extra={PATH: self.path})
        return True

    def is_ours(self) -> bool:
        """Whether the path is still the socket that this server made."""
        return self._place.is_ours()

    def stop_accepting(self, grace_seconds: float) -> threading.Event:
        """Unlink the path if it is still ours, and refuse new calls; cancel what runs after `grace_seconds`.

        The event is set when all have ended.
        """
        self._place.withdraw()
        if self._server is None:
            done = threading.Event()
            done.set()
            return done
        return self._server.stop(grace_seconds)

    def close(self) -> None:
        """Let others have the path; it is unlinked if it is still ours."""
        self._place.withdraw()
        self._place.release()

    def _listen(self) -> None:
        """Answer at the hidden name. Raises OSError, ConfigError."""
        self._place.clear_hidden()
        server = grpc.server(
            # gRPC's type says ThreadPoolExecutor; it calls nothing of it but submit.
            self._pool,  # type: ignore[arg-type]
            interceptors=list(self._interceptors),
            options=(("grpc.so_reuseport", 0),),
        )
        self._add_services(server)
        try:
            server.add_insecure_port(unix_target(self._place.hidden))
        except RuntimeError as error:
            raise _reason(self._place.hidden) from error
        server.start()
        self._server = server


def _reason(path: str) -> OSError:
    """Why nobody can listen at `path`: gRPC keeps it to itself, so the kernel is asked again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(path)
        except OSError as error:
            return OSError(error.errno, error.strerror, path)
    os.unlink(path)
    return OSError(0, "gRPC does not say why", path)
