"""A stock supervisord with small programs and the real watchdog."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sscsi.core.watchdog_state import ProgramState, WatchdogState, from_json
from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

_HEAD = """
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={directory}/supervisord.pid
childlogdir={directory}
nocleanup=true
minfds=256

[eventlistener:watchdog]
command={python} -m sidecars.watchdog --run-dir={directory} {flags}
directory={root}
events=PROCESS_STATE,SUPERVISOR_STATE_CHANGE,TICK_5
buffer_size=100
startsecs=1
autorestart=true
stdout_logfile=NONE
stderr_logfile=NONE
"""
_PROGRAM = """
[program:{name}]
command={command}
stdout_logfile=NONE
stderr_logfile=NONE
{settings}
"""
STAYS_UP = "/bin/sleep 1000"
# Fails at once; supervisord gives it up after a second try.
FATAL = ("/bin/false", "startsecs=3\nstartretries=1")
# Counts as up from its first moment, and is started again at once.
LOOPS = ("/bin/sleep 0.1", "startsecs=0\nautorestart=true")


def stubborn_eater(size: int) -> str:
    """A program that takes `size` bytes of memory and does not mind SIGTERM."""
    script = f"import signal; signal.signal(15, signal.SIG_IGN); content = b'x' * {size}; signal.pause()"
    return f'{sys.executable} -S -E -c "{script}"'


class StockSupervisord:
    """One supervisord. `programs`: a command each, or a command and more settings."""

    def __init__(
        self, directory: Path, programs: Mapping[str, str | tuple[str, str]], *, flags: str = ""
    ) -> None:
        self._directory = directory
        directory.mkdir()
        head = _HEAD.format(directory=directory, python=sys.executable, root=ROOT, flags=flags)
        parts = [
            _PROGRAM.format(name=name, command=command, settings=settings)
            for name, (command, settings) in (
                (name, (given, "autorestart=true") if isinstance(given, str) else given)
                for name, given in programs.items()
            )
        ]
        (directory / "supervisord.conf").write_text(head + "".join(parts))
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SSCSI_")}
        with open(directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from supervisor.supervisord import main; main()",
                    f"--configuration={directory}/supervisord.conf",
                ],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ends_by_itself(self, *, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def is_up(self) -> bool:
        return self.process.poll() is None

    def state(self) -> WatchdogState | None:
        try:
            return from_json((self._directory / "watchdog.json").read_bytes())
        except FileNotFoundError:
            return None

    def program(self, name: str) -> ProgramState | None:
        state = self.state()
        return state.programs.get(name) if state else None

    def wait_for(self, name: str, state: str, *, seconds: float = 30.0) -> ProgramState:
        """The program's state once it is `state`."""

        def is_there() -> bool:
            program = self.program(name)
            return program is not None and program.state == state

        wait_until(is_there, f"{name} is {state}; the log: {self.log()}", seconds=seconds)
        program = self.program(name)
        assert program
        return program

    def log(self) -> str:
        return (self._directory / "log").read_text()

    def close(self) -> None:
        """SIGTERM, and SIGKILL to what does not mind."""
        if self.is_up():
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
