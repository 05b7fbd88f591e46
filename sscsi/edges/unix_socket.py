"""gRPC servers on unix sockets that are taken with care and given up with care.

gRPC's core binds silently over a live socket, and unlinks whatever is at the path when it stops. So a server
here binds a hidden name in the same directory and is renamed into place once it answers; a lock file, held
for life, keeps two of ours apart; a live server of somebody else's is waited for, never replaced; at the end
the path is unlinked only if it is still the very socket that this process made (design, section 1).
"""

import binascii
import contextlib
import fcntl
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent import futures

import grpc

from sscsi.core.backoff import delays
from sscsi.core.log_keys import PATH, REASON
from sscsi.errors import ConfigError, SocketBusyError

log = logging.getLogger(__name__)

# sun_path of unix(7) holds 108 bytes with its NUL.
_MAX_PATH_BYTES = 107
_CONNECT_SECONDS = 2.0

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
        self._temporary = _temporary_path(path)
        self._on_wait = on_wait
        self._mode = mode
        self._add_services = add_services
        self._pool = pool
        self._interceptors = interceptors
        self._server: grpc.Server | None = None
        self._lock = -1
        self._identity: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise ConfigError for a path that can never work."""
        if len(os.fsencode(self.path)) > _MAX_PATH_BYTES:
            raise ConfigError(
                f"socket path {self.path!r} is too long: a unix socket's path has at most {_MAX_PATH_BYTES} bytes"
            )
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            raise ConfigError(
                f"there is no directory {directory!r} for socket {self.path!r}; create it", exit_code=1
            )
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ConfigError(f"directory {directory!r} of socket {self.path!r} is not writable", exit_code=1)

    def claim(self, stop: threading.Event) -> bool:
        """Have the path to ourselves; wait, with back-off, while another live server has it.

        From then on no other of ours takes it. True when it is ours; False when `stop` was set first. Raises
        ConfigError for a path that can never work.
        """
        self.check()
        said = ""
        for delay in delays(first_seconds=0.1, factor=1.6, max_seconds=5.0):
            try:
                self._claim()
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
        """Claim the path and serve. True when serving; False when `stop` was set first. Raises ConfigError."""
        if not self.claim(stop):
            return False
        self._serve()
        log.info("serving", extra={PATH: self.path})
        return True

    def is_ours(self) -> bool:
        """Whether the path is still the socket that this server made."""
        return self._identity is not None and _identity(self.path) == self._identity

    def stop_accepting(self, grace_seconds: float) -> threading.Event:
        """Refuse new calls, cancel what runs after `grace_seconds`; the event is set when all have ended."""
        if self._server is None:
            done = threading.Event()
            done.set()
            return done
        return self._server.stop(grace_seconds)

    def close(self) -> None:
        """Give the path up: unlink it if it is still ours, release the lock."""
        if self.is_ours():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        self._identity = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _claim(self) -> None:
        if self._lock < 0:
            self._lock = _lock(self.path + ".lock")
        _check_free(self.path)

    def _serve(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)
        server = grpc.server(
            # gRPC's type says ThreadPoolExecutor; it calls nothing of it but submit.
            self._pool,  # type: ignore[arg-type]
            interceptors=list(self._interceptors),
            options=(("grpc.so_reuseport", 0),),
        )
        self._add_services(server)
        try:
            server.add_insecure_port(unix_target(self._temporary))
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {self.path!r}", exit_code=1) from error
        os.chmod(self._temporary, self._mode)
        server.start()
        self._identity = _identity(self._temporary)
        os.rename(self._temporary, self.path)
        self._server = server


def _temporary_path(path: str) -> str:
    """A hidden name in the same directory, always the same one, which fits wherever the path itself does."""
    directory, name = os.path.split(path)
    hidden = f".{name}~"
    if len(os.fsencode(os.path.join(directory, hidden))) > _MAX_PATH_BYTES:
        hidden = f".{binascii.crc32(os.fsencode(name)):08x}~"[: len(os.fsencode(name))]
    return os.path.join(directory, hidden)


def _lock(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot open the socket's lock file {path!r} ({error.strerror}); remove what is there",
            exit_code=1,
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SocketBusyError(f"another process of ours holds {path}") from None
    return descriptor


def _check_free(path: str) -> None:
    """Raise SocketBusyError for a live socket at `path`, ConfigError for anything that is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path!r} is in the way: it is not a socket; remove it", exit_code=1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            # EAGAIN and time-out: a full backlog, so somebody listens.
            raise SocketBusyError(
                f"a server at {path} accepts no connection now ({error.strerror or 'timed out'})"
            ) from None
    raise SocketBusyError(f"a live server of another program answers at {path}")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
