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
    root, current = tree.read_root(), current_version(tree)
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
    if root:
        tidy_quietly(tree)
    if current_version(tree) != version:
        raise ContentNotProvenError(f"{DATA_LINK} does not name the version that was just written")
    return Content(data_directory=version, files=())


def accept_written_by_provider(tree: VolumeTree, provider: str) -> Content:
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
    if tree.group is not None:
        tree.grant_group_read(files)
    return Content(data_directory="", files=files)


def tidy(tree: VolumeTree, root: dict[str, RootEntry], current: str) -> None:
    """Remove what interrupted writes and older versions left."""
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
    _remove_all(tree, plan.removed)
    _place_link(tree, DATA_LINK_TEMPORARY, version, DATA_LINK, root)
    for name in plan.replaced:
        if root[name].kind is EntryKind.DIRECTORY:
            tree.remove(name)
        _place_link(tree, VISIBLE_LINK_TEMPORARY, visible_target(name), name, root)


def _remove_all(tree: VolumeTree, names: Sequence[str]) -> None:
    for name in names:
        tree.remove(name)


def _place_link(tree: VolumeTree, temporary: str, target: str, name: str, root: dict[str, RootEntry]) -> None:
    """Make `name` a link to `target`, in place of whatever file or link it was, atomically."""
    if temporary in root:
        tree.remove(temporary)
    tree.add_link(temporary, target)
    tree.rename(temporary, name)


def _version_name() -> str:
    """A name as upstream's: UTC time to the second, then random digits."""
    return time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime()) + str(secrets.randbelow(_RANDOM_DIGITS))
