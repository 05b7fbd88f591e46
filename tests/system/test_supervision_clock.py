"""Somebody sets the clock of the machine while programs start, run and stop."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.support.appliance_place import STOP_SECONDS, new_place
from tests.support.checkout import ROOT
from tests.support.set_clock import VARIABLE, set_clock
from tests.support.supervised import LONG_SECONDS, Supervised, has_pending, stop_now, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]

_HOUR_SECONDS = 3600.0


@pytest.fixture
def clock() -> Iterator[str]:
    """The file that says how far the clock is set."""
    with new_place() as place:
        path = place.path("clock")
        set_clock(path, 0.0)
        yield path


@pytest.fixture
def appliance(clock: str) -> Iterator[Supervised]:
    with new_place() as place:
        # Found from wherever the tests are run.
        command = (sys.executable, "-m", "tests.support.set_clock", "run")
        environ = place.environ | {VARIABLE: clock, "PYTHONPATH": ROOT}
        with supervised(place, command=command, environ=environ) as appliance:
            yield appliance


def test_a_program_that_stops_is_not_killed_for_it(appliance: Supervised, clock: str) -> None:
    node = appliance.pid_of("node")
    stop_now(node)
    appliance.process.terminate()
    wait_until(lambda: has_pending(node, signal.SIGTERM), "node is asked to stop")
    set_clock(clock, _HOUR_SECONDS)
    log_size = len(appliance.place.log_text())
    # supervisord says now and then whom it waits for: it has been round since.
    wait_until(
        lambda: "supervisord/" in appliance.place.log_text()[log_size:],
        "supervisord looked at the clock",
        seconds=LONG_SECONDS,
    )
    os.kill(node, signal.SIGCONT)
    assert appliance.process.wait(STOP_SECONDS) == 0
    assert "stopped: node (exit status 0)" in appliance.place.log_text()


@pytest.mark.parametrize("seconds", [_HOUR_SECONDS, -_HOUR_SECONDS], ids=["forward", "back"])
def test_a_program_that_ends_comes_back_whatever_the_time_is_now(
    appliance: Supervised, clock: str, seconds: float
) -> None:
    set_clock(clock, seconds)
    for program in ("node", "statussync"):
        appliance.wait_back(program, appliance.kill(program))
