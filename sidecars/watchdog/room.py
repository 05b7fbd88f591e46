"""The room: takes supervisord's events in, and does what follows from them."""

import os
import time
from collections.abc import Callable

from sidecars.watchdog import events
from sidecars.watchdog.container_memory import read_container_memory
from sidecars.watchdog.events import Event
from sidecars.watchdog.memory_budgets import MEASUREMENTS, OverBudgets
from sidecars.watchdog.over_budget_ends import OverBudgetEnds
from sidecars.watchdog.processes import Processes
from sidecars.watchdog.program_board import Figure, ProgramBoard
from sidecars.watchdog.state_file import StateFile
from sidecars.watchdog.verdict import Verdict
from sscsi.core.byte_size import format_size
from sscsi.core.watchdog_state import ContainerMemory, WatchdogState


class Watchdog:
    """Everything between the events and the file. One thread.

    `verdict` is None where somebody else decides on the container's end. `now` is seconds since the epoch,
    `monotonic` those of a clock that never goes back.
    """

    def __init__(
        self,
        *,
        processes: Processes,
        file: StateFile,
        budgets: OverBudgets,
        verdict: Verdict | None,
        stop_grace_seconds: float,
        look_at_container: Callable[[], ContainerMemory | None] = read_container_memory,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_stopping = False
        self._processes = processes
        self._file = file
        self._budgets = budgets
        self._verdict = verdict
        self._look_at_container = look_at_container
        self._now = now
        self._monotonic = monotonic
        self._board = ProgramBoard(processes, budgets, now=now, monotonic=monotonic)
        self._ends = OverBudgetEnds(stop_grace_seconds=stop_grace_seconds, monotonic=monotonic)
        self._container: ContainerMemory | None = None
        self._last_event: int | None = None

    def begin(self) -> None:
        """Go on where a predecessor under this supervisord stopped, look who is there, and write it down."""
        previous = self._file.read()
        if previous is not None and self._is_of_this_supervisor(previous):
            self._last_event = previous.last_event
            self._board.restore(previous.programs)
            self._remember_exits(previous)
        self._board.find()
        self._board.look()
        self._write()

    def note(self, event: Event) -> None:
        """Take an event in. One that is sent again, since nobody lived to answer it, counts once."""
        if event.serial == self._last_event:
            return
        if self._last_event is not None and event.serial < self._last_event:
            # Numbers only grow in a supervisord's life: what is known is of an earlier one.
            self._board.forget()
        self._last_event = event.serial
        if event.name in {events.SUPERVISOR_RUNNING, events.SUPERVISOR_STOPPING}:
            self.is_stopping = event.name == events.SUPERVISOR_STOPPING
        elif event.program:
            if self._verdict and not self.is_stopping:
                self._verdict.judge(event, self._monotonic())
            self._board.change(event)
            self._write()

    def go_on(self, event: Event) -> None:
        """Measure, when the event is the one that comes every five seconds."""
        if event.name != events.TICK:
            return
        figures = self._board.look()
        self._container = self._look_at_container()
        if not self.is_stopping:
            self._ends.look_after()
            for figure in figures:
                self._hold_against_budget(figure)
        self._write()

    def _is_of_this_supervisor(self, previous: WatchdogState) -> bool:
        # In a container every supervisord is process 1; a file older than this one is an earlier one's.
        return (
            previous.supervisor_pid == self._processes.supervisor_pid
            and previous.time >= self._processes.supervisor_start_time
        )

    def _remember_exits(self, previous: WatchdogState) -> None:
        """The file has times since the epoch; exits are counted by the other clock."""
        if self._verdict:
            offset = self._monotonic() - self._now()
            for program, state in previous.programs.items():
                self._verdict.remember(program, [at + offset for at in state.recent_exit_times])

    def _hold_against_budget(self, figure: Figure) -> None:
        program = figure.program
        if self._ends.is_ending(program):
            return
        if not self._budgets.measured(program, figure.process.pid, figure.size):
            return
        if self._ends.tell(program, figure.process, size=figure.size, reason=self._reason(figure)):
            self._board.restarted_for_memory(program)

    def _reason(self, figure: Figure) -> str:
        measure = "PSS" if figure.is_pss else "RSS (PSS may not be read)"
        budget = format_size(self._budgets.budget(figure.program) or 0)
        return (
            f"{measure} of {format_size(figure.size)} is over the budget of {budget}, "
            f"{MEASUREMENTS} measurements in a row; see --memory-budgets, SSCSI_MEMORY_BUDGETS"
        )

    def _write(self) -> None:
        self._file.write(
            WatchdogState(
                time=self._now(),
                pid=os.getpid(),
                supervisor_pid=self._processes.supervisor_pid,
                programs=self._board.states,
                container=self._container,
                last_event=self._last_event,
            )
        )
