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
