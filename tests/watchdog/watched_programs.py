"""A watchdog over programs in memory, with clocks that stand still until a test moves them."""

from pathlib import Path

from sidecars.watchdog.memory_budgets import OverBudgets
from sidecars.watchdog.room import Watchdog
from sidecars.watchdog.state_file import StateFile
from sidecars.watchdog.verdict import Verdict
from sscsi.core.run_files import WATCHDOG_STATE
from sscsi.core.watchdog_state import ContainerMemory, ProgramState, WatchdogState, from_json
from tests.watchdog.fake_processes import FakeProcess, FakeProcesses
from tests.watchdog.supervisord_words import other_event, state_event

GRACE_SECONDS = 12.0
TICK_SECONDS = 5.0


class WatchedPrograms:
    """supervisord's part and the clock's, played by a test. `ended` has the supervisords that were told to end."""

    def __init__(self, run_directory: Path, *, budgets: dict[str, int | None], decides: bool = True) -> None:
        self._run_directory = run_directory
        self._budgets = budgets
        self._decides = decides
        self.processes = FakeProcesses()
        self.container: ContainerMemory | None = None
        self.ended: list[int] = []
        self.now = 2000.0
        self.monotonic = 70.0
        self.serial = 0
        self.room = self._room()

    def _room(self) -> Watchdog:
        self._file = StateFile(str(self._run_directory))
        return Watchdog(
            processes=self.processes,
            file=self._file,
            budgets=OverBudgets(self._budgets),
            verdict=Verdict(self.processes.supervisor_pid, self.ended.append) if self._decides else None,
            stop_grace_seconds=GRACE_SECONDS,
            look_at_container=lambda: self.container,
            now=lambda: self.now,
            monotonic=lambda: self.monotonic,
        )

    def begin(self) -> None:
        self.room.begin()

    def restart(self) -> None:
        """Kill -9 of the watchdog, whose lock the kernel gives up, and its successor."""
        self._file.close()
        self.room = self._room()
        self.room.begin()

    def supervisord_restarts(self, *, pid: int, start_time: float) -> None:
        """Another supervisord, process 1 again in a container; the run directory was kept."""
        self.processes = FakeProcesses(supervisor_pid=pid, supervisor_start_time=start_time)
        self.serial = 0
        self.restart()

    def tell(self, program: str, state: str, *, from_state: str = "STARTING", pid: int = 0) -> None:
        """A change of a program's state; the room takes it in."""
        self.serial += 1
        event = state_event(program, state, from_state=from_state, pid=pid, serial=self.serial)
        self.room.note(event)
        self.room.go_on(event)

    def say(self, name: str) -> None:
        """An event about no program."""
        self.serial += 1
        event = other_event(name, serial=self.serial)
        self.room.note(event)
        self.room.go_on(event)

    def start(self, program: str) -> FakeProcess:
        """The program is started for the first time, and it stays up."""
        process = self.processes.start(program, start_time=self.now)
        self.tell(program, "STARTING", from_state="STOPPED")
        self.tell(program, "RUNNING", pid=process.pid)
        return process

    def exit(self, program: str) -> None:
        """The program ends without having been asked, and is started again."""
        for process in self.processes.by_program().values():
            if isinstance(process, FakeProcess) and process.program == program:
                process.alive = False
                self.tell(program, "EXITED", from_state="RUNNING", pid=process.pid)
        again = self.processes.start(program, start_time=self.now)
        self.tell(program, "STARTING", from_state="EXITED")
        self.tell(program, "RUNNING", pid=again.pid)

    def tick(self, times: int = 1) -> None:
        """Five seconds go by, again and again."""
        for _ in range(times):
            self.pass_seconds(TICK_SECONDS)
            self.say("TICK_5")

    def pass_seconds(self, seconds: float) -> None:
        self.now += seconds
        self.monotonic += seconds

    def file(self) -> WatchdogState:
        return from_json((self._run_directory / WATCHDOG_STATE).read_bytes())

    def program(self, name: str) -> ProgramState:
        return self.file().programs[name]
