"""Many that come at once for one place: whoever does not get it waits within `waiting`, whatever the threads' order.

A wait that the thread pool does not hear of takes a running thread from everybody else (design P10).
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from concurrent import futures

import pytest

from sscsi.node.admission import Admission
from tests.support.waiting import wait_until

COMERS = 6
ROUNDS = 60


class Race:
    """Everybody comes at once; `waiting` and `served` count."""

    def __init__(self) -> None:
        self.admission = Admission(places_per_provider=1, max_waiting=COMERS)
        self.waiting = 0
        self.served = 0
        self._lock = threading.Lock()
        self._together = threading.Barrier(COMERS)
        self._end = threading.Event()

    @contextlib.contextmanager
    def wait(self) -> Iterator[None]:
        with self._lock:
            self.waiting += 1
        yield

    def come(self) -> None:
        self._together.wait(60)
        with self.admission.place("a", timeout_seconds=60, waiting=self.wait):
            self._end.wait(60)
            with self._lock:
                self.served += 1

    def end(self) -> None:
        self._end.set()


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads change places between any two steps."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_all_but_one_wait_where_the_pool_sees_them() -> None:
    with futures.ThreadPoolExecutor(COMERS) as pool:
        for _ in range(ROUNDS):
            race = Race()
            comers = [pool.submit(race.come) for _ in range(COMERS)]
            try:
                wait_until(lambda race=race: race.waiting == COMERS - 1, "all losers wait")  # type: ignore[misc]
            finally:
                race.end()
                for comer in comers:
                    comer.result(60)
            assert (race.waiting, race.served) == (COMERS - 1, COMERS)
            assert not race.admission._providers
