"""The queue gives each key to one worker at a time, later after each failure, and loses none."""

import threading
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from sidecars.statussync.work_queue import WorkQueue, default_delays
from tests.support.waiting import wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def delays() -> Iterator[float]:
    yield from (1.0, 2.0, 4.0)
    while True:
        yield 4.0


def make_queue() -> tuple[WorkQueue[str], Clock]:
    clock = Clock()
    return WorkQueue(clock=clock, new_delays=delays), clock


def test_a_key_is_retried_from_its_failure_to_its_success() -> None:
    queue, _ = make_queue()
    queue.add("a")
    assert not queue.is_retried("a")
    queue.retry("a")
    assert queue.is_retried("a")
    queue.forget("a")
    assert not queue.is_retried("a")


def test_keys_that_wait_for_their_next_try_can_be_hurried() -> None:
    queue, clock = make_queue()
    for key in ("a", "b"):
        queue.retry(key)
    assert queue.take_due() is None
    queue.hurry()
    assert {queue.take_due(), queue.take_due()} == {"a", "b"}
    assert queue.take_due() is None
    # What fails again waits longer, all the same.
    queue.retry("a")
    queue.done("a")
    clock.now += 1.0
    assert queue.take_due() is None
    clock.now += 1.0
    assert queue.take_due() == "a"


def test_keys_come_once_and_in_order() -> None:
    queue, _ = make_queue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert queue.depth == 2
    assert [queue.take_due(), queue.take_due(), queue.take_due()] == ["a", "b", None]


def test_a_key_added_while_it_is_worked_on_comes_again_when_that_is_done() -> None:
    queue, _ = make_queue()
    queue.add("a")
    assert queue.take_due() == "a"
    queue.add("a")
    assert queue.take_due() is None
    queue.done("a")
    assert queue.take_due() == "a"


def test_a_key_that_fails_comes_later_each_time_until_it_goes_well() -> None:
    queue, clock = make_queue()
    queue.add("a")
    for wait in (1.0, 2.0, 4.0, 4.0):
        assert queue.take_due() == "a"
        queue.retry("a")
        queue.done("a")
        clock.now += wait - 0.01
        assert queue.take_due() is None
        clock.now += 0.01
    assert queue.take_due() == "a"
    queue.forget("a")
    queue.done("a")
    queue.add("a")
    assert queue.take_due() == "a"
    queue.retry("a")
    queue.done("a")
    clock.now += 1.0
    assert queue.take_due() == "a"


def test_keys_back_off_each_for_itself() -> None:
    queue, clock = make_queue()
    queue.add("a")
    assert queue.take_due() == "a"
    queue.retry("a")
    queue.done("a")
    queue.add("b")
    assert queue.take_due() == "b"
    clock.now += 1.0
    assert queue.take_due() == "a"


def test_a_waiting_key_that_is_added_is_due_at_once_and_once() -> None:
    queue, clock = make_queue()
    queue.add("a")
    queue.take_due()
    queue.retry("a")
    queue.done("a")
    queue.add("a")
    assert queue.take_due() == "a"
    queue.done("a")
    clock.now += 10.0
    assert queue.take_due() is None


def test_a_claimed_key_is_not_given_to_anybody_else() -> None:
    queue, _ = make_queue()
    queue.add("a")
    assert queue.claim("a", 0.0)
    assert queue.take_due() is None
    assert not queue.claim("a", 0.01)
    queue.done("a")
    assert queue.take_due() is None
    assert queue.claim("a", 0.0)


def test_a_claim_waits_for_the_worker_that_has_the_key() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert queue.take() == "a"
    claimed = threading.Event()

    def claim() -> None:
        if queue.claim("a", 20.0):
            claimed.set()

    other = threading.Thread(target=claim)
    other.start()
    assert not claimed.is_set()
    queue.done("a")
    other.join(60)
    assert claimed.is_set()


def test_a_worker_waits_for_a_key_and_for_its_delay_and_ends_with_the_queue() -> None:
    queue: WorkQueue[str] = WorkQueue(new_delays=lambda: iter([0.02, 0.02]))
    taken: list[str] = []

    def work() -> None:
        while (key := queue.take()) is not None:
            taken.append(key)
            if len(taken) < 3:
                queue.retry(key)
            queue.done(key)

    worker = threading.Thread(target=work)
    worker.start()
    queue.add("a")
    wait_until(lambda: len(taken) == 3, "three tries")
    queue.close()
    worker.join(60)
    assert not worker.is_alive()
    assert queue.take() is None


def test_the_delays_grow_to_a_minute() -> None:
    waits = default_delays()
    first = [next(waits) for _ in range(12)]
    assert first[:3] == [0.2, 0.4, 0.8]
    assert first[-1] == 60.0


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "take", "retry", "done", "wait"]), st.sampled_from("abc")), max_size=40
)


@given(STEPS)
def test_no_key_is_lost_and_none_is_worked_on_twice_at_once(steps: list[tuple[str, str]]) -> None:
    queue, clock = make_queue()
    working: set[str] = set()
    owed: set[str] = set()
    for step, key in steps:
        if step == "add":
            queue.add(key)
            owed.add(key)
        elif step == "take" and (taken := queue.take_due()) is not None:
            assert taken not in working
            assert taken in owed
            working.add(taken)
            owed.discard(taken)
        elif step == "wait":
            clock.now += 1.5
        elif key in working:
            if step == "retry":
                queue.retry(key)
                owed.add(key)
            queue.done(key)
            working.discard(key)
    for key in working:
        queue.done(key)
    clock.now += 100.0
    rest = set()
    while (taken := queue.take_due()) is not None:
        rest.add(taken)
    assert rest == owed
