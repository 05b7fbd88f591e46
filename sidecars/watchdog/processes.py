"""supervisord's children as the kernel shows them, by psutil.

psutil is imported with this module on purpose: `sscsi run` does so once, before it forks, and shares it; imported in
the forked child it costs that 3.4 MiB of its own.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import psutil

_PREFIX = "sscsi-"
_LAUNCHER = "sscsi-launch"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process takes. `pss_bytes` is None when it was not asked for or may not be read."""

    rss_bytes: int
    cpu_seconds: float
    pss_bytes: int | None = None


class ProgramProcess(Protocol):
    """One process; never another one that got the same number later."""

    pid: int
    start_time: float

    def usage(self, *, with_pss: bool) -> Usage | None:
        """What it takes now; None when it has ended."""

    def terminate(self) -> None:
        """SIGTERM, if it still lives. Raises PermissionError."""

    def kill(self) -> None:
        """SIGKILL, if it still lives. Raises PermissionError."""

    def lives(self) -> bool:
        """Whether it has not ended; a process that nobody reaped yet has."""


class Processes(Protocol):
    """The processes that one supervisord started."""

    supervisor_pid: int
    supervisor_start_time: float

    def by_pid(self, pid: int) -> ProgramProcess | None:
        """The child with that number; None when there is none that lives."""

    def by_program(self) -> Mapping[str, ProgramProcess]:
        """The children whose titles name a program of the appliance, by the program's name."""


def program_of(command_line: Sequence[str]) -> str:
    """The program of ours that a command line names (`sscsi-node` is `node`); empty when it is none.

    It has `sscsi-node --v=4` as its title when it was forked, `.../python .../sscsi-node --v=4` when it was exec'ed, and
    the launcher's name before that until the launcher has done its part.
    """
    for argument in command_line:
        name = os.path.basename(argument.partition(" ")[0])
        if name.startswith(_PREFIX) and name != _LAUNCHER:
            return name.removeprefix(_PREFIX)
    return ""


class SupervisedProcesses:
    """The port over psutil."""

    def __init__(self, supervisor_pid: int) -> None:
        self._supervisor = psutil.Process(supervisor_pid)
        self.supervisor_pid = supervisor_pid
        self.supervisor_start_time = self._supervisor.create_time()

    def by_pid(self, pid: int) -> ProgramProcess | None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = PsutilProcess(psutil.Process(pid))
            if process.parent_pid() == self.supervisor_pid and process.lives():
                return process
        return None

    def by_program(self) -> Mapping[str, ProgramProcess]:
        return dict(self._named_children())

    def _named_children(self) -> Iterator[tuple[str, ProgramProcess]]:
        for child in self._supervisor.children():
            # It may end while it is looked at; a zombie has no command line.
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if program := program_of(child.cmdline()):
                    yield program, PsutilProcess(child)


class PsutilProcess:
    """One process of psutil's, which knows it by number and start time."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.pid: int = process.pid
        self.start_time: float = process.create_time()

    def parent_pid(self) -> int:
        return self._process.ppid()

    def usage(self, *, with_pss: bool) -> Usage | None:
        try:
            with self._process.oneshot():
                if not self.lives():
                    return None
                cpu = self._process.cpu_times()
                return Usage(
                    rss_bytes=self._process.memory_info().rss,
                    cpu_seconds=cpu.user + cpu.system,
                    pss_bytes=self._pss() if with_pss else None,
                )
        except psutil.NoSuchProcess:
            return None

    def terminate(self) -> None:
        self._signal(self._process.terminate)

    def kill(self) -> None:
        self._signal(self._process.kill)

    def lives(self) -> bool:
        try:
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _pss(self) -> int | None:
        try:
            return int(self._process.memory_full_info().pss)
        except psutil.AccessDenied:
            return None

    def _signal(self, send: Callable[[], None]) -> None:
        try:
            send()
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied as error:
            raise PermissionError(f"may not signal process {self.pid}") from error
