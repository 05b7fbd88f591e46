"""What is known of every program: its state from supervisord's events, its process and its figures from looking."""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping

from sidecars.watchdog.events import Event
from sidecars.watchdog.memory_budgets import OverBudgets
from sidecars.watchdog.processes import Processes, ProgramProcess, Usage
from sidecars.watchdog.program_states import ALIVE, UNKNOWN_PROGRAM, after_event, without_process
from sscsi.core import log_keys
from sscsi.core.watchdog_state import ProgramState

log = logging.getLogger(__name__)

# The kernel walks through all of a process's page tables to tell its PSS.
_PSS_SECONDS = 30.0
# `startsecs` in supervisord.conf: of a process that no event told of, age is all there is to tell its state by.
_START_SECONDS = 3.0
# How far a process's start time moves when somebody sets the clock a little.
_SAME_START_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The memory of one program's process, as a budget takes it: PSS if `is_pss`, else RSS."""

    program: str
    process: ProgramProcess
    size: int
    is_pss: bool


class ProgramBoard:
    """The programs of one supervisord, by name.

    `now` is seconds since the epoch, `monotonic` those of a clock that never goes back.
    """

    def __init__(
        self,
        processes: Processes,
        budgets: OverBudgets,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processes = processes
        self._budgets = budgets
        self._now = now
        self._monotonic = monotonic
        self._states: dict[str, ProgramState] = {}
        self._living: dict[str, ProgramProcess] = {}
        self._pss_times: dict[str, float] = {}
        self._said_no_pss = False

    @property
    def states(self) -> Mapping[str, ProgramState]:
        return {
            program: dataclasses.replace(state, memory_budget_bytes=self._budgets.budget(program))
            for program, state in self._states.items()
        }

    def restore(self, states: Mapping[str, ProgramState]) -> None:
        """Begin with what a predecessor knew. Processes that ended since are left out."""
        for program, state in states.items():
            process = self._processes.by_pid(state.pid) if state.pid else None
            if process and abs(process.start_time - state.start_time) > _SAME_START_SECONDS:
                process = None
            self._set(program, state, process)

    def forget(self) -> None:
        """Know nothing."""
        self._states.clear()
        self._living.clear()
        self._pss_times.clear()

    def change(self, event: Event) -> None:
        """A program's state changed."""
        program = event.program
        state = after_event(self._states.get(program), event, at=self._now())
        living = self._living.get(program)
        if living is None or living.pid != state.pid:
            living = self._processes.by_pid(state.pid) if state.pid else None
        self._set(program, state, living)
        self._measure(program)

    def restarted_for_memory(self, program: str) -> None:
        """Count a restart that the budget is the reason of."""
        state = self._states[program]
        self._states[program] = dataclasses.replace(
            state, over_budget_restarts=state.over_budget_restarts + 1
        )

    def look(self) -> list[Figure]:
        """Find processes that no event told of, and measure all. The figures of those that live."""
        if not self._states or any(state.state in ALIVE and not state.pid for state in self._states.values()):
            self.find()
        return [figure for program in self._states if (figure := self._measure(program))]

    def find(self) -> None:
        """Look for the processes of programs by their titles."""
        for program, process in self._processes.by_program().items():
            state = self._states.get(program)
            if state is None:
                is_young = self._now() - process.start_time < _START_SECONDS
                state = dataclasses.replace(UNKNOWN_PROGRAM, state="STARTING" if is_young else "RUNNING")
            if state.state in ALIVE and not state.pid:
                self._set(program, state, process)

    def _set(self, program: str, state: ProgramState, process: ProgramProcess | None) -> None:
        if process is None:
            self._living.pop(program, None)
            self._states[program] = without_process(state)
            return
        if process is not self._living.get(program):
            self._living[program] = process
            self._pss_times.pop(program, None)
        self._states[program] = dataclasses.replace(state, pid=process.pid, start_time=process.start_time)

    def _measure(self, program: str) -> Figure | None:
        process = self._living.get(program)
        if process is None:
            return None
        state = self._states[program]
        usage = self._usage(program, process)
        if usage is None:
            self._set(program, state, None)
            return None
        pss = usage.pss_bytes
        self._states[program] = dataclasses.replace(
            state,
            rss_bytes=usage.rss_bytes,
            cpu_seconds=usage.cpu_seconds,
            pss_bytes=state.pss_bytes if pss is None else pss,
        )
        # PSS is never above RSS: while that is within the budget, PSS need not be asked for.
        size = usage.rss_bytes if pss is None else pss
        return Figure(program=program, process=process, size=size, is_pss=pss is not None)

    def _usage(self, program: str, process: ProgramProcess) -> Usage | None:
        read_at = self._pss_times.get(program)
        is_due = read_at is None or self._monotonic() - read_at >= _PSS_SECONDS
        usage = process.usage(with_pss=is_due)
        if usage and not is_due and self._budgets.is_over(program, usage.rss_bytes):
            is_due = True
            usage = process.usage(with_pss=True)
        if usage and is_due:
            self._pss_times[program] = self._monotonic()
            if usage.pss_bytes is None:
                self._say_no_pss(program)
        return usage

    def _say_no_pss(self, program: str) -> None:
        if not self._said_no_pss:
            self._said_no_pss = True
            log.warning(
                "PSS may not be read: no CAP_SYS_PTRACE; memory that programs share counts in full for each",
                extra={log_keys.PROGRAM: program},
            )
