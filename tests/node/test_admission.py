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


def hold(admission: Admission, queue: Queue, name: str, until: threading.Event) -> None:
    with admission.place(name, timeout_seconds=10, waiting=queue.wait):
        until.wait(10)


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


def test_who_finds_no_place_waits_and_gets_the_next_one(queue: Queue) -> None:
    admission = Admission(places_per_provider=1, max_waiting=5)
    first, second = threading.Event(), threading.Event()
    second.set()
    with futures.ThreadPoolExecutor(6) as pool:
        holding = pool.submit(hold, admission, queue, "a", first)
        wait_until(lambda: not admission._is_free("a"), "the place is taken")
        waiting = [pool.submit(hold, admission, queue, "a", second) for _ in range(5)]
        wait_until(lambda: queue.waiting == 5, "all others wait")
        first.set()
        for future in (holding, *waiting):
            future.result(10)


def test_when_too_many_wait_over_all_providers_the_next_is_turned_away(queue: Queue) -> None:
    admission = Admission(places_per_provider=1, max_waiting=1)
    until = threading.Event()
    with futures.ThreadPoolExecutor(3) as pool:
        for name in ("a", "a", "b"):
            pool.submit(hold, admission, queue, name, until)
        wait_until(lambda: queue.waiting == 1 and not admission._is_free("b"), "one waits")
        with pytest.raises(OverloadedError, match=r"1 publishes wait already \(--max-waiting-publishes\)"):
            hold(admission, queue, "b", until)
        until.set()


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


def test_closing_turns_away_those_who_wait_and_those_who_come(queue: Queue) -> None:
    admission = Admission(places_per_provider=1, max_waiting=5)
    until = threading.Event()
    with futures.ThreadPoolExecutor(2) as pool:
        holding = pool.submit(hold, admission, queue, "a", until)
        wait_until(lambda: not admission._is_free("a"), "the place is taken")
        waiting = pool.submit(hold, admission, queue, "a", until)
        wait_until(lambda: queue.waiting == 1, "one waits")
        admission.close()
        with pytest.raises(StoppingError, match="the driver is stopping"):
            waiting.result(10)
        until.set()
        holding.result(10)
    with pytest.raises(StoppingError):
        hold(admission, queue, "b", until)


def test_nothing_is_remembered_of_a_provider_that_nobody_is_with(queue: Queue) -> None:
    admission = Admission(places_per_provider=1, max_waiting=1)
    for number in range(10):
        with admission.place(f"p{number}", timeout_seconds=0, waiting=queue.wait):
            assert len(admission._providers) == 1
    assert not admission._providers
