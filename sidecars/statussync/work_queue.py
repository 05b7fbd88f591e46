"""Keys to be worked on: each once however often it is added, by one worker at a time, later after a failure."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from sscsi.core.backoff import delays

K = TypeVar("K", bound=Hashable)


def default_delays() -> Iterator[float]:
    """Seconds before the next try of a key that failed: 0.2, 0.4, ... 60."""
    return delays(first_seconds=0.2, factor=2.0, max_seconds=60.0)


class WorkQueue(Generic[K]):
    """`take` or `claim` a key, work, tell how it went (`forget` or `retry`), and in any case `done`.

    A key added while it is worked on is due again when that is done. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        new_delays: Callable[[], Iterator[float]] = default_delays,
    ) -> None:
        self._clock = clock
        self._new_delays = new_delays
        self._condition = threading.Condition()
        # A key is due at the time in `_due`; entries of the heap that say otherwise are stale.
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._working: set[K] = set()
        self._back_off: dict[K, Iterator[float]] = {}
        self._closed = False

    @property
    def depth(self) -> int:
        """Keys that wait or are worked on."""
        with self._condition:
            return len(self._due.keys() | self._working)

    def add(self, key: K) -> None:
        """Have the key worked on soon, also when it waits for its next try."""
        with self._condition:
            self._schedule(key, self._clock())

    def retry(self, key: K) -> None:
        """Have the key worked on after its next delay, or sooner if it is added."""
        with self._condition:
            wait = next(self._back_off.setdefault(key, self._new_delays()))
            self._schedule(key, self._clock() + wait)

    def forget(self, key: K) -> None:
        """The key went well: its delays begin anew."""
        with self._condition:
            self._back_off.pop(key, None)

    def hurry(self) -> None:
        """Have every key that waits for its next try worked on soon: what kept it may be over."""
        with self._condition:
            now = self._clock()
            for key in self._back_off.keys() & self._due.keys():
                self._schedule(key, now)

    def is_retried(self, key: K) -> bool:
        """Whether the key did not go well the last time and is tried again."""
        with self._condition:
            return key in self._back_off

    def take(self) -> K | None:
        """The next due key, waiting for one; None when the queue is closed."""
        with self._condition:
            while not self._closed:
                key = self._pop_due()
                if key is not None:
                    self._working.add(key)
                    return key
                self._condition.wait(self._next_wait())
            return None

    def take_due(self) -> K | None:
        """The next key that is due now; None when there is none."""
        with self._condition:
            key = self._pop_due()
            if key is not None:
                self._working.add(key)
            return key

    def claim(self, key: K, timeout_seconds: float) -> bool:
        """Work on this very key now, due or not, when nobody else does; False when that took too long."""
        with self._condition:
            if not self._condition.wait_for(lambda: key not in self._working, timeout_seconds):
                return False
            self._due.pop(key, None)
            self._working.add(key)
            return True

    def done(self, key: K) -> None:
        """The key is not worked on any more."""
        with self._condition:
            self._working.discard(key)
            self._condition.notify_all()

    def close(self) -> None:
        """End every `take`, present and to come."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _schedule(self, key: K, when: float) -> None:
        if self._due.get(key, float("inf")) > when:
            self._due[key] = when
            heapq.heappush(self._heap, (when, next(self._order), key))
            self._condition.notify_all()

    def _pop_due(self) -> K | None:
        """The first due key that nobody works on; those that somebody does keep their place."""
        now = self._clock()
        kept = []
        found = None
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if self._due.get(entry[2]) != entry[0]:
                continue
            if entry[2] in self._working:
                kept.append(entry)
                continue
            found = entry[2]
            del self._due[found]
            break
        for entry in kept:
            heapq.heappush(self._heap, entry)
        return found

    def _next_wait(self) -> float | None:
        """Seconds until a key is due that nobody works on; `done` wakes for those that somebody does."""
        waiting = [when for key, when in self._due.items() if key not in self._working]
        return max(min(waiting) - self._clock(), 0.0) if waiting else None
