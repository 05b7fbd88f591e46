"""docs/troubleshooting.md and docs/kubernetes.md quote texts: the code says each of them."""

import re

import pytest

from sscsi.core import failure_reason, pod_event
from tests.support import error_texts
from tests.support.doc_tables import page, table

PAGE = page("troubleshooting.md")
KUBERNETES = ("## What is amiss with the installation", "## When it does not work")
WORDS = {*failure_reason.REASONS, *(value for name, value in vars(pod_event).items() if name.isupper())}


def first_cells() -> list[str]:
    return [line.split(" | ")[0].removeprefix("| ") for line in PAGE.splitlines() if line.startswith("| ")]


def quotations() -> list[str]:
    """What the first cells quote of this driver; commands are none."""
    cells = first_cells() + [row[0] for heading in KUBERNETES for row in table("kubernetes.md", heading)]
    found = [text for cell in cells for text in re.findall("`([^`]+)`", cell)]
    return sorted({text for text in found if not text.startswith("sscsi ")})


def test_there_are_quotations_in_every_part() -> None:
    assert len(quotations()) > 60
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert all(re.search(r"^\| you (read|see) \| why \| do \|$", part, re.MULTILINE) for part in parts)


@pytest.mark.parametrize("text", quotations())
def test_the_code_says_it(text: str) -> None:
    assert text in WORDS or error_texts.quoting(text), "no program says so"


@pytest.mark.parametrize("reason", [value for name, value in vars(pod_event).items() if name.isupper()])
def test_every_event_is_looked_up_here(reason: str) -> None:
    assert f"`{reason}`" in PAGE
