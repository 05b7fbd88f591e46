"""Programs that end again and again: which of them the appliance is nothing without, and which may take their time."""

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import partial

import psutil
import pytest

from sscsi.core.crash_loop import EXIT_LIMIT
from tests.support.appliance_place import STOP_SECONDS, AppliancePlace, new_place
from tests.support.supervised import LONG_SECONDS, Supervised, is_alive, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]


@pytest.fixture
def place() -> Iterator[AppliancePlace]:
    with new_place() as made:
        yield made


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


@pytest.mark.parametrize("program", ["node", "registrar"])
def test_the_appliance_ends_with_code_1_when_what_all_depends_on_keeps_ending(
    place: AppliancePlace, program: str
) -> None:
    with supervised(place) as appliance:
        pids = appliance.pids()
        with contextlib.suppress(psutil.NoSuchProcess):
            keep_ending(appliance, program)
        assert appliance.process.wait(STOP_SECONDS) == 1
        assert not any(map(is_alive, pids.values()))


def test_another_program_that_keeps_ending_pauses_and_comes_back_and_nobody_else_goes(
    place: AppliancePlace,
) -> None:
    with supervised(place) as appliance:
        before = appliance.pids()
        for number in range(1, EXIT_LIMIT + 1):
            appliance.wait_running()
            killed = appliance.kill("statussync")
            wait_until(
                partial(has_ended, appliance, number),
                "the watchdog heard of it",
                seconds=LONG_SECONDS,
            )
        appliance.wait_back("statussync", killed)
        after = appliance.pids()
        assert {name for name in before if before[name] != after[name]} == {"statussync"}
        figures = appliance.figures().programs["statussync"]
        assert (figures.restarts, len(figures.recent_exit_times)) == (EXIT_LIMIT, EXIT_LIMIT)


def has_ended(appliance: Supervised, times: int) -> bool:
    """Whether the watchdog has heard that often of status-sync's end, and what became of it."""
    figures = appliance.figures().programs["statussync"]
    is_last = times == EXIT_LIMIT
    return len(figures.recent_exit_times) == times and (figures.state == "BACKOFF" or not is_last)
