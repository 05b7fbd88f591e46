"""The Mounter port on a disk in memory: mounts stack as Linux stacks them."""

from sscsi.errors import MountError, PropagationError, SscsiError, TargetPathError
from sscsi.ports import ABSENT, PathState
from tests.fakes.fake_disk import Directory, FakeDisk, Node


class FakeMounter:
    """`failures` are errors to raise, by the name of the method, until taken out; `private` mounts reach no host."""

    def __init__(self, disk: FakeDisk) -> None:
        self._disk = disk
        self.failures: dict[str, SscsiError] = {}
        self.private = False

    def look(self, path: str) -> PathState:
        self._fail("look")
        node = self._disk.find(path)
        if node is None:
            return ABSENT
        file_system = self._disk.file_system(path)
        is_mount_point = self._disk.is_mount_point(path)
        return PathState(
            exists=True,
            is_directory=isinstance(node, Directory),
            is_mount_point=is_mount_point,
            is_tmpfs=is_mount_point and file_system.kind == "tmpfs",
            mount_id=file_system.mount_id,
            device=file_system.device,
        )

    def make_directory(self, path: str) -> None:
        self._fail("make_directory")
        if self._disk.find(path) is not None:
            return
        try:
            self._disk.make_directories(path)
        except NotADirectoryError:
            raise TargetPathError(f"failed to create target path {path}, err: ENOTDIR") from None

    def remove_directory(self, path: str) -> None:
        self._fail("remove_directory")
        node = self._disk.find(path)
        if node is None:
            return
        reason = self._why_not_removable(path, node)
        if reason:
            raise TargetPathError(f"cannot remove directory {path}: {reason}")
        self._disk.remove(path)

    def _why_not_removable(self, path: str, node: Node) -> str:
        if not isinstance(node, Directory):
            return "ENOTDIR"
        if any(other == path or other.startswith(path + "/") for other in self._disk.mounts):
            return "EBUSY"
        return "ENOTEMPTY" if node.entries else ""

    def mount_tmpfs(self, path: str, *, size_bytes: int, max_inodes: int, gid: int | None) -> None:
        self._fail("mount_tmpfs")
        root = Directory(0o755, gid=gid or 0, setgid=gid is not None)
        try:
            file_system = self._disk.mount(path, root=root)
        except NotADirectoryError:
            raise MountError(f"cannot mount tmpfs at {path}: ENOENT") from None
        file_system.size_bytes, file_system.max_inodes = size_bytes, max_inodes

    def unmount(self, path: str) -> None:
        self._fail("unmount")
        if not self._disk.is_mount_point(path):
            raise MountError(f"cannot unmount {path}: EINVAL")
        self._disk.unmount(path)

    def check_reaches_host(self, target_path: str) -> None:
        self._fail("check_reaches_host")
        if self.private:
            raise PropagationError(f"a mount below {target_path} would not reach the host")

    def check_sees_host(self, target_path: str) -> None:
        self._fail("check_sees_host")
        if self.private:
            raise PropagationError(f"what is mounted at {target_path} can't be seen from here")

    def _fail(self, method: str) -> None:
        if method in self.failures:
            raise self.failures[method]
