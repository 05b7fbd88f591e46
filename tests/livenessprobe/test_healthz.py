"""Table B3 of the sidecars reference: what /healthz answers, in which state of the driver, and when."""

import contextlib
import dataclasses
import os
import resource
import socket
import threading
import time
from collections.abc import Callable

import grpc
import pytest

from sscsi.pb import csi_pb2
from tests.livenessprobe import fake_driver
from tests.livenessprobe.fake_driver import Context, FakeDriver, fails, says, serving
from tests.livenessprobe.program import Ours, Place, Subject, free_address, get, running
from tests.support.waiting import wait_until

PROBE_SECONDS = 1.0
FLAG = f"--probe-timeout={PROBE_SECONDS:g}s"
OUT_OF_TIME = "context deadline exceeded"
Driver = Callable[[str], contextlib.AbstractContextManager[None]]


def answering(probe: fake_driver.Probe) -> Driver:
    driver = FakeDriver()
    driver.probe = probe
    return lambda path: serving(driver, path)


def hanging(path: str) -> contextlib.AbstractContextManager[None]:
    driver = FakeDriver()
    driver.probe = driver.hang
    return serving(driver, path)


@dataclasses.dataclass(frozen=True)
class Row:
    """A state of the driver, and both programs' answers: status, body, and whether at once; None if nobody looked."""

    state: str
    driver: Driver
    upstream: tuple[int, str, bool] | None
    ours: tuple[int, str, bool]


ROWS = [
    Row("ready is absent", answering(says(ready=None)), (200, "ok", True), (200, "ok", True)),
    Row("ready", answering(says(ready=True)), (200, "ok", True), (200, "ok", True)),
    Row(
        "not ready",
        answering(says(ready=False)),
        (500, "driver responded but is not ready", True),
        (500, "driver responded but is not ready", True),
    ),
    Row(
        "an error",
        answering(fails(grpc.StatusCode.FAILED_PRECONDITION, "unhealthy dep")),
        (500, "rpc error: code = FailedPrecondition desc = unhealthy dep", True),
        (500, "rpc error: code = FailedPrecondition desc = unhealthy dep", True),
    ),
    Row(
        "canceled, as Go writes it",
        answering(fails(grpc.StatusCode.CANCELLED, "by me")),
        (500, "rpc error: code = Canceled desc = by me", True),
        (500, "rpc error: code = Canceled desc = by me", True),
    ),
    Row(
        "slow",
        hanging,
        (500, f"rpc error: code = DeadlineExceeded desc = {OUT_OF_TIME}", False),
        (500, f"rpc error: code = DeadlineExceeded desc = {OUT_OF_TIME}", False),
    ),
    Row("stopped", fake_driver.silence_at, (500, OUT_OF_TIME, False), (500, OUT_OF_TIME, False)),
    # Upstream waits for its whole time-out for a driver that is not there, and does not say so.
    Row(
        "missing",
        fake_driver.nothing_at,
        (500, OUT_OF_TIME, False),
        (500, "cannot connect to the CSI driver at {path}: No such file or directory", True),
    ),
    Row(
        "refused",
        fake_driver.leftover_at,
        (500, OUT_OF_TIME, False),
        (500, "cannot connect to the CSI driver at {path}: Connection refused", True),
    ),
    Row(
        "no gRPC server",
        lambda path: fake_driver.stranger_at(path, b"SSH-2.0-x\r\n"),
        None,
        (500, "cannot connect to the CSI driver at {path}: what answers there is no gRPC server", True),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.state)
def test_the_answer_is_upstreams_or_a_quicker_one(subject: Subject, place: Place, row: Row) -> None:
    expected = row.ours if subject.is_ours else row.upstream
    if expected is None:
        pytest.skip("the reference does not say what upstream does")
    status, body, at_once = expected
    address = free_address()
    probe_seconds = 60.0 if at_once else PROBE_SECONDS
    flags = (
        f"--csi-address={place.driver}",
        f"--http-endpoint={address}",
        f"--probe-timeout={probe_seconds:g}s",
    )
    with running(subject, place, *flags) as program:
        # Upstream listens only when it has once seen a driver.
        with serving(FakeDriver(), place.driver):
            program.listens(address)
            assert get(address, "/healthz").body == "ok"
        with row.driver(place.driver):
            begun = time.monotonic()
            answer = get(address, "/healthz")
            seconds = time.monotonic() - begun
    assert (answer.status, answer.body) == (status, body.format(path=place.driver))
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert seconds < 30.0
    assert at_once or seconds > PROBE_SECONDS * 0.95


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_any_method_will_do(subject: Subject, place: Place, method: str) -> None:
    address = free_address()
    flags = (f"--csi-address={place.driver}", f"--http-endpoint={address}")
    with serving(FakeDriver(), place.driver), running(subject, place, *flags) as program:
        program.listens(address)
        answer = get(address, "/healthz", method=method)
    assert (answer.status, answer.body) == (200, "" if method == "HEAD" else "ok")


@pytest.mark.parametrize("path", ["/", "/healthz/", "/healthz/x", "/debug/pprof/", "/Healthz"])
def test_other_paths_are_not_found(subject: Subject, place: Place, path: str) -> None:
    address = free_address()
    flags = (f"--csi-address={place.driver}", f"--http-endpoint={address}")
    with serving(FakeDriver(), place.driver), running(subject, place, *flags) as program:
        program.listens(address)
        answer = get(address, path)
    assert (answer.status, answer.body) == (404, "404 page not found\n")


def test_checks_that_come_together_run_together(subject: Subject, place: Place) -> None:
    together = threading.Barrier(4)

    def probe(_context: Context) -> csi_pb2.ProbeResponse:
        together.wait(60)
        return csi_pb2.ProbeResponse()

    driver = FakeDriver()
    driver.probe = probe
    address = free_address()
    flags = (f"--csi-address={place.driver}", f"--http-endpoint={address}", "--probe-timeout=60s")
    with serving(driver, place.driver), running(subject, place, *flags) as program:
        program.listens(address)
        bodies: list[str] = []
        callers = [
            threading.Thread(target=lambda: bodies.append(get(address, "/healthz").body)) for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert bodies == ["ok"] * 4
    assert driver.probes == 4


def test_a_socket_that_vanished_or_was_replaced_is_noticed_by_the_very_next_check(
    subject: Subject, place: Place
) -> None:
    address = free_address()
    other = FakeDriver()
    other.probe = says(ready=False)
    flags = (f"--csi-address={place.driver}", f"--http-endpoint={address}", FLAG)
    with (
        serving(FakeDriver(), place.driver),
        serving(other, f"{place.base}/other.sock"),
        running(subject, place, *flags) as program,
    ):
        program.listens(address)
        assert get(address, "/healthz").status == 200
        os.rename(place.driver, f"{place.base}/away.sock")
        assert get(address, "/healthz").status == 500
        os.rename(f"{place.base}/other.sock", place.driver)
        assert get(address, "/healthz").body == "driver responded but is not ready"
        os.rename(f"{place.base}/away.sock", place.driver)
        assert get(address, "/healthz").body == "ok"


def test_a_driver_that_was_killed_and_comes_back_is_healthy_at_once(subject: Subject, place: Place) -> None:
    address = free_address()
    flags = (f"--csi-address={place.driver}", f"--http-endpoint={address}", FLAG)
    with running(subject, place, *flags) as program:
        with serving(FakeDriver(), place.driver):
            program.listens(address)
            assert get(address, "/healthz").status == 200
        assert get(address, "/healthz").status == 500
        with serving(FakeDriver(), place.driver):
            assert get(address, "/healthz").status == 200


def test_a_crowd_of_slow_clients_does_not_keep_kubelet_out(ours: Ours, place: Place) -> None:
    with serving(FakeDriver(), place.driver), contextlib.ExitStack() as stack:
        flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0")
        program = stack.enter_context(running(ours, place, *flags))
        host, _, port = program.address().rpartition(":")
        for _ in range(400):
            slow = stack.enter_context(socket.create_connection((host, int(port)), 20.0))
            slow.sendall(b"GET /healthz HTTP/1.1\r\nX-")
        assert get(program.address(), "/healthz").body == "ok"
        threads = len(os.listdir(f"/proc/{program.process.pid}/task"))
        assert threads < 30


def test_clients_that_hang_up_leave_nothing_behind(ours: Ours, place: Place) -> None:
    driver = FakeDriver()
    driver.probe = driver.hang
    flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0", FLAG)
    with serving(driver, place.driver), running(ours, place, *flags) as program:
        host, _, port = program.address().rpartition(":")
        descriptors = f"/proc/{program.process.pid}/fd"
        before = len(os.listdir(descriptors))
        for _ in range(10):
            with socket.create_connection((host, int(port)), 20.0) as hasty:
                hasty.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        wait_until(lambda: driver.probes == 10, "the driver is probed")
        driver.probe = says(ready=True)
        assert get(program.address(), "/healthz").body == "ok"
        wait_until(lambda: len(os.listdir(descriptors)) <= before + 4, "the connections are closed")
        assert "exception" not in program.log


def test_when_descriptors_are_short_the_slow_clients_make_room(ours: Ours, place: Place) -> None:
    flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0")
    with running(ours, place, *flags) as program, contextlib.ExitStack() as stack:
        address = program.address()
        pid = program.process.pid
        assert get(address, "/livez").body == "ok"
        limit = len(os.listdir(f"/proc/{pid}/fd")) + 5
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        host, _, port = address.rpartition(":")
        for _ in range(20):
            stack.enter_context(socket.create_connection((host, int(port)), 20.0))
        assert get(address, "/livez").body == "ok"
        wait_until(lambda: "cannot accept a connection" in program.log, "it is logged")
        assert program.log.count("cannot accept a connection") < 5
