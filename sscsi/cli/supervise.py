"""supervisord in this process and in the foreground, until it is asked to stop.

The file it reads is `supervisord.conf`, the same that a stock supervisord runs. What differs in here:

- Its own messages take the form of everybody else's (program name first, text or JSON).
- It stays the user it is without a warning about root, which an appliance that mounts has to be.
- Programs run in the forked child instead of being exec'ed: they share this process's memory.
- Programs write their logs themselves: nothing passes through the loop that looks after them.
- The loop sees a death or a signal at once, not at the next full second.
- When node or registrar is given up, or keeps ending, everything is stopped and the exit code is 1; any other
  program that keeps ending is started again after growing pauses, for ever.
"""

import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

from supervisor import events
from supervisor.loggers import Logger
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from sscsi.cli.forked_program import become, is_ours
from sscsi.cli.wakeup import Wakeup
from sscsi.core import log_keys
from sscsi.core.crash_loop import CRITICAL_PROGRAMS, CrashLoops
from sscsi.process.run import SUPERVISOR_PID

log = logging.getLogger("sscsi.supervisord")

# Frames between supervisord's own call of its logger and ours: Logger.info, Logger.log, emit.
_LOGGER_FRAMES = 4
_STDERR = 2
# BACKOFF: it ended before `startsecs`, or could not be started at all.
_ENDS = (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent)
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def supervise() -> int:
    """Run the appliance until SIGTERM, SIGINT or SIGQUIT; SIGHUP starts everything anew. The exit code.

    Code 0: asked to stop. Code 1: node or registrar could not be kept running. Every variable that the file names
    must be in `os.environ` by now. Raises SystemExit (2) for a file that supervisord does not understand.
    """
    os.environ[SUPERVISOR_PID] = str(os.getpid())
    with resources.as_file(resources.files("sscsi") / "supervisord.conf") as path:
        run = _Run(str(path), first=True)
        while run.until_end() >= SupervisorStates.RESTARTING:
            run = _Run(str(path), first=False)
    return 1 if run.has_failed else 0


class _Bridge:
    """A handler of supervisord's logger that hands each message to ours. The level numbers are the same."""

    level = logging.INFO

    def emit(self, record: Any) -> None:
        log.log(record.level, "%s", record.asdict()["message"].rstrip("\n"), stacklevel=_LOGGER_FRAMES)

    def reopen(self) -> None:
        """Nothing to open: SIGUSR2 is about log files."""

    def close(self) -> None:
        """Nothing to close."""


class _Options(ServerOptions):  # type: ignore[misc] # supervisor ships no types
    """supervisord's options, with our log, our way to start a program, and without a word about the user."""

    output = -1

    def make_logger(self) -> None:
        self.logger = Logger(self.loglevel)
        self.logger.addHandler(_Bridge())
        for message in self.parse_criticals + self.parse_warnings:
            log.warning("%s", message)

    def set_uid_or_exit(self) -> None:
        """Stay who we are: each program drops what it does not need."""

    def keep_output(self) -> None:
        """Keep our own stderr where supervisord does not close it in a child."""
        self.output = fcntl.fcntl(_STDERR, fcntl.F_DUPFD_CLOEXEC, self.minfds)

    def execve(self, filename: str, argv: list[str], env: dict[str, str]) -> None:
        """What a forked child does last. Does not return."""
        if not is_ours(argv):
            os.execve(filename, argv, env)  # noqa: S606 - what the file says
        become(argv, env, output=self.output, was_asked_to_stop=self._was_asked_to_stop)

    def _was_asked_to_stop(self) -> bool:
        while (number := self.get_signal()) is not None:
            if number in _STOP_SIGNALS:
                return True
        return False


class _WakefulSupervisor(Supervisor):  # type: ignore[misc] # supervisor ships no types
    """A supervisord whose loop goes on at once when there is something to do next, and tells of each state."""

    def __init__(self, options: _Options, wakeup: Wakeup, on_state: Callable[[Any], None]) -> None:
        super().__init__(options)
        self._wakeup = wakeup
        self._on_state = on_state

    def runforever(self) -> None:
        # Not before: `run` forgets all subscriptions first.
        events.subscribe(events.ProcessStateEvent, self._on_state)
        # The first programs need not wait for the first full second.
        self._wakeup.again()
        super().runforever()

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

    def __init__(self, path: str, *, first: bool) -> None:
        self.has_failed = False
        self._loops = CrashLoops()
        self._options = _Options()
        self._options.realize(["--configuration", path, "--nodaemon"], doc="")
        self._options.first, self._options.test = first, False

    def until_end(self) -> int:
        """Run; supervisord's mood at the end."""
        options = self._options
        options.keep_output()
        wakeup = Wakeup(options)
        try:
            _WakefulSupervisor(options, wakeup, self._on_state).main()
        except ExitNow:
            log.debug("every program has ended")
        finally:
            wakeup.close()
            os.close(options.output)
        options.close_httpservers()
        options.close_logger()
        return int(options.mood)

    def _on_state(self, event: Any) -> None:
        name = event.process.config.name
        if self._options.mood != SupervisorStates.RUNNING:
            return
        if name in CRITICAL_PROGRAMS:
            if isinstance(event, events.ProcessStateFatalEvent):
                self._give_up(name, "it does not start")
            elif isinstance(event, _ENDS) and self._loops.exited(name, time.monotonic()):
                self._give_up(name, "it keeps ending")
        elif isinstance(event, events.ProcessStateExitedEvent) and self._loops.exited(name, time.monotonic()):
            self._pause(event.process)

    def _give_up(self, program: str, reason: str) -> None:
        """End the container for a program that it is nothing without."""
        log.error(
            "the appliance ends: a program that it needs can't be kept running",
            extra={log_keys.PROGRAM: program, log_keys.REASON: reason},
        )
        self.has_failed = True
        self._options.mood = SupervisorStates.SHUTDOWN

    def _pause(self, process: Any) -> None:
        """Let a program that keeps ending wait as many seconds as it has ended times; else it starts at once."""
        exits = self._loops.exits(process.config.name, time.monotonic())
        log.warning(
            "a program keeps ending; it is started again after a pause",
            extra={log_keys.PROGRAM: process.config.name, log_keys.SECONDS: exits},
        )
        # BACKOFF adds one to the counter and waits as many seconds.
        process.backoff = exits - 1
        process.change_state(ProcessStates.BACKOFF)
