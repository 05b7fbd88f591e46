"""The program `sscsi-watchdog`: its real parts, wired."""

import contextlib
import os
import sys
import threading

from sidecars.watchdog.config import Config, parse
from sidecars.watchdog.listener import Listener
from sidecars.watchdog.memory_budgets import OverBudgets
from sidecars.watchdog.processes import SupervisedProcesses
from sidecars.watchdog.room import Watchdog
from sidecars.watchdog.state_file import StateFile
from sidecars.watchdog.verdict import Verdict
from sscsi.process import run


def serve(config: Config, stop: threading.Event) -> int:
    """Listen to the supervisord that started this process; the exit code."""
    supervisor_pid = os.getppid()
    listener = Listener(stop)
    listener.say_ready()
    with contextlib.closing(StateFile(config.run_directory)) as file:
        room = Watchdog(
            processes=SupervisedProcesses(supervisor_pid),
            file=file,
            budgets=OverBudgets(config.memory_budgets),
            verdict=Verdict(supervisor_pid) if config.decides_on_end else None,
            stop_grace_seconds=config.stop_grace_seconds,
        )
        room.begin()
        return listener.listen(room)


def main() -> int:
    """Entry point of the console script."""
    return run.room("watchdog", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
