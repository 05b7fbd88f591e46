"""The path of a unix socket: who may publish there, how that is done, and how it is given up.

A lock file beside the path, held for life, keeps two of ours apart. What is made is bound under a hidden name and
given its place by link(2), which never takes a name that somebody has by then, as rename(2) would. A dead server's
socket is moved aside before; a live server's is never touched, and neither is anything that is no socket. At
the end the path is unlinked only if it is still the very socket that was published.
"""

import binascii
import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Callable

from sscsi.core.log_keys import PATH, REASON
from sscsi.errors import ConfigError, SocketBusyError

log = logging.getLogger(__name__)

# sun_path of unix(7) holds 108 bytes with its NUL.
_MAX_PATH_BYTES = 107
_CONNECT_SECONDS = 2.0


class SocketPath:
    """One path, the hidden names beside it, and what this process made of them.

    What its methods raise as OSError is what the machine did not allow, with the name of the file. `link` is os.link:
    tests have others.
    """

    def __init__(self, path: str, *, link: Callable[[str, str], None] = os.link) -> None:
        self.path = path
        self.hidden = _hidden_name(path, "~")
        """Where the socket is bound before it is published."""
        self._aside = _hidden_name(path, "-")
        self._link = link
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

    def claim(self) -> None:
        """Keep the path from others of ours, and see that it is free. Raises SocketBusyError, ConfigError."""
        if self._lock < 0:
            self._lock = _lock(self.path + ".lock")
        _has_dead_socket(self.path)

    def clear_hidden(self) -> None:
        """Remove what a start that was killed left at the hidden names. Raises OSError, ConfigError for no socket."""
        for name in (self.hidden, self._aside):
            _remove_socket(name)

    def publish(self, mode: int) -> bool:
        """Put the socket at the hidden name in its place. False when a live server has it now.

        Raises OSError, ConfigError for what is no socket.
        """
        try:
            if _has_dead_socket(self.path):
                self._remove_dead_socket()
        except SocketBusyError:
            return False
        os.chmod(self.hidden, mode)
        identity = _identity(self.hidden)
        if not self._move(self.hidden, self.path):
            return False
        self._identity = identity
        return True

    def is_ours(self) -> bool:
        """Whether the path is still the socket that was published."""
        return self._identity is not None and _identity(self.path) == self._identity

    def withdraw(self) -> None:
        """Unlink the path if it is still ours; it is not from then on.

        To be done before the server stops listening: the number of a file that nobody has open may be given to
        another one, which would be taken for ours; and kubelet would find a socket that refuses it.
        """
        if self.is_ours():
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
            except OSError as error:
                log.warning("cannot remove the socket", extra={PATH: self.path, REASON: error.strerror})
        self._identity = None

    def release(self) -> None:
        """Let others of ours have the path."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _remove_dead_socket(self) -> None:
        """Take it away. A live server's, if that came this very moment, is moved back."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, self._aside)
        try:
            _has_dead_socket(self._aside)
        except (SocketBusyError, ConfigError):
            self._move(self._aside, self.path)
        else:
            _remove_socket(self._aside)

    def _move(self, source: str, target: str) -> bool:
        """Rename; False when there is a file of the new name. Raises OSError."""
        try:
            self._link(source, target)
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except OSError:
            # No hard links to be had: some file systems, some security modules. Then what came within the last moment
            # is replaced.
            os.rename(source, target)
        else:
            os.unlink(source)
        return True


def _hidden_name(path: str, mark: str) -> str:
    """A hidden name in the same directory, always the same one, which fits wherever the path itself does."""
    directory, name = os.path.split(path)
    hidden = f".{name}{mark}"
    if len(os.fsencode(os.path.join(directory, hidden))) > _MAX_PATH_BYTES:
        hidden = f".{mark}{binascii.crc32(os.fsencode(name)):08x}"[: len(os.fsencode(name))]
    return os.path.join(directory, hidden)


def _lock(path: str) -> int:
    """The descriptor that holds the lock file. Raises SocketBusyError, ConfigError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot open the socket's lock file {path!r}: {error.strerror}{_cure_of_lock(path, error)}",
            exit_code=1,
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SocketBusyError(
            f"another process of ours holds {path}; it gets free when that one ends"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"cannot lock {path!r}: {error.strerror}", exit_code=1) from error
    return descriptor


def _cure_of_lock(path: str, error: OSError) -> str:
    if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
        return "; remove what is there"
    if error.errno == errno.EACCES:
        with contextlib.suppress(OSError):
            return (
                f"; it is user {os.lstat(path).st_uid}'s, and this is user {os.geteuid()}: "
                "remove it, if no program of that user serves the socket any more"
            )
    return ""


def _has_dead_socket(path: str) -> bool:
    """Whether a socket is at `path` at which nobody listens; False when nothing is there.

    Raises SocketBusyError for one that is live or may be, ConfigError for anything that is no socket.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(status.st_mode):
        raise _in_the_way(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return False
        except PermissionError:
            # Nothing else tells a dead one for certain: /proc/net/unix has the listeners of one network namespace.
            raise SocketBusyError(
                f"the socket at {path} is user {status.st_uid}'s, and user {os.geteuid()} may not try whether a "
                "server is there; remove it, if there is none"
            ) from None
        except OSError as error:
            # EAGAIN and time-out: a full backlog, so somebody listens.
            raise SocketBusyError(
                f"a server at {path} accepts no connection now ({error.strerror or 'timed out'}); "
                "end that server, or wait"
            ) from None
    raise SocketBusyError(f"a live server of another program answers at {path}; remove that program")


def _remove_socket(path: str) -> None:
    """Unlink the socket at `path`, if there is one. Raises OSError, ConfigError for anything that is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _in_the_way(path)
    os.unlink(path)


def _in_the_way(path: str) -> ConfigError:
    return ConfigError(f"{path!r} is in the way: it is not a socket; remove it", exit_code=1)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file is there; None when there is none, or none can be seen."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
