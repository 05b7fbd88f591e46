"""Lines of text for a screen that is 100 columns wide: wrapped, cut, indented, and harmless to a terminal."""

import textwrap
from collections.abc import Iterator

WIDTH = 100
# Of several long texts the first ones have so many lines, as an error may have a kilobyte; each further one has one.
DETAILED = 3
_LINES = 3


def wrap(lead: str, text: str, *, rank: int | None = None) -> list[str]:
    """The text after `lead`, in as many lines as it takes; with `rank`, its place in a list, in as many as that has."""
    lines = None if rank is None else _LINES if rank < DETAILED else 1
    return textwrap.wrap(
        text,
        width=WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        max_lines=lines,
        placeholder=" ...",
        break_on_hyphens=False,
    ) or [lead.rstrip()]


def cut(line: str) -> str:
    """One line that fits."""
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def plain(line: str) -> str:
    """Nothing that a terminal would act on, whoever wrote the text."""
    return "".join(character if character.isprintable() else "?" for character in line)


def section(lines: Iterator[str]) -> list[str]:
    """The lines, after an empty one; nothing when there are none."""
    found = list(lines)
    return ["", *found] if found else []
