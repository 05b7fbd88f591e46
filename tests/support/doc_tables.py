"""Tables of docs/*.md as data."""

import os
import re

from tests.support.checkout import ROOT


def page(name: str) -> str:
    """The text of a page in docs/."""
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as file:
        return file.read()


def table(name: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of page `name`, without its head."""
    _, found, rest = f"\n{page(name)}".partition(f"\n{heading}\n")
    assert found, f"{name} has no {heading}"
    section = re.split(r"\n#+ ", rest)[0]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert lines, f"{heading} has no table"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()[2:]]


def quoted(cell: str) -> str:
    """What a cell quotes: one text between backticks, and nothing else."""
    match = re.fullmatch("`([^`]+)`", cell)
    assert match, f"no quotation: {cell}"
    return match[1]
