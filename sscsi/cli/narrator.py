"""What the demonstration says: numbered steps, sentences, indented blocks. Plain text, 100 columns."""

import sys
import textwrap
from collections.abc import Iterable

_WIDTH = 100


class Narrator:
    """Prints to stdout, each line at once, so that a pipe shows how far it is."""

    def __init__(self) -> None:
        self._steps = 0

    def tell(self, text: str) -> None:
        """A sentence about the whole, set off from the steps before it."""
        if self._steps:
            self._print("")
        for line in textwrap.wrap(text, width=_WIDTH, break_long_words=False, break_on_hyphens=False):
            self._print(line)

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self._print(f"\n{self._steps}. {title}")

    def say(self, text: str) -> None:
        """A sentence about the step."""
        for line in textwrap.wrap(text, width=_WIDTH, break_long_words=False, break_on_hyphens=False):
            self._print("   " + line)

    def show(self, lines: Iterable[str]) -> None:
        """Output of the machine, as it is."""
        for line in lines:
            self._print("       " + line)

    def _print(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
