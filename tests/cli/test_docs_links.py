"""Every page of the docs can be found, and every link between them leads somewhere."""

import os
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.checkout import ROOT
from tests.support.doc_tables import page

KINDS = ("Tutorial", "How-to", "Reference", "Explanation")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def pages() -> Iterator[str]:
    """Every Markdown file of the checkout, by its path in there."""
    for directory, below, names in os.walk(ROOT):
        # Installed packages, build results and caches have files of their own.
        below[:] = [name for name in below if not name.startswith(".") and name not in {"build", "dist"}]
        yield from (
            os.path.relpath(os.path.join(directory, name), ROOT) for name in names if name.endswith(".md")
        )


def text(path: str) -> str:
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def anchors(path: str) -> set[str]:
    """As GitHub makes them of headings: the second of two equal ones has a number."""
    found: set[str] = set()
    count: Counter[str] = Counter()
    for heading in _HEADING.findall(re.sub(r"^```.*?^```$", "", text(path), flags=re.MULTILINE | re.DOTALL)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{count[slug]}" if count[slug] else slug)
        count[slug] += 1
    return found


def links() -> list[tuple[str, str]]:
    return [
        (path, link)
        for path in pages()
        for link in _LINK.findall(_CODE.sub("", text(path)))
        if not re.match(r"[a-z]+:", link)
    ]


@pytest.mark.parametrize(("path", "link"), sorted(set(links())))
def test_a_link_leads_to_a_file_and_a_heading(path: str, link: str) -> None:
    target, _, anchor = link.partition("#")
    wanted = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
    assert os.path.exists(os.path.join(ROOT, wanted)), "there is no such file"
    if anchor:
        assert anchor in anchors(wanted), "there is no such heading"


def test_the_index_has_every_page_once_under_one_kind() -> None:
    sections = re.split(r"^## ", page("README.md"), flags=re.MULTILINE)[1:]
    assert [section.partition("\n")[0] for section in sections] == list(KINDS)
    listed = [
        link for section in sections for link in re.findall(r"^- \[.*?\]\(([^)]+)\)", section, re.MULTILINE)
    ]
    there = [os.path.basename(path) for path in pages() if os.path.dirname(path) == "docs"]
    assert sorted(listed) == sorted(set(there) - {"README.md"})


def test_the_readme_leads_to_the_index() -> None:
    assert "(docs/README.md)" in text("README.md")
