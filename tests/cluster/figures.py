"""How long things took, printed with the test that measured them."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator


@dataclasses.dataclass(slots=True)
class Figures:
    """Lines for the reader; what is promised is asserted by the tests."""

    lines: list[str] = dataclasses.field(default_factory=list)

    def add(self, what: str, seconds: float) -> None:
        self.lines.append(f"{what}: {seconds:.2f} s")

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add how long the block took."""
        begun = time.monotonic()
        yield
        self.add(what, time.monotonic() - begun)
