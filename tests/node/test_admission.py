import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures

import pytest

from sscsi.errors import OverloadedError, StoppingError
from sscsi.node.admission import Admission
from tests.support.waiting import wait_until


class Queue:
    """Counts who waits, as the thread pool does."""

    def __init__(self) -> None:
        self.waiting = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def wait(self) -> Iterator[None]:
        with self._lock:
            self.waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self.waiting -= 1


@pytest.fixture
def queue() -> Queue:
    return Queue()


class Publish:
    """One publish in a thread of its own: holds a place of the provider `name` until it is told to end."""

    def __init__(self, pool: futures.Executor, admission: Admission, queue: Queue, name: str) -> None:
        self._admission = admission
        self._queue = queue
        self._name = name
        self._end = threading.Event()
        self.has_place = threading.Event()
        self._future = pool.submit(self._run)

    def _run(self) -> None:
        with self._admission.place(self._name, timeout_seconds=60, waiting=self._queue.wait):
            self.has_place.set()
            self._end.wait(60)

    def end(self) -> None:
        """Give the place back; raises what the publish ended with."""
        self._end.set()
        self._future.result(60)


@pytest.fixture
def pool() -> Iterator[futures.ThreadPoolExecutor]:
    with futures.ThreadPoolExecutor(8) as pool:
        yield pool


def test_a_free_place_is_taken_without_waiting(queue: Queue) -> None:
    admission = Admission(places_per_provider=2, max_waiting=0)
    with (
        admission.place("a", timeout_seconds=0, waiting=queue.wait),
        admission.place("a", timeout_seconds=0, waiting=queue.wait),
    ):
        assert queue.waiting == 0


def test_providers_do_not_take_each_others_places(queue: Queue) -> None:
    admission = Admission(places_per_provider=1, max_waiting=0)
    with (
        admission.place("a", timeout_seconds=0, waiting=queue.wait),
        admission.place("b", timeout_seconds=0, waiting=queue.wait),
    ):
        pass


def test_who_finds_no_place_waits_and_gets_the_next_one(
    queue: Queue, pool: futures.ThreadPoolExecutor
) -> None:
    admission = Admission(places_per_provider=1, max_waiting=5)
    first = Publish(pool, admission, queue, "a")
    assert first.has_place.wait(60)
    others = [Publish(pool, admission, queue, "a") for _ in range(5)]
    wait_until(lambda: queue.waiting == 5, "all others wait")
    assert not any(other.has_place.is_set() for other in others)
    first.end()
    for _ in range(5):
        wait_until(lambda: sum(other.has_place.is_set() for other in others) == 1, "one has the place")
        (served,) = [other for other in others if other.has_place.is_set()]
        served.end()
        others.remove(served)


def test_when_too_many_wait_over_all_providers_the_next_is_turned_away(
    queue: Queue, pool: futures.ThreadPoolExecutor
) -> None:
    admission = Admission(places_per_provider=1, max_waiting=1)
    holding = [Publish(pool, admission, queue, name) for name in ("a", "b")]
    assert all(publish.has_place.wait(60) for publish in holding)
    waiting = Publish(pool, admission, queue, "a")
    wait_until(lambda: queue.waiting == 1, "one waits")
    with pytest.raises(OverloadedError, match=r"1 publishes wait already \(--max-waiting-publishes\)"):
        Publish(pool, admission, queue, "b").end()
    for publish in (*holding, waiting):
        publish.end()


def test_who_waits_in_vain_is_told_how_many_are_under_way(queue: Queue) -> None:
    admission = Admission(places_per_provider=1, max_waiting=1)
    with (
        admission.place("a", timeout_seconds=0, waiting=queue.wait),
        pytest.raises(
            OverloadedError, match=r"provider 'a' has 1 publishes under way \(--max-publishes-per-provider"
        ),
        admission.place("a", timeout_seconds=0.01, waiting=queue.wait),
    ):
        raise AssertionError("there was no place")


def test_a_place_is_given_back_whatever_happens_in_it(queue: Queue) -> None:
    admission = Admission(places_per_provider=1, max_waiting=0)
    for _ in range(3):
        with (
            pytest.raises(LookupError),
            admission.place("a", timeout_seconds=0, waiting=queue.wait),
        ):
            raise LookupError


def test_closing_turns_away_those_who_wait_and_those_who_come(
    queue: Queue, pool: futures.ThreadPoolExecutor
) -> None:
    admission = Admission(places_per_provider=1, max_waiting=5)
    holding = Publish(pool, admission, queue, "a")
    assert holding.has_place.wait(60)
    waiting = Publish(pool, admission, queue, "a")
    wait_until(lambda: queue.waiting == 1, "one waits")
    admission.close()
    with pytest.raises(StoppingError, match="the driver is stopping"):
        waiting.end()
    holding.end()
    with pytest.raises(StoppingError):
        Publish(pool, admission, queue, "b").end()


def test_nothing_is_remembered_of_a_provider_that_nobody_is_with(queue: Queue) -> None:
    admission = Admission(places_per_provider=1, max_waiting=1)
    for number in range(10):
        with admission.place(f"p{number}", timeout_seconds=0, waiting=queue.wait):
            assert len(admission._providers) == 1
    assert not admission._providers
