"""From a provider's files and a volume's present state to everything that will be written.

The layout is upstream's (reference, 4.3), so that volumes can be taken over and handed back: `..data` is a
symlink to a version directory `..YYYY_MM_DD_hh_mm_ss.RANDOM`, and each visible name in the root is a symlink
`..data/NAME`. All checks are here; what a plan says is then done without a second thought.
"""

import dataclasses
import enum
import hashlib
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sscsi.errors import ContentTooLargeError, ProviderAnswerError

DATA_LINK = "..data"
DATA_LINK_TEMPORARY = "..data_tmp"
VISIBLE_LINK_TEMPORARY = "..link_tmp"
VERSION_DIRECTORY = re.compile(r"\.\.[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]{2}_[0-9]{2}_[0-9]{2}\.[0-9]+")

# Files and directories of one version. A provider's answer has 4 MiB by default; this many names fit the
# tmpfs twice (it is mounted with four times as many inodes: links, and the old version beside the new one).
MAX_ENTRIES = 8192
# Nearly every path: a name to which no rule of check_path can apply.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}")
_MAX_PATH_BYTES = 4096
_MAX_NAME_BYTES = 255
# Trees are walked with a descriptor and a stack frame a level; upstream has no bound, and nobody needs this much.
_MAX_DEPTH = 100
_PAGE_BYTES = 4096
_MAX_MODE = 0o777
DIRECTORY_MODE = 0o755
SETGID = 0o2000


class PlannedFile(NamedTuple):
    """One file of a volume, from the provider's answer to the disk; `repr` shows no content.

    A tuple, because a volume may have hundreds: a frozen dataclass takes five times as long to make (measured).
    """

    path: str
    mode: int
    contents: bytes

    def __repr__(self) -> str:
        return f"PlannedFile(path={self.path!r}, mode={self.mode:#o}, {len(self.contents)} bytes)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What a comparison needs of a file that is there: permission bits, group, SHA-256 of the content."""

    mode: int
    gid: int
    digest: bytes


class EntryKind(enum.Enum):
    """What a name in the volume's root is."""

    LINK = "link"
    DIRECTORY = "directory"
    OTHER = "other"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RootEntry:
    """A name in the volume's root; `target` is where a link points, else empty."""

    kind: EntryKind
    target: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FilePlan:
    """Everything that a write will do, in this order; nothing but `removed` when `write` is False.

    `directories` come parents first. `links` are visible names to add before the swap, `replaced` visible
    names that stand for something else and become links right after it. `removed` are visible names that a
    provider wrote itself and no longer wants; they go before the swap, so that content which is proven has none
    of them. What the new version makes useless (`leftovers`) goes last.
    """

    write: bool
    directories: tuple[str, ...]
    files: tuple[PlannedFile, ...]
    links: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...] = ()


def check_files(files: Sequence[PlannedFile], *, limit_bytes: int) -> None:
    """Check every path and mode, and that the whole fits the volume.

    Raises ProviderAnswerError with upstream's texts (reference, 4.2; `.`, NUL, duplicates, a name that is
    file and directory at once, more than 100 levels and modes beyond 0777 are refused here too), ContentTooLargeError.
    """
    seen: set[str] = set()
    for file in files:
        if not _PLAIN_NAME.fullmatch(file.path):
            check_path(file.path)
        if file.path in seen:
            raise ProviderAnswerError(f"invalid path: must not occur twice: {file.path}")
        if not 0 <= file.mode <= _MAX_MODE:
            raise ProviderAnswerError(f"invalid mode: must be 0 to 0777: {file.path} has {file.mode:#o}")
        seen.add(file.path)
    directories = directories_of(seen)
    for path in sorted(seen.intersection(directories)):
        raise ProviderAnswerError(f"invalid path: must not be both a file and a directory: {path}")
    entries = len(seen) + len(directories)
    if entries > MAX_ENTRIES:
        raise ContentTooLargeError(
            f"the provider's answer has {entries} files and directories; a volume holds {MAX_ENTRIES}"
        )
    size = sum(-(-len(file.contents) // _PAGE_BYTES) * _PAGE_BYTES for file in files)
    if size > limit_bytes:
        raise ContentTooLargeError(
            f"the provider's answer takes {size} bytes (in pages of {_PAGE_BYTES}); --content-limit is {limit_bytes}: raise it or deliver less"
        )


def check_path(path: str) -> None:
    """Raise ProviderAnswerError unless `path` is safe below the volume's root."""
    parts = path.split("/")
    if not path:
        raise ProviderAnswerError('invalid path: must not be empty: ""')
    if "\0" in path:
        raise ProviderAnswerError("invalid path: must not contain NUL")
    if path.startswith("/"):
        raise ProviderAnswerError(f"invalid path: must be relative path: {path}")
    if len(path.encode()) > _MAX_PATH_BYTES:
        raise ProviderAnswerError("invalid path: must be less than or equal to 4096 characters")
    if ".." in parts:
        raise ProviderAnswerError(f"invalid path: must not contain '..': {path}")
    if any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        raise ProviderAnswerError("invalid path: filenames must be less than or equal to 255 characters")
    if parts[0].startswith(".."):
        raise ProviderAnswerError(f"invalid path: must not start with '..': {path}")
    if len(parts) > _MAX_DEPTH:
        raise ProviderAnswerError(f"invalid path: must be at most {_MAX_DEPTH} names deep: {path}")
    if path == "." or posixpath.normpath(path) != path:
        raise ProviderAnswerError(f'invalid filepath: "{path}"')


def directories_of(paths: Iterable[str]) -> set[str]:
    """All directories that the paths need, without the root."""
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def file_mode(mode: int, *, grouped: bool) -> int:
    """The mode of a file; in a volume with a group, the group reads where the owner does (design, section 3)."""
    return mode | ((mode & 0o400) >> 3) if grouped else mode


def directory_mode(*, grouped: bool) -> int:
    """The mode of every directory; setgid in a volume with a group, so that new entries inherit it."""
    return DIRECTORY_MODE | SETGID if grouped else DIRECTORY_MODE


def plan_files(
    files: Sequence[PlannedFile],
    *,
    current: Mapping[str, FileState] | None,
    root: Mapping[str, RootEntry],
    gid: int | None,
) -> FilePlan:
    """Decide what to write so that the volume holds exactly `files`, which `check_files` has passed.

    `current` are the files of the present version by path, None when there is none. `gid` is the volume's
    group or None. Content, mode and group count as changes; nothing is written when all agree.
    """
    wanted = tuple(files)
    if gid is not None:
        wanted = tuple(file._replace(mode=file_mode(file.mode, grouped=True)) for file in files)
    visible = {file.path.split("/", 1)[0] for file in wanted}
    links = {name for name in visible if name not in root}
    replaced = {name for name in visible if name in root and root[name] != _visible_link(name)}
    write = current is None or bool(links or replaced) or not _equal(wanted, current, gid)
    return FilePlan(
        write=write,
        directories=tuple(sorted(directories_of(file.path for file in wanted))) if write else (),
        files=wanted if write else (),
        links=tuple(sorted(links)),
        replaced=tuple(sorted(replaced)),
        removed=tuple(sorted(_foreign(root) - visible)),
    )


def visible_target(name: str) -> str:
    """Where the visible link `name` in the root points."""
    return f"{DATA_LINK}/{name}"


def is_visible(root: Mapping[str, RootEntry], tops: Iterable[str]) -> bool:
    """Whether a pod sees all of the current version: each of its top names is a link in the root.

    Not so while a provider's own files are replaced by links, which can't be one step.
    """
    return all(root.get(name) == _visible_link(name) for name in tops)


def leftovers(root: Mapping[str, RootEntry], present: Iterable[str]) -> list[str]:
    """Names in the root that an interrupted write left: temporary links, versions that are not current,
    visible links to nothing. `present` are the top names of the current version.
    """
    current = root[DATA_LINK].target if DATA_LINK in root else ""
    tops = set(present)
    found = []
    for name, entry in root.items():
        temporary = name in {DATA_LINK_TEMPORARY, VISIBLE_LINK_TEMPORARY}
        old_version = entry.kind is EntryKind.DIRECTORY and VERSION_DIRECTORY.fullmatch(name)
        dangling = entry == _visible_link(name) and name not in tops
        if name != current and (temporary or old_version or dangling):
            found.append(name)
    return sorted(found)


def _foreign(root: Mapping[str, RootEntry]) -> set[str]:
    """The visible names in the root that are no links of ours or upstream's."""
    return {
        name for name, entry in root.items() if not name.startswith("..") and entry != _visible_link(name)
    }


def _visible_link(name: str) -> RootEntry:
    return RootEntry(kind=EntryKind.LINK, target=visible_target(name))


def _equal(wanted: Sequence[PlannedFile], current: Mapping[str, FileState], gid: int | None) -> bool:
    if len(wanted) != len(current):
        return False
    for file in wanted:
        state = current.get(file.path)
        if state is None or state.mode != file.mode or (gid is not None and state.gid != gid):
            return False
        if state.digest != hashlib.sha256(file.contents).digest():
            return False
    return True
