"""Slow crash loops: five exits of one program in two minutes count as FATAL (design, section 1).

supervisord gives a program up (FATAL) only when it keeps ending within `startsecs`; one that ends a little later is
started again at once, for ever. Who sees the exits decides by these rules: `sscsi run`, which holds supervisord, or
the watchdog room under a stock one.
"""

import collections

# Without these two there are no mounts: when one is FATAL or loops, the container ends, and kubelet starts it anew.
CRITICAL_PROGRAMS = frozenset({"node", "registrar"})

EXIT_LIMIT = 5
WINDOW_SECONDS = 120.0


class CrashLoops:
    """The exits of each program in the last `window_seconds`.

    Times are seconds of one clock that never goes back (time.monotonic), given in the order of the exits. An exit
    that was asked for (supervisord's STOPPED) is none.
    """

    def __init__(self, *, limit: int = EXIT_LIMIT, window_seconds: float = WINDOW_SECONDS) -> None:
        self._limit = limit
        self._window_seconds = window_seconds
        self._exits: dict[str, collections.deque[float]] = {}

    def exited(self, program: str, at_seconds: float) -> bool:
        """Note an exit. True when it is at least the limit-th in the window: the program loops."""
        times = self._exits.setdefault(program, collections.deque())
        times.append(at_seconds)
        while times[0] < at_seconds - self._window_seconds:
            times.popleft()
        return len(times) >= self._limit

    def exits(self, program: str, at_seconds: float) -> int:
        """How many exits there were in the window that ends at `at_seconds`."""
        return sum(time >= at_seconds - self._window_seconds for time in self._exits.get(program, ()))
