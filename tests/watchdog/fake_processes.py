"""supervisord's children in memory: processes that take what a test says, and end when they are told, or not."""

import dataclasses
import itertools
from collections.abc import Mapping

from sidecars.watchdog.processes import ProgramProcess, Usage


@dataclasses.dataclass(kw_only=True, eq=False)
class FakeProcess:
    """One process. `rss` and `pss` are bytes; `pss` None: may not be read. `pss_reads` counts how often it was."""

    pid: int
    program: str = ""
    start_time: float = 1000.0
    rss: int = 0
    pss: int | None = 0
    cpu: float = 0.0
    minds_sigterm: bool = True
    may_be_signalled: bool = True
    alive: bool = True
    signals: list[str] = dataclasses.field(default_factory=list)
    pss_reads: int = 0

    def usage(self, *, with_pss: bool) -> Usage | None:
        if not self.alive:
            return None
        self.pss_reads += with_pss
        return Usage(rss_bytes=self.rss, cpu_seconds=self.cpu, pss_bytes=self.pss if with_pss else None)

    def terminate(self) -> None:
        self._signal("SIGTERM")
        self.alive = self.alive and not self.minds_sigterm

    def kill(self) -> None:
        self._signal("SIGKILL")
        self.alive = False

    def lives(self) -> bool:
        return self.alive

    def _signal(self, name: str) -> None:
        if not self.alive:
            return
        if not self.may_be_signalled:
            raise PermissionError
        self.signals.append(name)


class FakeProcesses:
    """The processes of one supervisord; numbers are given in order, and again after `reuse`."""

    def __init__(self, *, supervisor_pid: int = 1, supervisor_start_time: float = 500.0) -> None:
        self.supervisor_pid = supervisor_pid
        self.supervisor_start_time = supervisor_start_time
        self._numbers = itertools.count(100)
        self._all: list[FakeProcess] = []

    def start(self, program: str = "", *, pid: int = 0, start_time: float = 1000.0) -> FakeProcess:
        """A new process, whose title names `program`."""
        process = FakeProcess(pid=pid or next(self._numbers), program=program, start_time=start_time)
        self._all.append(process)
        return process

    def by_pid(self, pid: int) -> ProgramProcess | None:
        return next((process for process in self._all if process.pid == pid and process.alive), None)

    def by_program(self) -> Mapping[str, ProgramProcess]:
        return {process.program: process for process in self._all if process.program and process.alive}
