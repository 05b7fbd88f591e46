"""What becomes of a program that keeps ending, where supervisord itself would start it at once, for ever."""

import logging
import time
from collections.abc import Callable
from typing import Any

from supervisor import events
from supervisor.states import ProcessStates

from sscsi.core import log_keys
from sscsi.core.crash_loop import CRITICAL_PROGRAMS, CrashLoops

log = logging.getLogger("sscsi.supervisord")

# BACKOFF: it ended before `startsecs`, or could not be started at all.
_ENDS = (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent)
# supervisord waits one second more before each further start, and no program here is ever given up for the API server's
# troubles: after a night of them it must not take another night to come back.
_LONGEST_PAUSE_SECONDS = 30.0


class RestartPolicy:
    """Looks at each change of a program's state while supervisord runs.

    `end` is called when node or registrar can't be kept running. `monotonic` is the clock of supervisord's processes.
    """

    def __init__(self, end: Callable[[], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._end = end
        self._monotonic = monotonic
        self._loops = CrashLoops()

    def note(self, event: Any) -> None:
        """Do what follows from one of supervisord's ProcessStateEvents."""
        name = event.process.config.name
        if name in CRITICAL_PROGRAMS:
            if isinstance(event, events.ProcessStateFatalEvent):
                self._give_up(name, "it does not start")
            elif isinstance(event, _ENDS) and self._loops.exited(name, self._monotonic()):
                self._give_up(name, "it keeps ending")
        elif isinstance(event, events.ProcessStateBackoffEvent):
            event.process.delay = min(event.process.delay, self._monotonic() + _LONGEST_PAUSE_SECONDS)
        elif isinstance(event, events.ProcessStateExitedEvent) and self._loops.exited(
            name, self._monotonic()
        ):
            self._pause(event.process)

    def _give_up(self, program: str, reason: str) -> None:
        """End the container for a program that it is nothing without."""
        log.error(
            "the appliance ends: a program that it needs can't be kept running",
            extra={log_keys.PROGRAM: program, log_keys.REASON: reason},
        )
        self._end()

    def _pause(self, process: Any) -> None:
        """Let a program that keeps ending wait as many seconds as it has ended times; else it starts at once."""
        exits = self._loops.exits(process.config.name, self._monotonic())
        log.warning(
            "a program keeps ending; it is started again after a pause",
            extra={log_keys.PROGRAM: process.config.name, log_keys.SECONDS: exits},
        )
        # BACKOFF adds one to the counter and waits as many seconds.
        process.backoff = exits - 1
        process.change_state(ProcessStates.BACKOFF)
