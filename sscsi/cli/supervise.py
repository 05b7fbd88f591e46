"""supervisord in this process and in the foreground, until it is asked to stop.

The file it reads is `supervisord.conf`, the same that a stock supervisord runs. What differs in here: its own
messages take the form of everybody else's (program name first, text or JSON), and it stays the user it is
without a warning about root, which an appliance that mounts has to be.
"""

import logging
import os
from importlib import resources
from typing import Any

from supervisor.loggers import Logger
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from sscsi.process.run import SUPERVISOR_PID

log = logging.getLogger("sscsi.supervisord")

# Frames between supervisord's own call of its logger and ours: Logger.info, Logger.log, emit.
_LOGGER_FRAMES = 4


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
    """supervisord's options, with our log and without a word about the user."""

    def make_logger(self) -> None:
        self.logger = Logger(self.loglevel)
        self.logger.addHandler(_Bridge())
        for message in self.parse_criticals + self.parse_warnings:
            log.warning("%s", message)

    def set_uid_or_exit(self) -> None:
        """Stay who we are: each program drops what it does not need."""


def supervise() -> None:
    """Run the appliance until SIGTERM, SIGINT or SIGQUIT; SIGHUP starts everything anew.

    Every variable that the file names must be in `os.environ` by now. Returns when the last program has ended.
    Raises SystemExit (2) for a file that supervisord does not understand.
    """
    os.environ[SUPERVISOR_PID] = str(os.getpid())
    with resources.as_file(resources.files("sscsi") / "supervisord.conf") as path:
        first = True
        while _run_once(str(path), first=first) >= SupervisorStates.RESTARTING:
            first = False


def _run_once(path: str, *, first: bool) -> int:
    options = _Options()
    options.realize(["--configuration", path, "--nodaemon"], doc="")
    options.first, options.test = first, False
    try:
        Supervisor(options).main()
    except ExitNow:
        log.debug("every program has ended")
    options.close_httpservers()
    options.close_logger()
    return int(options.mood)
