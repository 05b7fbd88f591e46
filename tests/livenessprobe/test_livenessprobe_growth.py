"""A liveness probe runs for months: what the first thousand checks cost, the ten thousandth must not cost again."""

import dataclasses
import os
import socket
import threading

import pytest

from tests.livenessprobe.fake_driver import FakeDriver, serving
from tests.livenessprobe.program import Ours, Place, Running, running
from tests.livenessprobe.rooms import fake_rooms
from tests.support.waiting import wait_until

_FULL = os.environ.get("SSCSI_FULL_SWEEP") == "1"
WARM, ALL = (1_000, 10_000) if _FULL else (600, 2_400)
CLIENTS = 4
# What the allocator keeps, and what a forked process has touched of its parent's pages, goes up by some hundred KiB.
SLACK_KIB = 1_000
REST_SECONDS = 30.0


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


def ask(program: Running, target: str, count: int) -> None:
    """`count` requests by several clients at once, each answered with 200."""
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
    assert [answer for answer in answers if not answer.startswith(b"HTTP/1.1 200 OK\r\n")] == []


def assert_no_growth(program: Running, target: str, warm: int, more: int) -> None:
    pid = program.process.pid
    ask(program, target, warm)
    wait_until(lambda: is_at_rest(pid), "it is at rest", seconds=REST_SECONDS)
    first = figures(pid)
    ask(program, target, more)
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
