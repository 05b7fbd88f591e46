"""How a program that is over its memory budget is made to end: asked first, then made."""

import logging
import math
from collections.abc import Callable

from sidecars.watchdog.processes import ProgramProcess
from sscsi.core import log_keys

log = logging.getLogger(__name__)


class OverBudgetEnds:
    """The processes that were told to end and may still be there.

    `monotonic` tells seconds. SIGKILL goes to the very process that was told, never to a later one of its number.
    """

    def __init__(self, *, stop_grace_seconds: float, monotonic: Callable[[], float]) -> None:
        self._stop_grace_seconds = stop_grace_seconds
        self._monotonic = monotonic
        self._told: dict[str, tuple[ProgramProcess, float]] = {}
        self._refused: set[str] = set()

    def is_ending(self, program: str) -> bool:
        """Whether the program's process was told to end and is not known to have done so."""
        return program in self._told

    def tell(self, program: str, process: ProgramProcess, *, size: int, reason: str) -> bool:
        """SIGTERM, with a line in the log that has `size` (bytes) and `reason`. False when it may not be signalled."""
        fields = {
            log_keys.PROGRAM: program,
            log_keys.PID: process.pid,
            log_keys.BYTES: size,
            log_keys.REASON: reason,
        }
        try:
            process.terminate()
        except PermissionError:
            if program not in self._refused:
                self._refused.add(program)
                log.warning(
                    "a program is over its memory budget and may not be ended from here: no CAP_KILL",
                    extra=fields,
                )
            return False
        self._told[program] = (process, self._monotonic() + self._stop_grace_seconds)
        log.warning("a program is over its memory budget; it is started anew", extra=fields)
        return True

    def look_after(self) -> None:
        """Forget those that ended; SIGKILL to those whose grace is over."""
        for program, (process, deadline) in list(self._told.items()):
            if not process.lives():
                del self._told[program]
            elif self._monotonic() >= deadline:
                log.warning(
                    "a program does not end when asked; it is killed",
                    extra={log_keys.PROGRAM: program, log_keys.PID: process.pid},
                )
                process.kill()
                # Said once: one that the kernel does not let go is looked at, and not told again.
                self._told[program] = (process, math.inf)
