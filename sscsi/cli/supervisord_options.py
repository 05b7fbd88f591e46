"""supervisord's options, as they are in `sscsi run`: its surroundings, and what it does to its own process."""

import fcntl
import logging
import os
from typing import Any

from supervisor.loggers import Logger
from supervisor.options import ServerOptions

from sscsi.cli.forked_program import become, is_ours
from sscsi.cli.signal_queue import SignalQueue
from sscsi.core import log_keys
from sscsi.process.lock_file import LockFile

log = logging.getLogger("sscsi.supervisord")

# Frames between supervisord's own call of its logger and ours: Logger.info, Logger.log, emit.
_LOGGER_FRAMES = 4
_STDERR = 2


class _Bridge:
    """A handler of supervisord's logger that hands each message to ours. The level numbers are the same."""

    level = logging.INFO

    def emit(self, record: Any) -> None:
        log.log(record.level, "%s", record.asdict()["message"].rstrip("\n"), stacklevel=_LOGGER_FRAMES)

    def reopen(self) -> None:
        """Nothing to open: SIGUSR2 is about log files."""

    def close(self) -> None:
        """Nothing to close."""


class Options(ServerOptions):  # type: ignore[misc] # supervisor ships no types
    """supervisord's options, with our log, our way to start a program, and without a word about the user.

    `signals` goes from one life to the next. `output` is our own stderr, where supervisord does not close it in a child.
    """

    def __init__(self, signals: SignalQueue) -> None:
        super().__init__()
        self.signal_receiver = signals
        self.output = -1
        self._pid_file_lock: LockFile | None = None

    def make_logger(self) -> None:
        self.logger = Logger(self.loglevel)
        self.logger.addHandler(_Bridge())
        for message in self.parse_criticals + self.parse_warnings:
            log.warning("%s", message)

    def set_uid_or_exit(self) -> None:
        """Stay who we are: each program drops what it does not need."""

    def cleanup_fds(self) -> None:
        """Nothing leaks that a reload would have to close; and what it would close is not supervisord's alone."""

    def write_pidfile(self) -> None:
        """Write it, unless it is that of another appliance, which has not ended: then this one has none."""
        lock = LockFile(f"{self.pidfile}.lock")
        try:
            if not lock.hold():
                log.warning(
                    "another appliance runs in the same run directory; the pid file stays its own",
                    extra={log_keys.PATH: self.pidfile},
                )
                return
        except OSError as error:
            log.error(
                "the pid file can't be locked; there is none",
                extra={log_keys.PATH: self.pidfile, log_keys.ERROR: error.strerror},
            )
            return
        self._pid_file_lock = lock
        super().write_pidfile()

    def cleanup(self) -> None:
        super().cleanup()
        if self._pid_file_lock:
            self._pid_file_lock.release()

    def keep_output(self) -> None:
        """Keep our own stderr where supervisord does not close it in a child."""
        self.output = fcntl.fcntl(_STDERR, fcntl.F_DUPFD_CLOEXEC, self.minfds)

    def execve(self, filename: str, argv: list[str], env: dict[str, str]) -> None:
        """What a forked child does last. Does not return."""
        if not is_ours(argv):
            os.execve(filename, argv, env)  # noqa: S606 - what the file says
        become(argv, env, output=self.output, was_asked_to_stop=self.signal_receiver.take_stop)
