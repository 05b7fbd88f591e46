"""Globs over a directory tree: `*`, `?` and `[...]` within a name, `**` for any number of directories.

As shells have it: names that start with a dot match only a part that spells the dot, so Kubernetes' `..data`
directories stay out of sight, and `**` enters no linked directory, so no file is found twice. What is found is
everything but directories; whether it can be delivered is said when it is read.
"""

import fnmatch
import posixpath
from collections.abc import Callable, Iterable, Sequence

from sscsi.core.object_spec import fixed_directory, is_glob
from sscsi.edges.rooted_files import DirectoryEntry
from sscsi.errors import ObjectError

# Names that one glob may look at: a `**` over a large tree must not occupy the provider.
MAX_NAMES = 10_000

ListDirectory = Callable[[str], Sequence[DirectoryEntry]]


def expand(pattern: str, list_directory: ListDirectory) -> list[str]:
    """The paths that match, sorted.

    Raises ObjectError when too many names had to be looked at, or when the directory that the pattern spells
    without a wildcard is not there.
    """
    tree = _Tree(pattern, list_directory)
    fixed = fixed_directory(pattern)
    *parents, last = pattern.removeprefix(fixed).split("/")
    directories = [fixed.rstrip("/")]
    for part in parents:
        directories = tree.enter(directories, part)
    if last == "**":
        directories, last = tree.enter(directories, "**"), "*"
    return sorted(
        posixpath.join(directory, entry.name)
        for directory in directories
        for entry in tree.matching(directory, last)
        if not entry.is_directory
    )


class _Tree:
    """Lists each directory once, and counts the names."""

    def __init__(self, pattern: str, list_directory: ListDirectory) -> None:
        self._pattern = pattern
        self._list_directory = list_directory
        self._listed: dict[str, Sequence[DirectoryEntry]] = {}
        self._names_left = MAX_NAMES

    def enter(self, directories: Iterable[str], part: str) -> list[str]:
        """The directories that one part of the pattern leads to."""
        if part == "**":
            return list(
                dict.fromkeys(below for directory in directories for below in self._all_below(directory))
            )
        return [
            posixpath.join(directory, entry.name)
            for directory in directories
            for entry in self.matching(directory, part)
            if entry.is_directory
        ]

    def matching(self, directory: str, part: str) -> list[DirectoryEntry]:
        return [entry for entry in self._list(directory) if _matches(entry.name, part)]

    def _all_below(self, directory: str) -> list[str]:
        found = [directory]
        # The list grows while it is read: every directory found is looked into, itself included.
        for here in found:
            found += [
                posixpath.join(here, entry.name)
                for entry in self._list(here)
                if entry.is_directory and not entry.is_link and not entry.name.startswith(".")
            ]
        return found

    def _list(self, directory: str) -> Sequence[DirectoryEntry]:
        if directory not in self._listed:
            entries = self._list_directory(directory)
            self._names_left -= len(entries)
            if self._names_left < 0:
                raise ObjectError(
                    f"{self._pattern!r} has to look at more than {MAX_NAMES} names; make it narrower"
                )
            self._listed[directory] = entries
        return self._listed[directory]


def _matches(name: str, part: str) -> bool:
    if not is_glob(part):
        return name == part
    if name.startswith(".") and not part.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, part)
