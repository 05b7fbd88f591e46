"""A disk in memory, with directories, files, links and stacked mounts: what FakeMounter and FakeTrees share."""

import dataclasses
import itertools
from collections.abc import Iterator

_PAGE_BYTES = 4096


@dataclasses.dataclass(eq=False)
class File:
    """A regular file."""

    contents: bytes
    mode: int
    gid: int
    inode: int


@dataclasses.dataclass(eq=False)
class Link:
    """A symbolic link."""

    target: str


@dataclasses.dataclass(eq=False)
class Directory:
    """A directory; `setgid` hands its group on to what is made in it."""

    mode: int
    gid: int = 0
    setgid: bool = False
    entries: "dict[str, Node]" = dataclasses.field(default_factory=dict)


Node = File | Link | Directory


@dataclasses.dataclass(eq=False)
class FileSystem:
    """A mounted file system; no size is no limit."""

    device: int
    mount_id: int
    kind: str
    root: Directory
    size_bytes: int | None = None
    max_inodes: int = 0

    def used_bytes(self) -> int:
        return sum(
            -(-len(node.contents) // _PAGE_BYTES) * _PAGE_BYTES
            for node in self.nodes()
            if isinstance(node, File)
        )

    def used_inodes(self) -> int:
        return sum(1 for _ in self.nodes())

    def nodes(self) -> Iterator[Node]:
        return _below(self.root)


class FakeDisk:
    """The tree of all paths. Paths are absolute and clean; no link is followed but where a method says so."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.mounts: dict[str, list[FileSystem]] = {"/": [self._new("disk", Directory(0o755))]}

    def mount(self, path: str, kind: str = "tmpfs", root: Directory | None = None) -> FileSystem:
        """Mount a new file system on the directory at `path`, over what is mounted there."""
        if not isinstance(self.find(path), Directory):
            raise NotADirectoryError(path)
        mounted = self._new(kind, root or Directory(0o1777))
        self.mounts.setdefault(path, []).append(mounted)
        return mounted

    def unmount(self, path: str) -> None:
        """Take the top mount at `path` off, with all mounts in it."""
        self.mounts[path].pop()
        for other in [other for other in self.mounts if other.startswith(path + "/")]:
            del self.mounts[other]
        if not self.mounts[path]:
            del self.mounts[path]

    def is_mount_point(self, path: str) -> bool:
        return path in self.mounts

    def file_system(self, path: str) -> FileSystem:
        """The file system that `path` is on: its own when something is mounted there."""
        while path not in self.mounts:
            path = path.rpartition("/")[0] or "/"
        return self.mounts[path][-1]

    def find(self, path: str) -> Node | None:
        """What is at `path`, mounts included; None when there is nothing."""
        if path in self.mounts:
            return self.mounts[path][-1].root
        parent, _, name = path.rpartition("/")
        directory = self.find(parent or "/")
        return directory.entries.get(name) if isinstance(directory, Directory) else None

    def make_directories(self, path: str, mode: int = 0o750) -> Directory:
        """Make `path` with its parents; what is there stays."""
        found = self.find(path)
        if found is None:
            parent, _, name = path.rpartition("/")
            found = self.make_directories(parent or "/", mode).entries[name] = Directory(mode)
        if not isinstance(found, Directory):
            raise NotADirectoryError(path)
        return found

    def put_file(self, path: str, contents: bytes, mode: int = 0o644) -> File:
        """Make the file `path` anew, and its parents."""
        parent, _, name = path.rpartition("/")
        directory = self.make_directories(parent or "/", 0o755)
        file = File(contents, mode, directory.gid if directory.setgid else 0, self.new_inode())
        directory.entries[name] = file
        return file

    def remove(self, path: str) -> None:
        """Remove what is at `path`, with all below."""
        parent, _, name = path.rpartition("/")
        directory = self.find(parent or "/")
        assert isinstance(directory, Directory)
        del directory.entries[name]

    def view(self, target_path: str) -> dict[str, tuple[int, bytes]]:
        """The files that a pod sees at `target_path`, links to `..data` followed: (mode, content) by path."""
        root = self.find(target_path)
        assert isinstance(root, Directory)
        found: dict[str, tuple[int, bytes]] = {}
        for name, node in root.entries.items():
            if not name.startswith(".."):
                _view(_follow(root, node), name, found)
        return found

    def new_inode(self) -> int:
        return next(self._numbers)

    def _new(self, kind: str, root: Directory) -> FileSystem:
        return FileSystem(next(self._numbers), next(self._numbers), kind, root)


def _follow(root: Directory, node: Node | None) -> Node | None:
    while isinstance(node, Link):
        current: Node | None = root
        for part in node.target.split("/"):
            current = _follow(root, current.entries.get(part)) if isinstance(current, Directory) else None
        node = current
    return node


def _view(node: Node | None, path: str, found: dict[str, tuple[int, bytes]]) -> None:
    if isinstance(node, File):
        found[path] = (node.mode, node.contents)
    elif isinstance(node, Directory):
        for name, below in node.entries.items():
            _view(below, f"{path}/{name}", found)


def _below(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Directory):
        for entry in node.entries.values():
            yield from _below(entry)
