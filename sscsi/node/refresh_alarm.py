"""What wakes the refresh clock: the time that it set itself, or something that comes before."""

import threading
from collections.abc import Callable


class RefreshAlarm:
    """One sleeper's. Its user has the lock of `condition` at each call; times are of `clock`, in seconds."""

    def __init__(self, condition: threading.Condition, clock: Callable[[], float]) -> None:
        self._condition = condition
        self._clock = clock
        self._is_rung = False
        # None while the sleeper is awake.
        self._sleeps_until: float | None = None

    @property
    def is_asleep(self) -> bool:
        return self._sleeps_until is not None

    def sleep(self, *, until: float) -> None:
        """Sleep, or not at all when it rang since the last sleep."""
        if not self._is_rung:
            self._sleeps_until = until
            self._condition.wait(max(until - self._clock(), 0.0))
            self._sleeps_until = None
        self._is_rung = False

    def set(self, at: float) -> None:
        """Something is to be done at that time: ring if it is too early for the sleeper, or past for one who is awake,
        who sees by himself what comes later.
        """
        if at <= (self._clock() if self._sleeps_until is None else self._sleeps_until):
            self.ring()

    def ring(self) -> None:
        """End the sleep, or the next one."""
        self._is_rung = True
        self._condition.notify_all()
