"""When the whole container has to end, and the end of it."""

import logging
import os
import signal
from collections.abc import Callable, Iterable

from sidecars.watchdog.events import Event
from sidecars.watchdog.program_states import is_exit
from sscsi.core import log_keys
from sscsi.core.crash_loop import CRITICAL_PROGRAMS, EXIT_LIMIT, WINDOW_SECONDS, CrashLoops

log = logging.getLogger(__name__)

_FATAL = "supervisord gave it up (FATAL)"
_LOOP = f"it ended {EXIT_LIMIT} times in {WINDOW_SECONDS:.0f} s"


def end_supervisor(pid: int) -> None:
    """SIGTERM to the supervisord with that number, if it still is this process's parent."""
    if os.getppid() != pid:
        return
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        log.error(
            "supervisord may not be ended from here; run the watchdog as its user", extra={log_keys.PID: pid}
        )


class Verdict:
    """Ends supervisord, once, when a program without which there are no mounts is FATAL or loops.

    `end` is given the number of supervisord's process.
    """

    def __init__(self, supervisor_pid: int, end: Callable[[int], None] = end_supervisor) -> None:
        self._supervisor_pid = supervisor_pid
        self._end = end
        self._loops = CrashLoops()
        self._is_given = False

    def remember(self, program: str, exits: Iterable[float]) -> None:
        """Count exits that a predecessor saw. Times are of the monotonic clock."""
        for at in exits:
            self._loops.exited(program, at)

    def judge(self, event: Event, at: float) -> None:
        """Take in a program's change of state at `at`, of the monotonic clock."""
        if event.program not in CRITICAL_PROGRAMS or not (reason := self._reason(event, at)):
            return
        if not self._is_given:
            self._is_given = True
            log.error(
                "the container ends: a program that it cannot do without does not stay up",
                extra={log_keys.PROGRAM: event.program, log_keys.REASON: reason},
            )
            self._end(self._supervisor_pid)

    def _reason(self, event: Event, at: float) -> str:
        if event.state == "FATAL":
            return _FATAL
        if is_exit(event) and self._loops.exited(event.program, at):
            return _LOOP
        return ""
