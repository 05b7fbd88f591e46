"""The contract of Processes, for the kernel's and for the fake, and what the kernel's alone shows."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import pytest

from sidecars.watchdog.processes import Processes, SupervisedProcesses, program_of
from tests.support.require import require
from tests.support.waiting import wait_until
from tests.watchdog.fake_processes import FakeProcesses

# Untouched memory is nobody's; this much is touched.
_CONTENT_BYTES = 32 * 2**20
_NOBODY = 65534


class Case(Protocol):
    """Processes, and a way to have one. Its memory is _CONTENT_BYTES at least."""

    processes: Processes

    def start(self, program: str) -> int:
        """A process titled as `sscsi-<program>`; its number."""

    def die(self, pid: int) -> None:
        """It ends; nobody reaps it."""


class FakeCase:
    def __init__(self) -> None:
        self._fake = FakeProcesses()
        self.processes: Processes = self._fake

    def start(self, program: str) -> int:
        process = self._fake.start(program, start_time=time.time())
        process.rss = process.pss = _CONTENT_BYTES
        return process.pid

    def die(self, pid: int) -> None:
        process = self._fake.by_pid(pid)
        assert process
        process.kill()


class RealCase:
    """Children of this test run."""

    def __init__(self) -> None:
        self.processes: Processes = SupervisedProcesses(os.getpid())
        self.children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, program: str) -> int:
        script = f"import sys; content = b'x' * {_CONTENT_BYTES}; print(flush=True); sys.stdin.read()"
        child = subprocess.Popen(
            # The first word is what a title shows; the interpreter is another.
            [f"sscsi-{program}", "-S", "-E", "-c", script],
            executable=sys.executable,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout
        child.stdout.readline()
        self.children[child.pid] = child
        return child.pid

    def die(self, pid: int) -> None:
        self.children[pid].kill()
        # WNOWAIT: a zombie, as until supervisord looks.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
            child.communicate()


@pytest.fixture(params=["fake", "real"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "fake":
        yield FakeCase()
        return
    real = RealCase()
    yield real
    real.close()


@pytest.fixture
def real() -> Iterator[RealCase]:
    case = RealCase()
    yield case
    case.close()


def test_a_child_is_found_by_its_number_and_by_its_title(case: Case) -> None:
    pid = case.start("node")
    by_pid, by_program = case.processes.by_pid(pid), case.processes.by_program()
    assert by_pid
    assert (by_pid.pid, by_program["node"].pid) == (pid, pid)
    assert "registrar" not in by_program


def test_a_child_began_when_it_was_started(case: Case) -> None:
    before = time.time()
    process = case.processes.by_pid(case.start("node"))
    assert process
    # The kernel counts in hundredths from a boot time in whole seconds.
    assert before - 2 <= process.start_time <= time.time() + 2


def test_a_child_has_its_memory(case: Case) -> None:
    process = case.processes.by_pid(case.start("node"))
    assert process
    usage = process.usage(with_pss=True)
    assert usage
    assert usage.pss_bytes
    assert _CONTENT_BYTES <= usage.pss_bytes <= usage.rss_bytes
    assert usage.cpu_seconds >= 0
    without = process.usage(with_pss=False)
    assert without
    assert without.pss_bytes is None


def test_one_that_ended_is_nowhere(case: Case) -> None:
    pid = case.start("node")
    process = case.processes.by_pid(pid)
    assert process
    assert process.lives()
    case.die(pid)
    assert not process.lives()
    assert process.usage(with_pss=True) is None
    assert case.processes.by_pid(pid) is None
    assert "node" not in case.processes.by_program()
    process.terminate()
    process.kill()


@pytest.mark.parametrize("order", ["terminate", "kill"])
def test_one_ends_when_it_is_told(case: Case, order: str) -> None:
    process = case.processes.by_pid(case.start("node"))
    assert process
    getattr(process, order)()
    wait_until(lambda: not process.lives(), f"the process ends by {order}")


def test_a_number_that_nobody_has_is_no_process(case: Case) -> None:
    assert case.processes.by_pid(2**22 - 1) is None


def test_whoever_is_no_child_of_supervisord_is_none_of_its_programs(real: RealCase) -> None:
    assert real.processes.by_pid(os.getppid()) is None
    assert real.processes.by_pid(os.getpid()) is None


def test_a_process_is_never_taken_for_a_later_one_of_its_number(real: RealCase) -> None:
    pid = real.start("node")
    process = real.processes.by_pid(pid)
    assert process
    real.die(pid)
    real.children[pid].communicate()
    later = reuse(pid)
    if later is None:
        pytest.skip("this machine does not let a test choose a process's number")
    try:
        assert process.usage(with_pss=False) is None
        assert not process.lives()
        process.kill()
        assert os.waitpid(later, os.WNOHANG) == (0, 0)
    finally:
        os.kill(later, signal.SIGKILL)
        os.waitpid(later, 0)


def reuse(pid: int) -> int | None:
    """A process with that number; None where that can't be had."""
    # A later start is by the kernel's clock, which ticks a hundred times a second.
    threading.Event().wait(0.05)
    try:
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
            file.write(str(pid - 1))
    except OSError:
        return None
    child = os.fork()
    if child == 0:
        signal.pause()
    if child != pid:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    return child


def test_without_the_rights_pss_is_not_there_and_signals_are_refused(real: RealCase) -> None:
    require("root")
    process = real.processes.by_pid(real.start("node"))
    assert process
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            usage = process.usage(with_pss=True)
            os.write(writer, f"{usage and usage.pss_bytes} {bool(usage and usage.rss_bytes)}".encode())
            process.terminate()
        except PermissionError:
            os.write(writer, b" refused")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "None True refused"
    os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("command_line", "program"),
    [
        (["sscsi-node --endpoint=unix:///csi/csi.sock --v=4"], "node"),
        (["sscsi-node"], "node"),
        (["sscsi-node", "", "", ""], "node"),
        (["/venv/bin/python3.11", "/venv/bin/sscsi-statussync", "--cluster=dir:/x"], "statussync"),
        (
            ["/venv/bin/python", "/venv/bin/sscsi-launch", "--keep=KILL", "--", "sscsi-watchdog", "-v=4"],
            "watchdog",
        ),
        (["sscsi-launch --user=1 -- sscsi-provider-file"], ""),
        (["/venv/bin/python", "/venv/bin/sscsi", "run"], ""),
        (["sleep", "100"], ""),
        ([], ""),
        ([""], ""),
    ],
)
def test_a_title_names_its_program(command_line: list[str], program: str) -> None:
    assert program_of(command_line) == program
