"""The appliance's own directories: nobody else may have made them, and nobody else may write to them."""

import errno
import os
import stat

from sscsi.errors import ConfigError, DiskFullError

_RUN_MODE = 0o750
_PRIVATE_MODE = 0o700
_OTHERS_WRITE = 0o022


def make_run_directory(path: str) -> None:
    """Make `path`, mode 0750, where the rooms' sockets are. Raises ConfigError with the cure."""
    _make(path, _RUN_MODE, "--run-dir, SSCSI_RUN_DIR")


def share_run_directory(path: str, group: int) -> str:
    """Let `group` in, and give it all that is made below, as far as the mode of each says so (mode 2750).

    Returns why it can't be done; empty when it was. A user namespace may have no such group, and a directory above
    may be closed to it.
    """
    closed = _closed_parent(path, group)
    if closed:
        return f"group {group} may not enter {closed}"
    try:
        os.chown(path, -1, group)
        os.chmod(path, stat.S_ISGID | _RUN_MODE)
    except OSError as error:
        return f"group {group}: {error.strerror}"
    return ""


def _closed_parent(path: str, group: int) -> str:
    """The directory above `path` that keeps `group` out, or nothing."""
    directory = os.path.dirname(os.path.realpath(path))
    while True:
        status = os.stat(directory)
        enter = stat.S_IXGRP if status.st_gid == group else stat.S_IXOTH
        if not status.st_mode & enter:
            return directory
        if directory == os.path.dirname(directory):
            return ""
        directory = os.path.dirname(directory)


def make_private_directory(path: str, setting: str) -> None:
    """Make `path`, mode 0700; `setting` is what the error names. Raises ConfigError, DiskFullError."""
    _make(path, _PRIVATE_MODE, setting)


def _make(path: str, mode: int, setting: str) -> None:
    try:
        os.makedirs(path, mode=mode, exist_ok=True)
    except OSError as error:
        kind = DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else ConfigError
        raise kind(
            f"cannot make directory {path!r} ({error.strerror}); see {setting}", exit_code=1
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"directory {path!r} is not writable; see {setting}", exit_code=1)
    status = os.stat(path)
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"directory {path!r} belongs to user {status.st_uid}, who could put anything there; "
            f"remove it, or choose another: see {setting}",
            exit_code=1,
        )
    if stat.S_IMODE(status.st_mode) & _OTHERS_WRITE:
        # An emptyDir of Kubernetes is made 0777.
        os.chmod(path, mode)
