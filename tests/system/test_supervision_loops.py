"""Programs that end again and again: which of them the appliance is nothing without, and which may take their time."""

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent import futures
from functools import partial

import psutil
import pytest

from sscsi.core.crash_loop import EXIT_LIMIT
from tests.support.appliance_place import STOP_SECONDS, new_place
from tests.support.supervised import LONG_SECONDS, Supervised, is_alive, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]


def is_ended_or_another(appliance: Supervised, program: str, pid: int) -> bool:
    return appliance.process.poll() is not None or appliance.pids().get(program, pid) != pid


def keep_ending(appliance: Supervised, program: str) -> None:
    """Kill each process of the program, as often as a container gives it another chance."""
    for _ in range(EXIT_LIMIT):
        pid = appliance.pid_of(program)
        os.kill(pid, signal.SIGKILL)
        wait_until(
            partial(is_ended_or_another, appliance, program, pid),
            f"{program} has another process, or there is no supervisord",
            seconds=LONG_SECONDS,
        )


def ends_when_it_keeps_ending(program: str) -> None:
    with new_place() as place, supervised(place) as appliance:
        pids = appliance.pids()
        with contextlib.suppress(psutil.NoSuchProcess):
            keep_ending(appliance, program)
        assert appliance.process.wait(STOP_SECONDS) == 1
        assert not any(map(is_alive, pids.values()))


def comes_back_when_it_keeps_ending(program: str) -> None:
    with new_place() as place, supervised(place) as appliance:
        before = appliance.pids()
        for number in range(1, EXIT_LIMIT + 1):
            appliance.wait_running()
            killed = appliance.kill(program)
            wait_until(partial(has_ended, appliance, program, number), "the watchdog heard of it")
        appliance.wait_back(program, killed)
        after = appliance.pids()
        assert {name for name in before if before[name] != after[name]} == {program}
        figures = appliance.figures().programs[program]
        assert (figures.restarts, len(figures.recent_exit_times)) == (EXIT_LIMIT, EXIT_LIMIT)


def has_ended(appliance: Supervised, program: str, times: int) -> bool:
    """Whether the watchdog has heard that often of the program's end, and what became of it."""
    figures = appliance.figures().programs[program]
    is_last = times == EXIT_LIMIT
    return len(figures.recent_exit_times) == times and (figures.state == "BACKOFF" or not is_last)


@pytest.fixture(scope="module")
def scenes() -> Iterator[dict[str, "futures.Future[None]"]]:
    """An appliance each, at the same time: they mostly wait for supervisord's pauses."""
    with futures.ThreadPoolExecutor(3) as pool:
        yield {
            "node": pool.submit(ends_when_it_keeps_ending, "node"),
            "registrar": pool.submit(ends_when_it_keeps_ending, "registrar"),
            "statussync": pool.submit(comes_back_when_it_keeps_ending, "statussync"),
        }


@pytest.mark.parametrize("program", ["node", "registrar"])
def test_the_appliance_ends_with_code_1_when_what_all_depends_on_keeps_ending(
    scenes: dict[str, "futures.Future[None]"], program: str
) -> None:
    scenes[program].result()


def test_another_program_that_keeps_ending_pauses_and_comes_back_and_nobody_else_goes(
    scenes: dict[str, "futures.Future[None]"],
) -> None:
    scenes["statussync"].result()
