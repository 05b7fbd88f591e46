"""SIGTERM and SIGHUP at the moments when supervisord alone would lose them; and `sscsi run` as process 1 of a container."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.support.appliance_place import SSCSI, START_SECONDS, STOP_SECONDS, AppliancePlace, new_place
from tests.support.require import lacking
from tests.support.supervised import LONG_SECONDS, PROGRAMS, is_alive, stop_now, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]


@pytest.fixture
def place() -> Iterator[AppliancePlace]:
    with new_place() as made:
        yield made


@contextlib.contextmanager
def as_process_1(place: AppliancePlace) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """`sscsi run` in a namespace of its own: who ends when it does, with its code, and its number out here."""
    with open(place.log, "ab") as log:
        outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", SSCSI, "run"],
            env=place.environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        children = psutil.Process(outer.pid).children
        wait_until(lambda: children() or outer.poll() is not None, "there is a process 1")
        if outer.poll() is not None:
            lacking("root", "userns", reason=f"no namespace of processes here: {place.log_text()}")
        yield outer, children()[0].pid
    finally:
        outer.kill()
        outer.wait()


def imports(pid: int) -> bool:
    """Whether a process has begun to import gRPC, which is long before supervisord's handlers are there."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        return "cygrpc" in maps.read()


def test_a_stop_is_not_lost_while_process_1_still_imports(place: AppliancePlace) -> None:
    with as_process_1(place) as (outer, pid):
        wait_until(lambda: imports(pid), "it imports", seconds=START_SECONDS)
        os.kill(pid, signal.SIGTERM)
        assert outer.wait(STOP_SECONDS) == 0


def test_process_1_reaps_what_others_left_and_ends_when_asked(place: AppliancePlace) -> None:
    with as_process_1(place) as (outer, pid):
        wait_until(place.all_serve, "all serve", seconds=START_SECONDS)
        enter = ["nsenter", "--target", str(pid), "--pid", "--mount"]
        subprocess.run([*enter, "sh", "-c", "sleep 1000 > /dev/null 2>&1 &"], check=True, timeout=60)
        (orphan,) = [child for child in psutil.Process(pid).children() if child.name() == "sleep"]
        orphan.kill()
        wait_until(lambda: not psutil.pid_exists(orphan.pid), "the orphan is reaped", seconds=LONG_SECONDS)
        os.kill(pid, signal.SIGTERM)
        assert outer.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize("inherited", ["", "3</dev/null 4</dev/null"], ids=["nothing", "two descriptors"])
def test_a_hangup_starts_everything_anew_whatever_was_inherited(
    place: AppliancePlace, inherited: str
) -> None:
    command = ("sh", "-c", f'exec "$0" run {inherited}', SSCSI)
    with supervised(place, command=command) as appliance:
        before = appliance.pids()
        asked_at = time.monotonic()
        appliance.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: not any(map(is_alive, before.values())) and set(appliance.pids()) == set(PROGRAMS),
            "all are others",
            seconds=STOP_SECONDS,
        )
        assert appliance.process.poll() is None
        wait_until(
            lambda: all(appliance.works(program, since=asked_at) for program in PROGRAMS),
            "all work",
            seconds=LONG_SECONDS,
        )
        appliance.wait_back("node", appliance.kill("node"))
        appliance.process.terminate()
        assert appliance.process.wait(STOP_SECONDS) == 0


def test_a_stop_that_comes_with_other_signals_as_a_reload_has_stopped_the_last_program_is_not_lost(
    place: AppliancePlace,
) -> None:
    with supervised(place) as appliance:
        pids = appliance.pids()
        last = pids.pop(PROGRAMS[-1])
        stop_now(last)
        appliance.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not any(map(is_alive, pids.values())), "one is left", seconds=STOP_SECONDS)
        stop_now(appliance.pid)
        os.kill(last, signal.SIGKILL)
        wait_until(lambda: not is_alive(last), "none is left")
        # Python takes them in the order of their numbers, and supervisord one a round: the stop comes behind.
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT):
            appliance.process.send_signal(number)
        assert appliance.process.wait(STOP_SECONDS) == 0
