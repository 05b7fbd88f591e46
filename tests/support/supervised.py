"""The programs of a running appliance: who they are, whether each does its work, what the kernel tells of them."""

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping

import psutil

from sidecars.watchdog.processes import program_of
from sscsi.cli.appliance import is_served
from sscsi.cli.errors import CallFailedError
from sscsi.core.watchdog_state import WatchdogState
from sscsi.edges.watchdog_file import read_watchdog_state
from tests.support.appliance_place import DRIVER, SSCSI, AppliancePlace, started
from tests.support.fake_kubelet import FakeKubelet, fake_kubelet
from tests.support.waiting import wait_until

# In the order in which they stop.
PROGRAMS = ("registrar", "node", "livenessprobe", "statussync", "provider-file", "watchdog")
# For a slow machine that does something else besides; what is promised is shown by the benchmark.
LONG_SECONDS = 60.0
_numbers = itertools.count()


class Supervised:
    """One appliance that runs, and the kubelet beside it."""

    def __init__(
        self, place: AppliancePlace, process: "subprocess.Popen[bytes]", kubelet: FakeKubelet, *, pid: int = 0
    ) -> None:
        self.place = place
        self.process = process
        self.kubelet = kubelet
        self.pid = pid or process.pid

    def pids(self) -> dict[str, int]:
        """The processes of programs that are there now, by program; those of our own title, not the launcher's."""
        return programs_of(self.pid)

    def pid_of(self, program: str) -> int:
        """The program's process, which may have to be started first."""
        wait_until(lambda: program in self.pids(), f"{program} has a process", seconds=LONG_SECONDS)
        return self.pids()[program]

    def figures(self) -> WatchdogState:
        return read_watchdog_state(self.place.path("run"))

    def states(self) -> dict[str, str]:
        """Each program's state in supervisord's words, as the watchdog heard of it last; nothing when it never did."""
        with contextlib.suppress(FileNotFoundError):
            return {name: program.state for name, program in self.figures().programs.items()}
        return {}

    def wait_running(self) -> None:
        """Return when supervisord takes every program for one that stays."""
        wait_until(
            lambda: self.states() == dict.fromkeys(PROGRAMS, "RUNNING"), "all run", seconds=LONG_SECONDS
        )

    def kill(self, program: str) -> tuple[int, float]:
        """SIGKILL; the process that it was, and when (monotonic)."""
        pid, at = self.pid_of(program), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return pid, at

    def wait_back(self, program: str, killed: tuple[int, float]) -> float:
        """Wait until the successor of a killed process does its work; the seconds since it was killed."""
        pid, at = killed
        wait_until(
            lambda: self.pids().get(program, pid) != pid and self.works(program, since=at),
            f"{program} works again",
            seconds=LONG_SECONDS,
        )
        return time.monotonic() - at

    def works(self, program: str, *, since: float = 0.0) -> bool:
        """Whether the program does what it is for. `since`: its work of before that (monotonic) does not count."""
        if program == "registrar":
            driver = self.kubelet.registered.get(DRIVER)
            return self._serves("registrar.sock") and driver is not None and driver.time > since
        if program == "node":
            return self.place.kubelet.is_ready() and self._serves(
                "node.sock", "probe.sock", "node-state.sock"
            )
        if program == "livenessprobe":
            return self.place.get("/healthz") == (200, "ok")
        if program == "watchdog":
            with contextlib.suppress(FileNotFoundError):
                figures = self.figures()
                return figures.pid == self.pids().get(program) and figures.time > _since_epoch(since)
            return False
        # A class that nobody has asked for yet is asked of status-sync, and its content of the provider.
        return self.publishes()

    def publishes(self) -> bool:
        """Whether a volume can be had and given back, of a class that is new."""
        volume = self.place.write_class(f"class-{next(_numbers)}")
        kubelet = self.place.kubelet
        try:
            target_path = kubelet.publish(volume)
            with open(os.path.join(target_path, "password"), encoding="utf-8") as file:
                return file.read() == "of the test"
        except CallFailedError:
            return False
        finally:
            with contextlib.suppress(CallFailedError):
                kubelet.unpublish(volume)

    def _serves(self, *names: str) -> bool:
        return all(is_served(self.place.path("run", name)) for name in names)


@contextlib.contextmanager
def supervised(
    place: AppliancePlace,
    *arguments: str,
    command: tuple[str, ...] = (SSCSI, "run"),
    environ: Mapping[str, str] | None = None,
    kubelet: FakeKubelet | None = None,
) -> Iterator[Supervised]:
    """A running appliance, registered with `kubelet`, or with one that lives as long as it does."""
    beside = contextlib.nullcontext(kubelet) if kubelet else fake_kubelet(place.path("registration"))
    begun = time.monotonic()
    with beside as other, started(place, *arguments, command=command, environ=environ) as process:
        other.wait_registered(DRIVER, after=begun)
        yield Supervised(place, process, other)


def programs_of(supervisor_pid: int) -> dict[str, int]:
    """The children of a supervisord that are one of our programs, by program."""
    found = {}
    for child in psutil.Process(supervisor_pid).children():
        # It may end while it is looked at; a zombie has no command line.
        with contextlib.suppress(psutil.NoSuchProcess):
            if program := program_of(child.cmdline()):
                found[program] = child.pid
    return found


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended: one that nobody has waited for yet has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status by its keys (proc_pid_status(5))."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        pairs = (line.partition(":") for line in file)
        return {key: value.strip() for key, _, value in pairs}


def stop_now(pid: int) -> None:
    """SIGSTOP, and return when no thread of the process runs any more: until then one may still take a signal."""
    os.kill(pid, signal.SIGSTOP)
    threads = [thread.id for thread in psutil.Process(pid).threads()]
    wait_until(
        lambda: all(status_of(thread)["State"].startswith("T") for thread in threads),
        f"process {pid} is stopped",
    )


def has_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal has been sent to a process that has not taken it yet, because it is stopped."""
    return bool(int(status_of(pid)["ShdPnd"], 16) >> (number - 1) & 1)


def _since_epoch(monotonic: float) -> float:
    return time.time() - (time.monotonic() - monotonic)
