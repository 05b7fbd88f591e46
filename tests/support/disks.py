"""A disk for contract tests, in memory or real: how a test prepares and looks at what is behind an adapter."""

import os
from typing import Protocol

from sscsi.edges.file_trees import LinuxFileTrees
from sscsi.edges.linux_mounts import LinuxMounter
from sscsi.ports import FileTrees, Mounter
from tests.fakes.fake_disk import Directory, FakeDisk, File, Link
from tests.fakes.fake_mounter import FakeMounter
from tests.fakes.fake_trees import FakeTrees
from tests.support.node_place import NodePlace
from tests.support.own_mounts import own_mounts
from tests.support.volume_state import View, pod_view

# In a user namespace of one's own, root's group is the only one that there is.
SOME_GID = 1234 if own_mounts().is_root else 0


class Disk(Protocol):
    """Adapters over one disk, and the disk itself. `base` is an empty directory on it."""

    base: str
    mounter: Mounter
    trees: FileTrees

    def make_directories(self, path: str) -> None:
        """Make `path` and its parents."""

    def put_file(self, path: str, contents: bytes, mode: int = 0o644) -> None:
        """Make the file `path` anew (with another inode), and its parents."""

    def put_empty_files(self, path: str, count: int) -> None:
        """Make the directory `path` with that many empty files, named by number."""

    def put_link(self, path: str, target: str) -> None:
        """Make the symlink `path`."""

    def read(self, path: str) -> bytes | None:
        """The content of the regular file `path`; None when there is none. No link is followed."""

    def names(self, path: str) -> list[str]:
        """The names in the directory `path`, sorted."""

    def mode_and_group(self, path: str) -> tuple[int, int]:
        """Permission bits (setgid among them) and group of `path`."""

    def mounts_at(self, path: str) -> int:
        """How many mounts are stacked on `path`."""

    def view(self, path: str) -> View:
        """What a pod sees of the volume at `path`."""


class FakeDiskUnderTest:
    """Everything in memory."""

    def __init__(self) -> None:
        self.disk = FakeDisk()
        self.base = "/base"
        self.disk.make_directories(self.base)
        self.mounter: Mounter = FakeMounter(self.disk)
        self.trees: FileTrees = FakeTrees(self.disk)

    def make_directories(self, path: str) -> None:
        self.disk.make_directories(path)

    def put_file(self, path: str, contents: bytes, mode: int = 0o644) -> None:
        self.disk.put_file(path, contents, mode)

    def put_empty_files(self, path: str, count: int) -> None:
        entries = self.disk.make_directories(path).entries
        entries.update((str(number), File(b"", 0o644, 0, self.disk.new_inode())) for number in range(count))

    def put_link(self, path: str, target: str) -> None:
        parent, _, name = path.rpartition("/")
        self.disk.make_directories(parent).entries[name] = Link(target)

    def read(self, path: str) -> bytes | None:
        node = self.disk.find(path)
        return node.contents if isinstance(node, File) else None

    def names(self, path: str) -> list[str]:
        node = self.disk.find(path)
        assert isinstance(node, Directory)
        return sorted(node.entries)

    def mode_and_group(self, path: str) -> tuple[int, int]:
        node = self.disk.find(path)
        assert isinstance(node, File | Directory)
        setgid = 0o2000 if isinstance(node, Directory) and node.setgid else 0
        return node.mode | setgid, node.gid

    def mounts_at(self, path: str) -> int:
        return len(self.disk.mounts.get(path, []))

    def view(self, path: str) -> View:
        return self.disk.view(path)


class RealDisk:
    """The kernel's, below a place of the test."""

    def __init__(self, place: NodePlace) -> None:
        self._place = place
        self.base = f"{place.base}/disk"
        os.mkdir(self.base)
        self.mounter: Mounter = LinuxMounter(require_shared=False)
        self.trees: FileTrees = LinuxFileTrees()

    def make_directories(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)

    def put_file(self, path: str, contents: bytes, mode: int = 0o644) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        new = f"{path}.new" if os.path.lexists(path) else path
        with open(new, "wb") as file:
            file.write(contents)
        os.chmod(new, mode)
        os.rename(new, path)

    def put_empty_files(self, path: str, count: int) -> None:
        os.mkdir(path)
        for number in range(count):
            os.mknod(f"{path}/{number}", 0o644)

    def put_link(self, path: str, target: str) -> None:
        os.symlink(target, path)

    def read(self, path: str) -> bytes | None:
        if os.path.islink(path) or not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return file.read()

    def names(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def mode_and_group(self, path: str) -> tuple[int, int]:
        status = os.stat(path, follow_symlinks=False)
        return status.st_mode & 0o7777, status.st_gid

    def mounts_at(self, path: str) -> int:
        return len(self._place.mounts(path))

    def view(self, path: str) -> View:
        return pod_view(path)
