"""The processes under test: started, watched, and ended by their id."""

import contextlib
import ctypes
import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tests.bench.errors import BenchError

_PR_SET_PDEATHSIG = 1
_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
# Longer than anything that a room puts off for company: what follows late belongs to the pass as well.
_QUIET_SECONDS = 0.4
_LONGEST_SETTLE_SECONDS = 10.0


def die_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in bytes."""

    pss: int
    peak_rss: int


class Worker(Protocol):
    """Whatever uses the processor."""

    def cpu_seconds(self) -> float:
        """What it has used so far."""


class Process:
    """One running program."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log_path: str) -> None:
        self.name = name
        self.log_path = log_path
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def memory(self) -> Memory:
        """Raises BenchError when /proc does not tell."""
        return Memory(
            pss=self._proc_kib("smaps_rollup", "Pss") * 1024,
            peak_rss=self._proc_kib("status", "VmHWM") * 1024,
        )

    def check_alive(self) -> None:
        """Raises BenchError, with the end of its log, when the process has ended."""
        code = self._popen.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended with code {code}:\n{log_tail(self.log_path)}")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what ignores it."""
        self._popen.terminate()
        try:
            self._popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _proc_kib(self, file_name: str, key: str) -> int:
        try:
            with open(f"/proc/{self.pid}/{file_name}", encoding="ascii") as file:
                match = re.search(rf"^{key}:\s+(\d+) kB$", file.read(), re.MULTILINE)
        except OSError as error:
            raise BenchError(f"cannot read the memory of {self.name}: {error.strerror}") from error
        if match is None:
            raise BenchError(f"/proc/{self.pid}/{file_name} has no {key}")
        return int(match[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, those that ended too, to the nanosecond.

    The clock is utime + stime of /proc/PID/stat without its rounding to 10 ms (clock_getcpuclockid(3):
    the kernel takes the complement of the process id as a clock's id; 2 is CPUCLOCK_SCHED).
    """
    return time.clock_gettime((~pid << 3) | 2)


def log_tail(path: str) -> str:
    """The last lines of a log, for who has to say why something ended."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-20:])


@contextlib.contextmanager
def started(name: str, module: str, arguments: Sequence[str], log_path: str) -> Iterator[Process]:
    """Run `python -m module arguments` until the block ends. Its output goes to `log_path`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SSCSI_")}
    # What supervisord tells its children; rooms die with it then, as all else here does with us.
    environment["SUPERVISOR_ENABLED"] = "1"
    with open(log_path, "ab") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=_REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    process = Process(name, popen, log_path)
    try:
        yield process
    finally:
        process.stop()


def wait_until(what: str, ready: Callable[[], bool], processes: Sequence[Process]) -> None:
    """Ask `ready` until it says yes. Raises BenchError when a process ends or time is up."""
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        for process in processes:
            process.check_alive()
        if time.monotonic() > deadline:
            raise BenchError(f"{what} did not happen in {_START_SECONDS:.0f} s")
        pause(0.02)


def settle(processes: Sequence[Worker]) -> None:
    """Wait until the processes do nothing more: what follows an answer is part of its cost."""
    deadline = time.monotonic() + _LONGEST_SETTLE_SECONDS
    before = sum(process.cpu_seconds() for process in processes)
    while time.monotonic() < deadline:
        pause(_QUIET_SECONDS)
        now = sum(process.cpu_seconds() for process in processes)
        if now - before < _QUIET_SECONDS / 100:
            return
        before = now


def pause(seconds: float) -> None:
    """Let others run."""
    threading.Event().wait(seconds)
