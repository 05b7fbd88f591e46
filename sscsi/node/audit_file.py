"""Where the audit log goes: a file that may be rotated away under it, a FIFO that somebody reads now and then, stdout."""

import errno
import os
import stat

from sscsi.errors import ConfigError

STDOUT = "-"
_STDOUT_DESCRIPTOR = 1
_MODE = 0o600
# O_NONBLOCK is for a FIFO: neither to open it nor to write to it waits for who reads.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_NOWHERE = (0, 0)


class AuditFile:
    """The file at `path`, under one descriptor for as long as this lives, whatever comes in the file's place.

    It is opened for append, made with mode 0600 when it is not there, and never followed when it is a symlink. Raises
    ConfigError when it can't be opened; a FIFO that nobody reads yet is fine.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # Stands for the file's number until there is one: to write to it is an error.
        self.descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._identity = _NOWHERE
        try:
            self._open()
        except OSError as error:
            if not (error.errno == errno.ENXIO and _is_fifo(path)):
                os.close(self.descriptor)
                raise ConfigError(_refusal(path, error), exit_code=1) from error

    def write(self, data: bytes) -> int:
        """Write some of `data`, to what is at the path now, and tell how much. Raises OSError, BlockingIOError."""
        found = _identity(self._path)
        if found == _NOWHERE or found != self._identity:
            self._open()
        try:
            return os.write(self.descriptor, data)
        except BlockingIOError:
            raise
        except OSError:
            # The next line tries it anew: a reader may be back, a file system mounted again.
            self._identity = _NOWHERE
            raise

    def close(self) -> None:
        """Give the file up; to write is an error from now on."""
        # The number may be another file's by the next write.
        closed, self.descriptor = self.descriptor, -1
        os.close(closed)

    def _open(self) -> None:
        opened = os.open(self._path, _FLAGS, _MODE)
        try:
            status = os.fstat(opened)
            os.dup2(opened, self.descriptor, inheritable=False)
            self._identity = (status.st_dev, status.st_ino)
        finally:
            os.close(opened)


def stdout_descriptor() -> int:
    """The descriptor of stdout. Raises ConfigError when it is closed."""
    try:
        os.fstat(_STDOUT_DESCRIPTOR)
    except OSError as error:
        raise ConfigError(
            "flag --audit-log: stdout is closed; name a file by its absolute path", exit_code=1
        ) from error
    return _STDOUT_DESCRIPTOR


def _identity(path: str) -> tuple[int, int]:
    """Which file is at `path`. Raises OSError for anything but that there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return _NOWHERE
    return status.st_dev, status.st_ino


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.lstat(path).st_mode)
    except OSError:
        return False


def _refusal(path: str, error: OSError) -> str:
    cures = {
        errno.ENOENT: f"make the directory {os.path.dirname(path)!r}, or mount it into the container",
        errno.ELOOP: "it is a symlink, which is not followed: name the file itself",
        errno.EISDIR: "it is a directory: name a file in it",
        errno.EACCES: "let this user write there, or name another file",
        errno.EPERM: "let this user write there, or name another file",
        errno.EROFS: "name a file on a file system that can be written",
        errno.ENXIO: "it is a socket, which takes no log: name a file or a FIFO",
    }
    cure = cures.get(error.errno or 0, "name a file that can be written")
    return f"flag --audit-log: can't open {path!r} ({error.strerror}); {cure}"
