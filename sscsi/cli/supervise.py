"""supervisord in this process and in the foreground, until it is asked to stop.

The file it reads is `supervisord.conf`, the same that a stock supervisord runs. What differs in here:

- Its own messages take the form of everybody else's (program name first, text or JSON).
- It stays the user it is without a warning about root, which an appliance that mounts has to be.
- Programs run in the forked child instead of being exec'ed: they share this process's memory.
- Programs write their logs themselves: nothing passes through the loop that looks after them.
- The loop sees a death or a signal at once, not at the next full second; no signal is lost, however early it comes.
- Somebody who sets the clock does not change how long anything is waited for.
- When node or registrar is given up, or keeps ending, everything is stopped and the exit code is 1; any other
  program that keeps ending is started again after growing pauses, of half a minute at most, for ever.
- Its pid file is not taken from another appliance in the same run directory.
"""

import logging
import os
import time
import types
from collections.abc import Callable
from importlib import resources
from typing import Any

from supervisor import events, process
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from sscsi.cli import signal_queue
from sscsi.cli.restart_policy import RestartPolicy
from sscsi.cli.signal_queue import SignalQueue
from sscsi.cli.supervisord_options import Options
from sscsi.cli.wakeup import Wakeup
from sscsi.core import log_levels
from sscsi.process import logs
from sscsi.process.run import SUPERVISOR_PID

log = logging.getLogger("sscsi.supervisord")


def supervise() -> int:
    """Run the appliance until SIGTERM, SIGINT or SIGQUIT; SIGHUP starts everything anew. The exit code.

    Code 0: asked to stop. Code 1: node or registrar could not be kept running. Every variable that the file names
    must be in `os.environ` by now. Raises SystemExit (2) for a file that supervisord does not understand.
    """
    os.environ[SUPERVISOR_PID] = str(os.getpid())
    # supervisord goes by the wall clock: set forward, it would kill at once what it has just asked to stop.
    process.time = types.SimpleNamespace(time=time.monotonic)
    signals = SignalQueue()
    with resources.as_file(resources.files("sscsi") / "supervisord.conf") as path:
        run = _Run(str(path), signals, first=True)
        while run.until_end() >= SupervisorStates.RESTARTING:
            run = _Run(str(path), signals, first=False)
    return 1 if run.has_failed else 0


class _WakefulSupervisor(Supervisor):  # type: ignore[misc] # supervisor ships no types
    """A supervisord whose loop goes on at once when there is something to do next, and tells of each state."""

    def __init__(self, options: Options, wakeup: Wakeup, on_state: Callable[[Any], None]) -> None:
        super().__init__(options)
        self._wakeup = wakeup
        self._on_state = on_state

    def runforever(self) -> None:
        # Not before: `run` forgets all subscriptions first.
        events.subscribe(events.ProcessStateEvent, self._on_state)
        # The first programs need not wait for the first full second.
        self._wakeup.again()
        signal_queue.release()
        # Who was asked to stop by now starts nothing.
        self.handle_signal()
        super().runforever()

    def handle_signal(self) -> None:
        # supervisord takes one a round, and the next one may be a second away.
        while self.options.signal_receiver:
            super().handle_signal()

    def tick(self, now: float | None = None) -> None:
        super().tick(now)
        # This process stays without threads, so its log has none that would write what is pending.
        logs.flush_pending()

    def reap(self, once: bool = False, recursionguard: int = 0) -> None:
        children = len(self.options.pidhistory)
        super().reap(once, recursionguard)
        if len(self.options.pidhistory) != children:
            self._wakeup.again()

    def ordered_stop_groups_phase_2(self) -> None:
        super().ordered_stop_groups_phase_2()
        if not (self.stop_groups and self.stop_groups[-1].get_unstopped_processes()):
            self._wakeup.again()


class _Run:
    """One life of supervisord, from reading its file to the last program's end."""

    def __init__(self, path: str, signals: SignalQueue, *, first: bool) -> None:
        self.has_failed = False
        self._policy = RestartPolicy(self._fail)
        self._options = Options(signals)
        self._options.realize(["--configuration", path, "--nodaemon"], doc="")
        self._options.first, self._options.test = first, False

    def until_end(self) -> int:
        """Run; supervisord's mood at the end."""
        options = self._options
        options.keep_output()
        wakeup = Wakeup(options)
        supervisor = _WakefulSupervisor(options, wakeup, self._on_state)
        try:
            supervisor.main()
        except ExitNow:
            log.log(log_levels.DECISIONS, "every program has ended")
            # A request to stop that came while the last program ended goes before the reload.
            supervisor.handle_signal()
        finally:
            wakeup.close()
            os.close(options.output)
        options.close_httpservers()
        options.close_logger()
        return int(options.mood)

    def _on_state(self, event: Any) -> None:
        if self._options.mood == SupervisorStates.RUNNING:
            self._policy.note(event)

    def _fail(self) -> None:
        self.has_failed = True
        self._options.mood = SupervisorStates.SHUTDOWN
