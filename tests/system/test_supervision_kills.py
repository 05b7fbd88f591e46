"""kill -9 of every program, in every state that supervisord knows: it is back, and nobody else noticed."""

import os
import signal
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import partial

import psutil
import pytest

from tests.support.appliance_place import STOP_SECONDS, AppliancePlace, new_place
from tests.support.supervised import (
    LONG_SECONDS,
    PROGRAMS,
    Supervised,
    has_pending,
    is_alive,
    stop_now,
    supervised,
)
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]


@pytest.fixture
def place() -> Iterator[AppliancePlace]:
    with new_place() as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[Supervised]:
    """An appliance whose programs have all been up for longer than `startsecs`."""
    with new_place() as place, supervised(place) as appliance:
        appliance.wait_running()
        yield appliance


def are_reaped(appliance: Supervised, pids: AbstractSet[int]) -> bool:
    """Whether none of them is a child any more; one that ends has no title, and one that ended is still there."""
    return pids.isdisjoint(child.pid for child in psutil.Process(appliance.pid).children())


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_runs_and_is_killed_works_again_and_no_other_went(
    running: Supervised, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = running.pids()
    counted = {name: state.restarts for name, state in running.figures().programs.items()}
    killed = running.kill(program)
    seconds = running.wait_back(program, killed)
    with capsys.disabled():
        print(f"\n  {program} was killed while it ran; it did its work again after {seconds:.2f} s")
    after = running.pids()
    assert {name: after[name] for name in before if name != program} == {
        name: pid for name, pid in before.items() if name != program
    }
    counted[program] += 1
    wait_until(
        lambda: {name: state.restarts for name, state in running.figures().programs.items()} == counted,
        "the restart is counted, and those of before are not lost",
        seconds=LONG_SECONDS,
    )


def test_supervisord_has_no_more_descriptors_after_the_kills(running: Supervised) -> None:
    before = psutil.Process(running.pid).num_fds()
    running.wait_back("statussync", running.kill("statussync"))
    wait_until(
        lambda: psutil.Process(running.pid).num_fds() == before,
        "the descriptors are back",
        seconds=LONG_SECONDS,
    )


def test_every_program_killed_as_soon_as_it_is_forked_comes_back(
    place: AppliancePlace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within `startsecs` that leads to BACKOFF; the second time from there."""
    with supervised(place) as appliance:
        for wave, first in enumerate((frozenset(appliance.pids().values()), frozenset[int]()), 1):
            killed = set(first)
            for pid in first:
                os.kill(pid, signal.SIGKILL)
            while len(killed) < len(PROGRAMS):
                for child in psutil.Process(appliance.pid).children():
                    if child.pid not in killed and is_alive(child.pid):
                        child.kill()
                        killed.add(child.pid)
            last_killed_at = time.monotonic()
            if wave == 1:
                wait_until(partial(are_reaped, appliance, killed), "all were reaped")
        wait_until(
            lambda: all(appliance.works(program, since=last_killed_at) for program in PROGRAMS),
            "all work again",
            seconds=LONG_SECONDS,
        )
        seconds = time.monotonic() - last_killed_at
        with capsys.disabled():
            print(
                f"\n  all were killed twice as soon as they were there; all worked again after {seconds:.2f} s"
            )
        wait_until(
            lambda: (
                {name: state.restarts for name, state in appliance.figures().programs.items()}
                == dict.fromkeys(PROGRAMS, 2)
            ),
            "each restart is counted",
            seconds=LONG_SECONDS,
        )


def test_a_stop_comes_to_its_end_when_each_program_is_killed_while_it_stops(place: AppliancePlace) -> None:
    with supervised(place) as appliance:
        pids = appliance.pids()
        for pid in pids.values():
            stop_now(pid)
        appliance.process.terminate()
        for number, program in enumerate(PROGRAMS):
            wait_until(partial(has_pending, pids[program], signal.SIGTERM), f"{program} is asked to stop")
            later = [name for name in PROGRAMS[number + 1 :] if has_pending(pids[name], signal.SIGTERM)]
            assert later == []
            os.kill(pids[program], signal.SIGKILL)
        assert appliance.process.wait(STOP_SECONDS) == 0


def test_a_stop_comes_to_its_end_when_node_hangs(place: AppliancePlace) -> None:
    """It takes node's whole `stopwaitsecs`; the others' are summed up by a test of the file."""
    with supervised(place) as appliance:
        stop_now(appliance.pids()["node"])
        appliance.process.terminate()
        assert appliance.process.wait(STOP_SECONDS) == 0
        assert not os.path.lexists(place.path("run", "supervisord.pid"))


def test_a_stop_does_not_wait_for_a_program_in_back_off(
    place: AppliancePlace, capsys: pytest.CaptureFixture[str]
) -> None:
    with supervised(place) as appliance:
        for program in ("statussync", "node"):
            appliance.kill(program)
        wait_until(
            lambda: all(f"exited: {program}" in place.log_text() for program in ("statussync", "node")),
            "two wait for their next start",
            seconds=LONG_SECONDS,
        )
        begun = time.monotonic()
        appliance.process.terminate()
        assert appliance.process.wait(STOP_SECONDS) == 0
        with capsys.disabled():
            print(f"\n  stopped in {time.monotonic() - begun:.2f} s while two programs were in back-off")
