import queue
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sscsi.process.thread_pool import BlockingAwarePool
from tests.support.waiting import wait_until


class Gauge:
    """Counts who is inside, and remembers the most that ever were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self.most = 0
        self.done = 0

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self.inside -= 1
            self.done += 1


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    """Let the interpreter change threads as often as it can, so that narrow races are met."""
    seconds = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(seconds)


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"{name}-")]


def test_a_task_runs_with_its_arguments() -> None:
    pool = BlockingAwarePool("args", running_limit=2)
    answers: queue.Queue[tuple[object, ...]] = queue.Queue()
    pool.submit(lambda *args, **kwargs: answers.put((args, kwargs)), 1, key="2")
    assert answers.get(timeout=60) == ((1,), {"key": "2"})
    pool.shutdown()


def test_five_hundred_blocked_tasks_do_not_delay_another() -> None:
    pool = BlockingAwarePool("hanging", running_limit=4)
    release = threading.Event()
    hanging = Gauge()

    def hang() -> None:
        with pool.blocked(), hanging:
            release.wait(60)

    for _ in range(500):
        pool.submit(hang)
    wait_until(lambda: hanging.inside == 500, "500 tasks hang")
    answered = threading.Event()
    pool.submit(answered.set)
    assert answered.wait(60)
    assert hanging.inside == 500
    release.set()
    pool.shutdown()
    assert hanging.done == 500


def test_no_more_tasks_run_at_once_than_the_limit() -> None:
    pool = BlockingAwarePool("limited", running_limit=3)
    running, gate = Gauge(), threading.Event()

    def work() -> None:
        with running:
            gate.wait(60)

    for _ in range(30):
        pool.submit(work)
    wait_until(lambda: running.inside == 3, "three tasks run")
    gate.set()
    pool.shutdown()
    assert (running.done, running.most) == (30, 3)


def test_a_task_that_comes_back_from_a_wait_takes_its_turn_again() -> None:
    pool = BlockingAwarePool("returning", running_limit=2)
    release, gate = threading.Event(), threading.Event()
    waiting, running = Gauge(), Gauge()

    def wait_then_work() -> None:
        with pool.blocked(), waiting:
            release.wait(60)
        with running:
            gate.wait(60)

    def new_work() -> None:
        with running:
            gate.wait(60)

    for _ in range(6):
        pool.submit(wait_then_work)
    wait_until(lambda: waiting.inside == 6, "six tasks wait, though two may run")
    release.set()
    wait_until(lambda: running.inside == 2, "two of them run again")
    for _ in range(10):
        pool.submit(new_work)
    gate.set()
    pool.shutdown()
    assert (running.done, running.most) == (16, 2)


def test_threads_leave_when_there_is_nothing_to_do_and_come_back() -> None:
    pool = BlockingAwarePool("leaving", running_limit=8, idle_seconds=0.05)
    ran = Gauge()

    def work() -> None:
        with ran:
            pass

    for done in (20, 40):
        for _ in range(20):
            pool.submit(work)
        wait_until(lambda done=done: ran.done == done, "all tasks ran")  # type: ignore[misc]
        wait_until(lambda: not threads_of("leaving"), "the threads have left")
    pool.shutdown()
    assert ran.done == 40


def test_a_task_that_raises_takes_neither_the_queue_nor_the_limit_with_it() -> None:
    pool = BlockingAwarePool("raising", running_limit=1)
    seen: list[BaseException | None] = []
    before, threading.excepthook = threading.excepthook, lambda arguments: seen.append(arguments.exc_value)
    gate, ran = threading.Event(), threading.Event()

    def fail() -> None:
        gate.wait(60)
        raise LookupError("a task's own")

    try:
        pool.submit(fail)
        pool.submit(ran.set)
        gate.set()
        assert ran.wait(60)
        wait_until(lambda: seen, "the exception is reported")
    finally:
        threading.excepthook = before
    assert [type(error) for error in seen] == [LookupError]
    pool.shutdown()


def test_shutdown_finishes_what_is_queued_and_refuses_more() -> None:
    pool = BlockingAwarePool("closing", running_limit=2)
    gate, ran = threading.Event(), Gauge()

    def work() -> None:
        gate.wait(60)
        with ran:
            pass

    for _ in range(10):
        pool.submit(work)
    closer = threading.Thread(target=pool.shutdown)
    closer.start()
    gate.set()
    closer.join(60)
    assert not closer.is_alive()
    assert ran.done == 10
    assert not threads_of("closing")
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(work)


def test_shutdown_may_drop_what_is_queued() -> None:
    pool = BlockingAwarePool("dropping", running_limit=1)
    gate, ran = threading.Event(), Gauge()
    started = threading.Event()

    def work() -> None:
        started.set()
        gate.wait(60)
        with ran:
            pass

    for _ in range(10):
        pool.submit(work)
    assert started.wait(60)
    pool.shutdown(wait=False, cancel_futures=True)
    gate.set()
    wait_until(lambda: not threads_of("dropping"), "the threads have left")
    assert ran.done == 1


@pytest.mark.usefixtures("hasty_switches")
@pytest.mark.parametrize("running_limit", [1, 2, 5])
def test_no_wake_up_is_lost_whatever_the_timing(running_limit: int) -> None:
    """Threads leave all the time here (idle for 1 ms), so that submits meet every state of a thread."""
    pool = BlockingAwarePool(f"stress{running_limit}", running_limit=running_limit, idle_seconds=0.001)
    dice = random.Random(running_limit)
    pause = threading.Event()
    ran, running = Gauge(), Gauge()
    plans = [(dice.random() < 0.5, dice.choice((0, 0, 0.0005, 0.001, 0.002))) for _ in range(1500)]

    def work(blocks: bool, seconds: float) -> None:
        with ran:
            if blocks:
                with pool.blocked():
                    pause.wait(seconds)
            elif seconds:
                with running:
                    pause.wait(seconds / 4)

    def submit(part: list[tuple[bool, float]], seed: int) -> None:
        own_dice = random.Random(seed)
        for blocks, seconds in part:
            pool.submit(work, blocks, seconds)
            if own_dice.random() < 0.3:
                pause.wait(own_dice.choice((0.0005, 0.001, 0.0015)))

    clients = [threading.Thread(target=submit, args=(plans[part::3], part)) for part in range(3)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    # Nothing is submitted any more: a task whose wake-up was lost would stay in the queue for good.
    wait_until(lambda: ran.done == len(plans), "every task ran")
    wait_until(lambda: not threads_of(f"stress{running_limit}"), "every thread left")
    pool.shutdown()
    assert ran.done == len(plans)


def test_a_task_that_comes_while_the_last_thread_is_leaving_is_not_lost() -> None:
    pool = BlockingAwarePool("leaver", running_limit=1, idle_seconds=0.001)
    ran = threading.Event()

    class LastMoment(set[threading.Thread]):
        """A submit in the instant between a thread's decision to leave and its leaving."""

        def discard(self, thread: Any) -> None:
            if not ran.is_set():
                pool.submit(ran.set)
            super().discard(thread)

    pool._threads = LastMoment()
    pool.submit(int)
    assert ran.wait(60)
    pool.shutdown()
