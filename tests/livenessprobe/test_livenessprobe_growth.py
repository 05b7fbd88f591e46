"""A liveness probe runs for months: what the first thousand checks cost, the ten thousandth must not cost again."""

import contextlib
import dataclasses
import os
import socket
import threading
from collections.abc import Callable, Iterator

import grpc
import pytest

from sidecars.livenessprobe.answers import Answers
from sidecars.livenessprobe.config import parse
from sidecars.livenessprobe.room import room_states
from tests.livenessprobe.fake_driver import (
    FakeDriver,
    fails,
    full_backlog_at,
    leftover_at,
    nothing_at,
    serving,
    silence_at,
    stranger_at,
)
from tests.livenessprobe.program import Ours, Place, Running, running
from tests.livenessprobe.rooms import fake_rooms
from tests.support.waiting import wait_until

_FULL = os.environ.get("SSCSI_FULL_SWEEP") == "1"
WARM, ALL = (1_000, 10_000) if _FULL else (600, 2_400)
CLIENTS = 4
# What the allocator keeps, and what a forked process has touched of its parent's pages, goes up by some hundred KiB.
SLACK_KIB = 1_000
REST_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Figures:
    """Of a process at rest."""

    descriptors: int
    threads: int
    rss_kib: int


def figures(pid: int) -> Figures:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":", 1) for line in file)
    return Figures(
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(status["Threads"]),
        rss_kib=int(status["VmRSS"].split()[0]),
    )


def ask(program: Running, target: str, count: int, *, status: int = 200) -> None:
    """`count` requests by several clients at once, each answered with `status`."""
    host, _, port = program.address().rpartition(":")
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    answers: list[bytes] = []

    def client() -> None:
        for _ in range(count // CLIENTS):
            with socket.create_connection((host, int(port)), 60.0) as connection:
                connection.sendall(request)
                answers.append(connection.recv(1024))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == count
    assert [answer for answer in answers if not answer.startswith(b"HTTP/1.1 %d " % status)] == []


def assert_no_growth(program: Running, target: str, warm: int, more: int, *, status: int = 200) -> None:
    pid = program.process.pid
    ask(program, target, warm, status=status)
    wait_until(lambda: is_at_rest(pid), "it is at rest", seconds=REST_SECONDS)
    first = figures(pid)
    ask(program, target, more, status=status)
    wait_until(
        lambda: figures(pid).descriptors <= first.descriptors,
        "descriptors are given back",
        seconds=REST_SECONDS,
    )
    wait_until(lambda: figures(pid).threads <= first.threads, "threads have left", seconds=REST_SECONDS)
    assert figures(pid).rss_kib <= first.rss_kib + SLACK_KIB


def is_at_rest(pid: int) -> bool:
    """Whether threads and descriptors stay as they are for a moment."""
    first = figures(pid)
    threading.Event().wait(0.2)
    second = figures(pid)
    return (first.threads, first.descriptors) == (second.threads, second.descriptors)


@pytest.mark.timeout(300)
def test_health_checks_leave_nothing_behind_however_many(ours: Ours, place: Place) -> None:
    flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0", "--probe-timeout=60s")
    with serving(FakeDriver(), place.driver), running(ours, place, *flags) as program:
        assert_no_growth(program, "/healthz", WARM, ALL - WARM)


@contextlib.contextmanager
def saying_no(path: str) -> Iterator[None]:
    driver = FakeDriver()
    driver.probe = fails(grpc.StatusCode.FAILED_PRECONDITION, "no")
    with serving(driver, path):
        yield


@contextlib.contextmanager
def hanging(path: str) -> Iterator[None]:
    driver = FakeDriver()
    driver.probe = driver.hang
    with serving(driver, path):
        yield


# Each with how many checks there is time for: where one takes its whole time-out, they are few.
@pytest.mark.parametrize(
    ("driver", "count"),
    [
        pytest.param(nothing_at, ALL, id="missing"),
        pytest.param(leftover_at, ALL, id="refused"),
        pytest.param(saying_no, ALL, id="an error"),
        pytest.param(lambda path: stranger_at(path, b"SSH-2.0-x\r\n"), ALL, id="no gRPC server"),
        pytest.param(hanging, 160, id="hanging"),
        pytest.param(silence_at, 64, id="halted"),
        pytest.param(full_backlog_at, 160, id="a full backlog"),
    ],
)
@pytest.mark.timeout(300)
def test_health_checks_that_fail_leave_nothing_behind_either(
    ours: Ours, place: Place, driver: Callable[[str], contextlib.AbstractContextManager[None]], count: int
) -> None:
    seconds = 60 if count == ALL else 0.1
    flags = (f"--csi-address={place.driver}", "--http-endpoint=127.0.0.1:0", f"--probe-timeout={seconds}s")
    with driver(place.driver), running(ours, place, *flags) as program:
        assert_no_growth(program, "/healthz", count // 4, count - count // 4, status=500)


def test_asking_the_rooms_leaves_nothing_behind_however_often(place: Place) -> None:
    config = parse([f"--run-dir={place.run}", "--require-registration"], {})
    states = room_states(config)
    answers = Answers({room: asked.ask for room, asked in states.items()}, fresh_seconds=0.0)
    found: list[Figures] = []
    try:
        with fake_rooms(place) as rooms:
            for count in (200, 1_000):
                while min(room.questions for room in rooms.values()) < count:
                    assert None not in answers.latest().values()
                wait_until(lambda: is_at_rest(os.getpid()), "it is at rest", seconds=REST_SECONDS)
                found.append(figures(os.getpid()))
        before, after = found
        assert after.descriptors <= before.descriptors
        assert after.threads <= before.threads
        assert after.rss_kib <= before.rss_kib + SLACK_KIB
    finally:
        answers.close()
        for asked in states.values():
            asked.close()


@pytest.mark.timeout(300)
def test_the_other_pages_leave_nothing_behind_either(ours: Ours, place: Place) -> None:
    flags = ("--http-endpoint=127.0.0.1:0", f"--run-dir={place.run}", "--require-registration")
    with (
        fake_rooms(place),
        serving(FakeDriver(), place.probe_socket),
        running(ours, place, *flags) as program,
    ):
        wait_until(lambda: is_up(program), "it is ready")
        for target in ("/readyz?verbose", "/metrics"):
            assert_no_growth(program, target, 400, ALL // 2)


def is_up(program: Running) -> bool:
    try:
        ask(program, "/readyz", CLIENTS)
    except AssertionError:
        return False
    return True
