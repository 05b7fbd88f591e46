"""Tables B2 and B5 of the sidecars reference: starting before, without and beside a driver, and stopping."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

import grpc
import pytest

from tests.livenessprobe.fake_driver import FakeDriver, nothing_at, serving
from tests.livenessprobe.program import Command, Ours, Place, Subject, free_address, get, metrics, running
from tests.support.waiting import wait_until

NAME_TROUBLES = {
    "an error": (grpc.StatusCode.INTERNAL, "no name today"),
    "not implemented": (grpc.StatusCode.UNIMPLEMENTED, "unknown method"),
}


def test_before_there_is_a_driver_upstream_does_not_listen_and_we_say_what_is_wrong(
    subject: Subject, place: Place
) -> None:
    address = free_address()
    with (
        nothing_at(place.driver),
        running(subject, place, f"--csi-address={place.driver}", f"--http-endpoint={address}") as program,
    ):
        if subject.is_ours:
            program.listens(address)
            answer = get(address, "/healthz")
            assert (answer.status, "No such file" in answer.body) == (500, True)
        else:
            with pytest.raises(ConnectionRefusedError):
                get(address, "/healthz")
        with serving(FakeDriver(), place.driver):
            program.listens(address)
            wait_until(lambda: get(address, "/healthz").status == 200, "the driver is healthy")


@pytest.mark.parametrize("trouble", NAME_TROUBLES.values(), ids=NAME_TROUBLES.keys())
def test_a_driver_that_does_not_tell_its_name_ends_upstream_and_not_us(
    subject: Subject, place: Place, trouble: tuple[grpc.StatusCode, str]
) -> None:
    driver = FakeDriver()
    driver.name_error = trouble
    address = free_address()
    with (
        serving(driver, place.driver),
        running(subject, place, f"--csi-address={place.driver}", f"--http-endpoint={address}") as program,
    ):
        if not subject.is_ours:
            assert program.process.wait() == 1
            return
        program.listens(address)
        assert get(address, "/healthz").body == "ok"
        driver.name_error = None
        wait_until(lambda: "fake.csi.example" in get(address, "/metrics").body, "the name is learned")


def test_an_empty_name_ends_upstream_and_not_us(subject: Subject, place: Place) -> None:
    driver = FakeDriver()
    driver.name = ""
    address = free_address()
    with (
        serving(driver, place.driver),
        running(subject, place, f"--csi-address={place.driver}", f"--http-endpoint={address}") as program,
    ):
        if not subject.is_ours:
            assert program.process.wait() == 1
            return
        program.listens(address)
        assert get(address, "/healthz").body == "ok"


def test_a_driver_that_is_slow_to_tell_its_name_keeps_upstream_from_listening_and_not_us(
    subject: Subject, place: Place
) -> None:
    driver = FakeDriver()
    driver.go_on.clear()
    address = free_address()
    with (
        serving(driver, place.driver),
        running(subject, place, f"--csi-address={place.driver}", f"--http-endpoint={address}") as program,
    ):
        wait_until(lambda: driver.name_questions, "the driver is asked for its name")
        if subject.is_ours:
            program.listens(address)
            assert get(address, "/healthz").body == "ok"
        else:
            with pytest.raises(ConnectionRefusedError):
                get(address, "/healthz")


@pytest.mark.parametrize(
    ("flag", "upstream"),
    [
        ("--http-endpoint={}", 0),
        ("--health-port={port}", 0),
        ("--metrics-address={}", 1),
    ],
)
def test_an_address_that_is_taken_ends_us_with_1_and_upstream_with_0_where_it_is_for_health(
    subject: Subject, place: Place, flag: str, upstream: int
) -> None:
    with serving(FakeDriver(), place.driver), socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        flags = [flag.format(f"127.0.0.1:{port}", port=port), f"--csi-address={place.driver}"]
        if "metrics" in flag:
            flags.append(f"--health-port={free_address().rpartition(':')[2]}")
        with running(subject, place, *flags) as program:
            assert program.process.wait() == (1 if subject.is_ours else upstream)
            assert str(port) in program.log


def test_our_other_listener_needs_its_address_too(ours: Ours, place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flag = f"--appliance-metrics-address=127.0.0.1:{taken.getsockname()[1]}"
        with running(ours, place, f"--http-endpoint={free_address()}", flag) as program:
            assert program.process.wait() == 1


def test_sigterm_ends_us_with_0_and_upstream_by_the_signal(subject: Subject, place: Place) -> None:
    address = free_address()
    with (
        serving(FakeDriver(), place.driver),
        running(subject, place, f"--csi-address={place.driver}", f"--http-endpoint={address}") as program,
    ):
        program.listens(address)
        assert program.process.terminate() == (0 if subject.is_ours else -signal.SIGTERM)


@pytest.mark.parametrize("way", ["forked", "executed"])
def test_sigterm_does_not_wait_for_a_driver_that_hangs(ours: Ours, place: Place, way: str) -> None:
    script = os.path.join(os.path.dirname(sys.executable), "sscsi-livenessprobe")
    subject = ours if way == "forked" else Command(script, is_ours=True)
    driver = FakeDriver()
    driver.probe = driver.hang
    with (
        serving(driver, place.driver),
        running(
            subject,
            place,
            f"--csi-address={place.driver}",
            "--http-endpoint=127.0.0.1:0",
            "--probe-timeout=60s",
        ) as program,
    ):
        with (
            _asking(program.address(), "/healthz") as connection,
            _asking(program.address(), "/readyz"),
        ):
            wait_until(lambda: driver.probes >= 2, "the driver is asked twice")
            begun = time.monotonic()
            assert program.process.terminate() == 0
            # The call under way was ended, and whoever waited for it is told.
            assert connection.recv(1024).startswith(b"HTTP/1.1 500 ")
        # Far less than the probe's minute; the machine may be busy.
        assert time.monotonic() - begun < 30.0
        assert "exception" not in program.log


def test_what_is_waited_for_is_logged_once(ours: Ours, place: Place) -> None:
    flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0")
    with running(ours, place, *flags) as program:
        address = program.address()
        for _ in range(5):
            get(address, "/healthz")
        wait_until(lambda: "waiting for the driver" in program.log, "the wait is logged")
        with serving(FakeDriver(), place.driver):
            wait_until(lambda: "the driver answers" in program.log, "the end of the wait is logged")
            assert get(address, "/healthz").body == "ok"
        lines = program.log.splitlines()
    assert sum("waiting for the driver" in line for line in lines) == 1
    assert sum("the driver is not healthy" in line for line in lines) == 1
    assert sum("the driver is healthy again" in line for line in lines) == 1


def test_a_driver_that_keeps_its_name_to_itself_is_one_log_line_until_that_changes(
    ours: Ours, place: Place
) -> None:
    driver = FakeDriver()
    driver.name_error = (grpc.StatusCode.INTERNAL, "no name today")
    flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0")
    with serving(driver, place.driver), running(ours, place, *flags) as program:
        wait_until(lambda: driver.name_questions >= 4, "the driver is asked again and again")
        assert program.log.count("waiting for the driver") == 1
        driver.name_error = (grpc.StatusCode.INTERNAL, "still none")
        wait_until(lambda: program.log.count("waiting for the driver") == 2, "the change is logged")


def test_a_health_check_is_no_log_line_however_often(ours: Ours, place: Place) -> None:
    flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0")
    with serving(FakeDriver(), place.driver), running(ours, place, *flags) as program:
        address = program.address()
        wait_until(lambda: "the driver answers" in program.log, "the name is learned")
        size = len(program.log)
        for page in ("/healthz", "/livez", "/readyz", "/metrics", "/nowhere") * 3:
            get(address, page)
        assert program.log[size:] == ""


def test_a_name_is_asked_for_once(ours: Ours, place: Place) -> None:
    driver = FakeDriver()
    flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0")
    with serving(driver, place.driver), running(ours, place, *flags) as program:
        wait_until(lambda: "the driver answers" in program.log, "the name is learned")
        for _ in range(3):
            assert get(program.address(), "/healthz").body == "ok"
            metrics(program.address())
    assert driver.name_questions == 1


@contextlib.contextmanager
def _asking(address: str, target: str) -> Iterator[socket.socket]:
    """A request under way, on its connection."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 20.0) as connection:
        connection.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        yield connection
