"""How the registrar ends (sidecars reference, A4, A5 and A9), upstream's program and ours."""

import dataclasses
import os
import signal

import grpc
import pytest

from sidecars.registrar.standing import WAITING_FOR_DRIVER
from tests.registrar.registrar_place import Ours, Place, Subject, accepts, identity, running
from tests.registrar.tiny_driver import NAME, TinyDriver
from tests.support.waiting import wait_until

# Upstream waits for the driver this long and no longer.
UPSTREAM_PATIENCE_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A signal to a program that serves: the exit code, and whether the socket stays. Upstream's, then ours."""

    number: signal.Signals
    upstream: tuple[int, bool]
    ours: tuple[int, bool]


ROWS = (
    Row(number=signal.SIGTERM, upstream=(0, False), ours=(0, False)),
    Row(number=signal.SIGINT, upstream=(-signal.SIGINT, True), ours=(0, False)),
    Row(number=signal.SIGHUP, upstream=(-signal.SIGHUP, True), ours=(-signal.SIGHUP, True)),
    Row(number=signal.SIGKILL, upstream=(-signal.SIGKILL, True), ours=(-signal.SIGKILL, True)),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number.name)
def test_a_signal_ends_it_and_the_next_start_serves_again(
    subject: Subject, place: Place, driver: TinyDriver, row: Row
) -> None:
    with running(subject, place) as made:
        made.wait_published()
        code = made.end(row.number)
        assert (code, os.path.lexists(place.socket_path)) == (row.ours if subject.is_ours else row.upstream)
    with running(subject, place) as again:
        again.wait_published()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_driver_is_waited_for(
    subject: Subject, place: Place, number: signal.Signals
) -> None:
    """Upstream does not handle it then."""
    with running(subject, place) as made:
        wait_until(made.log, "it said something")
        if subject.is_ours:
            made.wait_log("waiting for the driver")
        assert made.end(number) == (0 if subject.is_ours else -number)
    assert place.names() == []


def test_a_signal_while_the_driver_thinks(ours: Ours, place: Place, driver: TinyDriver) -> None:
    driver.go_on.clear()
    with running(ours, place, "--timeout=10m") as made:
        wait_until(lambda: driver.questions, "the driver was asked")
        os.kill(made.pid, signal.SIGTERM)
        assert made.wait() == 0


def test_a_driver_that_is_not_there_ends_upstream_and_is_waited_for_by_ours(
    subject: Subject, place: Place
) -> None:
    with running(subject, place, f"--run-dir={place.run_directory}" if subject.is_ours else "--v=0") as made:
        if subject.is_ours:
            status = made.wait_state(WAITING_FOR_DRIVER)
            wait_until(lambda: made.status().problems, "it says what it waits for")
            assert place.driver_socket in made.status().problems[0]
            assert status.facts["driver"] == ""
        else:
            assert made.wait(seconds=UPSTREAM_PATIENCE_SECONDS + 10.0) == 1


@pytest.mark.parametrize("trouble", ["unimplemented", "internal", "late", "nameless"])
def test_a_driver_that_gives_no_name_ends_upstream_and_is_asked_again_by_ours(
    subject: Subject, place: Place, driver: TinyDriver, trouble: str
) -> None:
    if trouble == "late":
        driver.go_on.clear()
    elif trouble == "nameless":
        driver.name = ""
    else:
        driver.code = grpc.StatusCode[trouble.upper()]
    with running(subject, place) as made:
        if not subject.is_ours:
            assert made.wait() == 1
            return
        made.wait_log("waiting for the driver")
        assert not accepts(place.socket_path)
        driver.code = grpc.StatusCode.OK
        driver.name = NAME
        driver.go_on.set()
        made.wait_published()
        assert made.log().count("waiting for the driver") == 1


def test_a_second_one_steals_the_path_upstream_and_waits_here(
    subject: Subject, place: Place, driver: TinyDriver
) -> None:
    with running(subject, place) as first:
        first.wait_published()
        before = identity(place.socket_path)
        with running(subject, place) as second:
            if subject.is_ours:
                second.wait_log("waiting for the socket")
                assert identity(place.socket_path) == before
                assert first.end(signal.SIGTERM) == 0
            else:
                wait_until(lambda: identity(place.socket_path) != before, "the path was stolen")
            second.wait_published()


def test_of_two_the_second_takes_over_when_the_first_is_killed(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with running(ours, place) as first, running(ours, place) as second:
        wait_until(lambda: accepts(place.socket_path), "one of them serves")
        wait_until(lambda: "waiting for the socket" in first.log() + second.log(), "the other one waits")
        server, waiter = (second, first) if "waiting for the socket" in first.log() else (first, second)
        before = identity(place.socket_path)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        waiter.wait_log("published; waiting for kubelet")
        assert accepts(place.socket_path)
        assert identity(place.socket_path) != before
