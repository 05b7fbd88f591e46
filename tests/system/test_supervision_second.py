"""A second appliance on the same node: the first one serves on, and the second one takes over when that ends."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from functools import partial

import pytest

from tests.support.appliance_place import (
    DRIVER,
    SSCSI,
    START_SECONDS,
    STOP_SECONDS,
    AppliancePlace,
    free_address,
    new_place,
)
from tests.support.supervised import LONG_SECONDS, PROGRAMS, Supervised, programs_of, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]


@pytest.fixture
def place() -> Iterator[AppliancePlace]:
    with new_place() as made:
        yield made


@contextlib.contextmanager
def second(place: AppliancePlace, environ: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Another `sscsi run`, whose node and registrar have had the time to look at their sockets."""
    path = place.path("second-log")
    with open(path, "wb") as log:
        process = subprocess.Popen(
            [SSCSI, "run"], env=dict(environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        for program in ("node", "registrar"):
            # The first that either has to say is that it waits.
            wait_until(partial(has_text, path, f" {program}/"), f"{program} waits", seconds=LONG_SECONDS)
        wait_until(lambda: "watchdog" in programs_of(process.pid), "it is watched", seconds=LONG_SECONDS)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECONDS)


def has_text(path: str, text: str) -> bool:
    with open(path, encoding="utf-8") as file:
        return text in file.read()


def is_healthy(place: AppliancePlace) -> bool:
    command = [SSCSI, "status", "--timeout=5s"]
    return subprocess.run(command, env=place.environ, capture_output=True, check=False).returncode == 0


def pid_file(place: AppliancePlace) -> str:
    with open(place.path("run", "supervisord.pid"), encoding="utf-8") as file:
        return file.read().strip()


def assert_untouched(first: Supervised, before: Mapping[str, int], registered_at: float) -> None:
    assert first.pids() == before
    assert all(map(first.works, PROGRAMS))
    assert first.kubelet.registered[DRIVER].time == registered_at


def test_a_second_one_in_the_same_run_directory_changes_nothing_until_the_first_one_ends(
    place: AppliancePlace,
) -> None:
    with supervised(place) as first:
        before, registered_at = first.pids(), first.kubelet.registered[DRIVER].time
        with second(place, place.environ) as other:
            written_at = time.time()
            wait_until(
                lambda: first.figures().time > written_at, "the first is looked at", seconds=LONG_SECONDS
            )
            assert first.figures().supervisor_pid == first.pid
            assert pid_file(place) == str(first.pid)
            wait_until(lambda: is_healthy(place), "the first is healthy", seconds=LONG_SECONDS)
            assert_untouched(first, before, registered_at)
            ended_at = time.monotonic()
            first.process.terminate()
            assert first.process.wait(STOP_SECONDS) == 0
            first.kubelet.wait_registered(DRIVER, after=ended_at)
            wait_until(place.all_serve, "the second serves", seconds=START_SECONDS)
            wait_until(
                lambda: first.figures().supervisor_pid == other.pid,
                "its figures are shown",
                seconds=LONG_SECONDS,
            )
            other.terminate()
            assert other.wait(STOP_SECONDS) == 0


def test_a_second_one_for_the_same_driver_waits_for_the_first_one_to_end(place: AppliancePlace) -> None:
    of_its_own = {
        "SSCSI_CLUSTER": "dir:" + place.path("secrets"),
        "SSCSI_HEALTH_ENDPOINT": free_address(),
        "SSCSI_RUN_DIR": place.path("second-run"),
    }
    with supervised(place) as first:
        before, registered_at = first.pids(), first.kubelet.registered[DRIVER].time
        with second(place, place.environ | of_its_own) as other:
            assert_untouched(first, before, registered_at)
            ended_at = time.monotonic()
            first.process.terminate()
            assert first.process.wait(STOP_SECONDS) == 0
            first.kubelet.wait_registered(DRIVER, after=ended_at)
            wait_until(place.kubelet.is_ready, "the second serves", seconds=START_SECONDS)
            other.terminate()
            assert other.wait(STOP_SECONDS) == 0
