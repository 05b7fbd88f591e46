"""A thread pool for gRPC servers that a blocked call cannot starve.

With a fixed pool, as many hanging publishes as it has threads stop every other publish too (design P10); with a
thread for every call, a hundred of them fight for the interpreter. So a call says when it waits for somebody
else (`blocked`), and two things follow from that. Only `running_limit` calls run at once; one that comes back from
a wait takes its turn again (measured with 100 publishes in flight: more than the processors can use only costs).
And threads are made beyond `threads` when calls are queued and none was taken up for `patience_seconds`: then
those that have a thread really wait. A wait of a millisecond or two is not worth one.
"""

import collections
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager
from typing import Any

from sscsi.core import log_keys

log = logging.getLogger(__name__)


_of_thread = threading.local()


def blocked_here() -> AbstractContextManager[None]:
    """`blocked` of the pool whose task this thread runs; nothing, in a thread of no such pool."""
    pool: BlockingAwarePool | None = getattr(_of_thread, "pool", None)
    return contextlib.nullcontext() if pool is None else pool.blocked()


class BlockingAwarePool(futures.Executor):
    """An executor whose tasks may declare that they wait.

    `submit` never blocks and never refuses before `shutdown`; how many calls may wait at once is bounded by
    whoever makes them wait (the node room's admission), so the number of threads is bounded as well.
    A thread without work leaves after `idle_seconds`.
    """

    def __init__(
        self,
        name: str,
        *,
        running_limit: int,
        threads: int = 16,
        idle_seconds: float = 20.0,
        patience_seconds: float = 0.005,
    ) -> None:
        self._name = name
        self._thread_limit = max(threads, running_limit)
        self._turns: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(running_limit):
            self._turns.put(None)
        self._idle_seconds = idle_seconds
        self._patience_seconds = patience_seconds
        self._condition = threading.Condition()
        self._tasks: collections.deque[Callable[[], object]] = collections.deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._blocked = 0
        self._made = 0
        self._taken = 0
        self._growing = False
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Run `fn` soon. The future is a token: gRPC asks nothing of it, results travel by the call."""
        with self._condition:
            if self._closed:
                raise RuntimeError("the pool is shut down")
            self._tasks.append(lambda: fn(*args, **kwargs))
            self._wake_or_grow()
        return futures.Future()

    @contextlib.contextmanager
    def blocked(self) -> Iterator[None]:
        """The calling task waits for somebody else until the block ends; another may run in its place."""
        with self._condition:
            self._blocked += 1
            if self._tasks:
                self._wake_or_grow()
        self._turns.put(None)
        try:
            yield
        finally:
            self._turns.get()
            with self._condition:
                self._blocked -= 1

    @property
    def queued(self) -> int:
        """Tasks that nobody has taken up yet."""
        return len(self._tasks)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no new tasks; finish the queued ones (or drop them), and wait for the threads to leave."""
        with self._condition:
            self._closed = True
            if cancel_futures:
                self._tasks.clear()
            self._condition.notify_all()
        # The queue may still make threads while it empties: look again after each that left.
        while wait and (thread := self._any_thread()):
            thread.join()

    def _any_thread(self) -> threading.Thread | None:
        with self._condition:
            return next(iter(self._threads), None)

    def _wake_or_grow(self) -> None:
        if self._idle:
            self._condition.notify()
        elif len(self._threads) < self._thread_limit:
            self._start_thread()
        elif self._has_room() and not self._growing:
            self._growing = self._start("growth", self._grow) is not None

    def _has_room(self) -> bool:
        return len(self._threads) - self._blocked < self._thread_limit

    def _grow(self) -> None:
        """Make threads whenever the queue stood still for the patience, until it is empty."""
        pause = threading.Event()
        while True:
            with self._condition:
                taken = self._taken
            pause.wait(self._patience_seconds)
            with self._condition:
                if not self._tasks:
                    self._growing = False
                    return
                if taken == self._taken:
                    for _ in range(len(self._tasks) - self._idle):
                        if self._has_room():
                            self._start_thread()

    def _start_thread(self) -> None:
        self._made += 1
        if thread := self._start(str(self._made), self._work):
            self._threads.add(thread)

    def _start(self, name: str, target: Callable[[], None]) -> threading.Thread | None:
        # Daemonic, and joined in shutdown: a system call that never returns must not keep a process that was
        # asked to stop.
        thread = threading.Thread(target=target, name=f"{self._name}-{name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The machine gives no more threads (a pids limit). To raise would end gRPC's serving thread; so the
            # task waits for a thread that is there, or for the next submit.
            log.warning("cannot start a thread; a call waits", extra={log_keys.REASON: str(error)})
            return None
        return thread

    def _work(self) -> None:
        _of_thread.pool = self
        try:
            while self._wait_for_task():
                self._turns.get()
                try:
                    if task := self._pop_task():
                        task()
                finally:
                    self._turns.put(None)
        finally:
            with self._condition:
                self._threads.discard(threading.current_thread())
                if self._tasks:
                    # A task that raised took its thread with it; the next one must not wait for a submit.
                    self._wake_or_grow()

    def _wait_for_task(self) -> bool:
        """Whether there is one; False when the thread is to leave."""
        with self._condition:
            while not self._tasks:
                if self._closed:
                    return False
                self._idle += 1
                woken = self._condition.wait(self._idle_seconds)
                self._idle -= 1
                if not woken and not self._tasks:
                    return False
            return True

    def _pop_task(self) -> Callable[[], object] | None:
        with self._condition:
            if not self._tasks:
                return None
            task = self._tasks.popleft()
            self._taken += 1
            if self._tasks:
                # A wake-up is lost when two tasks come before one idle thread is up: pass it on.
                self._wake_or_grow()
            return task
