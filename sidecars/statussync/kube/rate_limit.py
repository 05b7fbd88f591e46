"""A bound on requests over time: the API server is everybody's."""

import threading
import time
from collections.abc import Callable


class RateLimit:
    """A token bucket, as client-go's: `per_second` on average, `burst` at once after a rest.

    Who comes gets the next free moment, in the order of coming. Threads may share it. `clock` is monotonic, in seconds.
    """

    def __init__(self, *, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / per_second
        self._slack = (burst - 1) * self._interval
        self._clock = clock
        self._lock = threading.Lock()
        # When the next request would be due if they came evenly; the burst lets it be late by so much.
        self._next = clock() - self._slack

    def reserve(self, *, longest_seconds: float) -> float | None:
        """How many seconds to wait before the request; None, and nothing reserved, when that is over `longest_seconds`."""
        with self._lock:
            now = self._clock()
            due = max(self._next, now - self._slack)
            wait = due - now
            if wait > longest_seconds:
                return None
            self._next = due + self._interval
            return max(wait, 0.0)

    def reserve_spare(self) -> bool:
        """Whether a request may go now and leave half of the burst to others; nothing is reserved when not."""
        return self.reserve(longest_seconds=-self._slack / 2) is not None
