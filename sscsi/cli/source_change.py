"""Changing a secret at its source, so that a rotation has something to find."""

import dataclasses
import os
from collections.abc import Iterator, Mapping

_MARK = b"\n(changed by sscsi demo)\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceChange:
    """A file of the playground's secrets and what shall be in it. `repr` shows no content."""

    path: str
    content: bytes = dataclasses.field(repr=False)

    def apply(self) -> None:
        """Replace the file, whole or not at all, as somebody who rotates a secret should."""
        temporary = f"{self.path}.new"
        with open(temporary, "wb") as file:
            file.write(self.content)
        os.replace(temporary, self.path)


def from_directory(changes: str, secrets: str) -> list[SourceChange]:
    """One change for each file below `changes`: it replaces the one at the same place below `secrets`."""
    return [
        SourceChange(path=os.path.join(secrets, os.path.relpath(path, changes)), content=_read(path))
        for path in _files(changes)
    ]


def for_content(contents: Mapping[str, bytes], secrets: str) -> list[SourceChange]:
    """A line more in the first file below `secrets` that a volume with `contents` shows unchanged.

    Empty when there is none: all files of the volume are made from parts of others.
    """
    shown = set(contents.values())
    for path in _files(secrets):
        if os.path.isfile(path) and not os.path.islink(path) and (content := _read(path)) in shown:
            return [SourceChange(path=path, content=content + _MARK)]
    return []


def _files(root: str) -> Iterator[str]:
    for directory, directories, names in os.walk(root):
        directories.sort()
        yield from (os.path.join(directory, name) for name in sorted(names))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
