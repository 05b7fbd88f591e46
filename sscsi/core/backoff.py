"""Delays between tries. A generator of numbers: the loop that waits is somebody else's."""

from collections.abc import Iterator


def delays(*, first_seconds: float, factor: float, max_seconds: float) -> Iterator[float]:
    """Endless delays in seconds: `first_seconds`, then `factor` times the last one, never over `max_seconds`."""
    delay = first_seconds
    while True:
        yield min(delay, max_seconds)
        delay = min(delay * factor, max_seconds)
