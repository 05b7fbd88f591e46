"""A clock that stands until it is moved, for parts that take one."""


class HandClock:
    """Seconds, from an hour on: parts that think of zero as never are not misled."""

    def __init__(self) -> None:
        self._now = 3600.0

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
