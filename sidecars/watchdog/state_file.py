"""`watchdog.json`: read once, written often, never seen half written, and by one watchdog.

Another appliance may be started in the same run directory while this one runs: an upgrade under way, or a mistake. Its
rooms wait for the sockets, and its watchdog for the file, which stays that of the programs behind those sockets.
"""

import errno
import logging
import os

from sscsi.core import log_keys
from sscsi.core.run_files import WATCHDOG_STATE
from sscsi.core.watchdog_state import WatchdogState, from_json, to_json
from sscsi.process.lock_file import LockFile

log = logging.getLogger(__name__)

# The group is the run directory's (setgid), in which the liveness probe is.
_MODE = 0o640
_BUSY = "another appliance runs in the same run directory"


class StateFile:
    """The file in `run_directory`. One process writes it: that which holds `watchdog.json.lock`."""

    def __init__(self, run_directory: str) -> None:
        self._path = os.path.join(run_directory, WATCHDOG_STATE)
        # One name for all times: what a killed process left is overwritten by its successor's first write.
        self._temporary = os.path.join(run_directory, f".{WATCHDOG_STATE}~")
        self._lock = LockFile(f"{self._path}.lock")
        self._fault = ""

    def read(self) -> WatchdogState | None:
        """What was written last; None when there is nothing, or nothing that can be understood."""
        try:
            with open(self._path, "rb") as file:
                return from_json(file.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = _name(error) if isinstance(error, OSError) else str(error)
            log.warning(
                "the last state cannot be read; counts begin anew",
                extra={log_keys.PATH: self._path, log_keys.REASON: reason},
            )
            return None

    def write(self, state: WatchdogState) -> None:
        """Replace the file, if it is nobody else's. What keeps it from being written is said once, and so is its end."""
        try:
            if self._lock.hold():
                self._replace(to_json(state).encode())
                self._say("")
            else:
                self._say(_BUSY)
        except OSError as error:
            self._say(_name(error))

    def close(self) -> None:
        """Let another write the file."""
        self._lock.release()

    def _replace(self, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._temporary, flags, _MODE)
        try:
            # Whatever the umask, and whoever left the temporary file.
            os.fchmod(descriptor, _MODE)
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.rename(self._temporary, self._path)
        except OSError:
            os.unlink(self._temporary)
            raise
        finally:
            os.close(descriptor)

    def _say(self, fault: str) -> None:
        if fault == self._fault:
            return
        self._fault = fault
        if fault:
            log.warning(
                "cannot write the programs' state; what the file says is not of these programs, or out of date",
                extra={log_keys.PATH: self._path, log_keys.REASON: fault},
            )
        else:
            log.info("the programs' state is written again", extra={log_keys.PATH: self._path})


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "")
