"""The FileTrees port on a disk in memory."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Self

from sscsi.core.file_plan import DATA_LINK, EntryKind, FileState, PlannedFile, RootEntry, file_mode
from sscsi.core.volume_record import ContentFile
from sscsi.errors import ContentTooLargeError, SscsiError, TargetPathError
from sscsi.ports import Usage
from tests.fakes.fake_disk import Directory, FakeDisk, File, FileSystem, Link, Node

_MAX_LISTED_FILES = 8192


class FakeVolumeTree:
    """The VolumeTree port. It keeps the root it was opened with, whatever happens to the path."""

    def __init__(self, disk: FakeDisk, path: str, root: Directory, failures: dict[str, SscsiError]) -> None:
        self._disk = disk
        self._path = path
        self._root = root
        self._file_system = disk.file_system(path)
        self._failures = failures
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        assert not self._closed, "a tree is closed once"
        self._closed = True

    @property
    def device(self) -> int:
        return self._file_system.device

    @property
    def group(self) -> int | None:
        return self._root.gid if self._root.setgid else None

    def read_root(self) -> dict[str, RootEntry]:
        self._begin("read_root")
        return {name: _root_entry(node) for name, node in self._root.entries.items()}

    def read_data_link(self) -> str:
        self._begin("read_data_link")
        link = self._root.entries.get(DATA_LINK)
        return link.target if isinstance(link, Link) else ""

    def list_directory(self, name: str) -> list[str]:
        self._begin("list_directory")
        directory = self._root.entries.get(name)
        return list(directory.entries) if isinstance(directory, Directory) else []

    def read_version(self, name: str) -> dict[str, FileState]:
        self._begin("read_version")
        return {
            path: FileState(mode=file.mode, gid=file.gid, digest=hashlib.sha256(file.contents).digest())
            for path, file in _files(self._version(name))
        }

    def list_files(self) -> tuple[ContentFile, ...]:
        self._begin("list_files")
        found = [
            ContentFile(path=path, size=len(file.contents), inode=file.inode)
            for path, file in _files(self._root)
            if not path.startswith("..")
        ]
        if len(found) > _MAX_LISTED_FILES:
            raise ContentTooLargeError(
                f"the provider wrote more than {_MAX_LISTED_FILES} files to {self._path}"
            )
        return tuple(sorted(found, key=lambda file: file.path))

    def set_group(self, gid: int) -> None:
        self._begin("set_group")
        self._root.gid, self._root.setgid, self._root.mode = gid, True, 0o755

    def grant_group_read(self, files: Sequence[ContentFile]) -> None:
        self._begin("grant_group_read")
        wanted = {file.path for file in files}
        for path, file in _files(self._root):
            if path in wanted:
                file.gid, file.mode = self._root.gid, file_mode(file.mode, grouped=True)

    def make_version(self, name: str, mode: int) -> None:
        self._begin("make_version")
        self._make(self._root, name, mode)

    def make_directory(self, version: str, path: str, mode: int) -> None:
        self._begin("make_directory")
        parent, _, name = path.rpartition("/")
        self._make(self._below(version, parent), name, mode)

    def write_file(self, version: str, file: PlannedFile) -> None:
        self._begin("write_file")
        parent, _, name = file.path.rpartition("/")
        directory = self._below(version, parent)
        if name in directory.entries:
            raise TargetPathError(f"cannot write {file.path!r} in {self._path}: EEXIST")
        gid = directory.gid if directory.setgid else 0
        directory.entries[name] = File(file.contents, file.mode, gid, self._disk.new_inode())
        limit = self._file_system.size_bytes
        if limit is not None and self._file_system.used_bytes() > limit:
            raise ContentTooLargeError(
                f"volume {self._path} is full; --content-limit sets its size: raise it or deliver less"
            )

    def add_link(self, name: str, target: str) -> None:
        self._begin("add_link")
        if name in self._root.entries:
            raise TargetPathError(f"cannot link {name!r} in {self._path}: EEXIST")
        self._root.entries[name] = Link(target)

    def rename(self, name: str, new_name: str) -> None:
        self._begin("rename")
        entries = self._root.entries
        if name not in entries:
            raise TargetPathError(f"cannot rename {name!r} in {self._path}: ENOENT")
        if isinstance(entries.get(new_name), Directory):
            raise TargetPathError(f"cannot rename {name!r} in {self._path}: EISDIR")
        entries[new_name] = entries.pop(name)

    def remove(self, name: str) -> None:
        self._begin("remove")
        self._root.entries.pop(name, None)

    def _begin(self, method: str) -> None:
        assert not self._closed, "a closed tree is not used"
        if method in self._failures:
            raise self._failures[method]

    def _version(self, name: str) -> Directory:
        version = self._root.entries.get(name)
        if not isinstance(version, Directory):
            raise TargetPathError(f"cannot read {name!r} in {self._path}: ENOENT")
        return version

    def _below(self, version: str, path: str) -> Directory:
        directory: Node = self._version(version)
        for part in filter(None, path.split("/")):
            found = directory.entries.get(part) if isinstance(directory, Directory) else None
            if found is None:
                raise TargetPathError(f"cannot write {path!r} in {self._path}: ENOENT")
            directory = found
        if not isinstance(directory, Directory):
            raise TargetPathError(f"cannot write {path!r} in {self._path}: ENOTDIR")
        return directory

    def _make(self, parent: Directory, name: str, mode: int) -> None:
        if name in parent.entries:
            raise TargetPathError(f"cannot make {name!r} in {self._path}: EEXIST")
        parent.entries[name] = Directory(
            mode & 0o777, gid=parent.gid if parent.setgid else 0, setgid=bool(mode & 0o2000)
        )


class FakeTrees:
    """`failures` are errors to raise, by the name of a method of the port or of a tree, until taken out."""

    def __init__(self, disk: FakeDisk) -> None:
        self._disk = disk
        self.failures: dict[str, SscsiError] = {}

    def open(self, path: str) -> FakeVolumeTree:
        if "open" in self.failures:
            raise self.failures["open"]
        return FakeVolumeTree(self._disk, path, self._directory("open target path", path), self.failures)

    def empty_plain_directory(self, path: str) -> None:
        if "empty_plain_directory" in self.failures:
            raise self.failures["empty_plain_directory"]
        if self._disk.find(path) is None:
            return
        directory = self._directory("empty directory", path)
        if any(other.startswith(path + "/") for other in self._disk.mounts):
            raise TargetPathError(f"cannot empty directory {path}: EXDEV")
        directory.entries.clear()

    def usage(self, path: str) -> Usage:
        if self._disk.find(path) is None:
            raise TargetPathError(f"cannot read the usage of {path}: ENOENT")
        file_system: FileSystem = self._disk.file_system(path)
        total, used = file_system.size_bytes or 2**40, file_system.used_bytes()
        inodes, used_inodes = file_system.max_inodes or 2**20, file_system.used_inodes()
        return Usage(
            total_bytes=total,
            available_bytes=total - used,
            used_bytes=used,
            total_inodes=inodes,
            available_inodes=inodes - used_inodes,
            used_inodes=used_inodes,
        )

    def _directory(self, what: str, path: str) -> Directory:
        node = self._disk.find(path)
        if not isinstance(node, Directory):
            raise TargetPathError(f"cannot {what} {path}: {'ENOENT' if node is None else 'ENOTDIR'}")
        return node


def _root_entry(node: Node) -> RootEntry:
    if isinstance(node, Link):
        return RootEntry(kind=EntryKind.LINK, target=node.target)
    kind = EntryKind.DIRECTORY if isinstance(node, Directory) else EntryKind.OTHER
    return RootEntry(kind=kind, target="")


def _files(directory: Directory, prefix: str = "") -> Iterator[tuple[str, File]]:
    for name, node in directory.entries.items():
        if isinstance(node, File):
            yield prefix + name, node
        elif isinstance(node, Directory):
            yield from _files(node, f"{prefix}{name}/")
