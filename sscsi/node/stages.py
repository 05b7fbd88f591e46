"""Where the time of one publish goes: seconds by stage, for the log at DEBUG and the benchmark."""

import contextlib
import time
from collections.abc import Iterator


class Stages:
    """A stopwatch with named laps; stages entered twice add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.monotonic()

    def total(self) -> float:
        """Seconds since this was made."""
        return round(time.monotonic() - self._begun, 6)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begun, 6)
