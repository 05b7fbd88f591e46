"""Reading `watchdog.json`, as whoever shows it does: never waiting, whatever is at the path."""

import os
import stat

from sscsi.core.run_files import WATCHDOG_STATE
from sscsi.core.watchdog_state import WatchdogState, from_json

_MAX_BYTES = 1024 * 1024


def read_watchdog_state(run_directory: str) -> WatchdogState:
    """The watchdog's state. Raises OSError when there is none to be read, ValueError when it can't be understood."""
    path = os.path.join(run_directory, WATCHDOG_STATE)
    # Opening a pipe would wait for its other end without O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path}: not a regular file")
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path}: larger than {_MAX_BYTES} bytes")
    return from_json(data)
