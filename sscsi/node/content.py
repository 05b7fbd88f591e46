"""The content of one volume: is it proven, and writing a new version of it."""

import dataclasses
import logging
import secrets
import time
from collections.abc import Sequence

from sscsi.core import log_keys
from sscsi.core.file_plan import (
    DATA_LINK,
    DATA_LINK_TEMPORARY,
    VISIBLE_LINK_TEMPORARY,
    EntryKind,
    FilePlan,
    PlannedFile,
    RootEntry,
    directory_mode,
    is_visible,
    leftovers,
    plan_files,
    visible_target,
)
from sscsi.core.volume_record import ContentFile, VolumeRecord
from sscsi.errors import ContentNotProvenError, SscsiError
from sscsi.ports import VolumeTree

log = logging.getLogger(__name__)

_RANDOM_DIGITS = 10**10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Proven content: the name of the version directory, or the files that a provider wrote itself."""

    data_directory: str
    files: tuple[ContentFile, ...]


def look_content(tree: VolumeTree, record: VolumeRecord | None) -> Content | None:
    """The content if it is proven (design P1), else None.

    `..data` naming a directory with something in it is whole by construction: upstream and we swap the link
    only when all below is written; its names in the root must be there. Files that a provider wrote are proven
    by the record alone, which was written after the provider's answer: each must still be that file.
    """
    data_directory = _visible_version(tree)
    if data_directory:
        return Content(data_directory=data_directory, files=())
    if record is None or not record.files:
        return None
    present = set(tree.list_files())
    return Content(data_directory="", files=record.files) if present.issuperset(record.files) else None


def current_version(tree: VolumeTree) -> str:
    """The name of the version directory that `..data` names, if that holds anything; else empty."""
    name = tree.read_data_link()
    if "/" in name or not name.startswith("..") or name == "..":
        return ""
    return name if tree.list_directory(name) else ""


def _visible_version(tree: VolumeTree) -> str:
    """As `current_version`, if a pod sees all of it; else empty."""
    name = current_version(tree)
    return name if name and is_visible(tree.read_root(), tree.list_directory(name)) else ""


def write_files(tree: VolumeTree, files: tuple[PlannedFile, ...], gid: int | None) -> Content:
    """Make the volume hold exactly `files` (already checked), by one swap of `..data`."""
    if gid is not None and tree.group != gid:
        tree.set_group(gid)
    root = tree.read_root()
    current = current_version(tree) if root else ""
    plan = plan_files(
        files, current=tree.read_version(current) if current else None, root=root, gid=tree.group
    )
    if not plan.write:
        _remove_all(tree, plan.removed)
        tidy(tree, root, current)
        return Content(data_directory=current, files=())
    version = _version_name()
    try:
        _write_version(tree, plan, version, root)
    except SscsiError:
        tidy_quietly(tree)
        raise
    if current_version(tree) != version:
        raise ContentNotProvenError(f"{DATA_LINK} does not name the version that was just written")
    if root:
        tidy_quietly(tree)
    return Content(data_directory=version, files=())


def accept_written_by_provider(tree: VolumeTree, provider: str, gid: int | None) -> Content:
    """The content after an answer without files: what the provider wrote itself, or what was there before.

    Raises ContentNotProvenError when there is nothing.
    """
    current = _visible_version(tree)
    if current:
        return Content(data_directory=current, files=())
    files = tree.list_files()
    if not files:
        raise ContentNotProvenError(
            f"provider {provider!r} answered without files and wrote none to the target path itself"
        )
    if gid is not None and tree.group != gid:
        tree.set_group(gid)
    if tree.group is not None:
        tree.grant_group_read(files)
    return Content(data_directory="", files=files)


def rewritten_files(tree: VolumeTree, files: Sequence[ContentFile]) -> tuple[ContentFile, ...] | None:
    """Files that a provider wrote, as they are after a call of it that failed half-way; None when one is gone.

    Such a call leaves new files beside old ones, each whole: a running pod keeps them, and the next call goes on.
    """
    present = {file.path: file for file in tree.list_files()}
    return (
        tuple(present[file.path] for file in files) if all(file.path in present for file in files) else None
    )


def tidy(tree: VolumeTree, root: dict[str, RootEntry], current: str) -> None:
    """Remove what interrupted writes and older versions left; nothing where no version is known to be the current."""
    if DATA_LINK in root and not current:
        return
    for name in leftovers(root, tree.list_directory(current) if current else ()):
        tree.remove(name)


def tidy_quietly(tree: VolumeTree) -> None:
    """As `tidy`, where what was asked for is done or failed already: leftovers wait for the next pass."""
    try:
        tidy(tree, tree.read_root(), current_version(tree))
    except SscsiError as error:
        log.warning("leftovers of a write remain in a volume", extra={log_keys.ERROR: str(error)})


def _write_version(tree: VolumeTree, plan: FilePlan, version: str, root: dict[str, RootEntry]) -> None:
    mode = directory_mode(grouped=tree.group is not None)
    tree.make_version(version, mode)
    for directory in plan.directories:
        tree.make_directory(version, directory, mode)
    for file in plan.files:
        tree.write_file(version, file)
    for name in plan.links:
        tree.add_link(name, visible_target(name))
    if DATA_LINK_TEMPORARY in root:
        tree.remove(DATA_LINK_TEMPORARY)
    tree.add_link(DATA_LINK_TEMPORARY, version)
    # From here on nothing needs room in the volume: what is removed is not missed by a failure.
    _remove_all(tree, plan.removed)
    tree.rename(DATA_LINK_TEMPORARY, DATA_LINK)
    for name in plan.replaced:
        if root[name].kind is EntryKind.DIRECTORY:
            tree.remove(name)
        if VISIBLE_LINK_TEMPORARY in root:
            tree.remove(VISIBLE_LINK_TEMPORARY)
        tree.add_link(VISIBLE_LINK_TEMPORARY, visible_target(name))
        tree.rename(VISIBLE_LINK_TEMPORARY, name)


def _remove_all(tree: VolumeTree, names: Sequence[str]) -> None:
    for name in names:
        tree.remove(name)


def _version_name() -> str:
    """A name as upstream's: UTC time to the second, then random digits."""
    return time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime()) + str(secrets.randbelow(_RANDOM_DIGITS))
