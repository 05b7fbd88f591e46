"""The appliance's run directory: where the rooms' sockets are."""

import os

from sscsi.errors import ConfigError

_MODE = 0o750


def make_run_directory(path: str) -> None:
    """Make `path`, mode 0750, unless it is there. Raises ConfigError with the cure."""
    try:
        os.makedirs(path, mode=_MODE, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the run directory {path!r} ({error.strerror}); see --run-dir, SSCSI_RUN_DIR",
            exit_code=1,
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(
            f"run directory {path!r} is not writable; see --run-dir, SSCSI_RUN_DIR", exit_code=1
        )
