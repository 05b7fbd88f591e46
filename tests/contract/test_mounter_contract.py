"""What every Mounter does, on the fake and on the kernel; then what only the kernel can show."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sscsi.core.mount_info import MountEntry
from sscsi.edges.linux_mounts import LinuxMounter
from sscsi.errors import MountError, PropagationError, TargetPathError
from sscsi.ports import ABSENT
from tests.support.disks import SOME_GID, Disk, FakeDiskUnderTest, RealDisk
from tests.support.node_place import NodePlace, node_place
from tests.support.pod_mounts import in_a_pod

MIB = 1024 * 1024
_MS_BIND, _MS_SHARED = 1 << 12, 1 << 20


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    if request.param == "fake":
        yield FakeDiskUnderTest()
        return
    with node_place() as place:
        yield RealDisk(place)


def mount(disk: Disk, path: str, *, size_bytes: int = MIB, gid: int | None = None) -> None:
    disk.mounter.mount_tmpfs(path, size_bytes=size_bytes, max_inodes=64, gid=gid)


class TestLooking:
    def test_nothing_is_absent(self, disk: Disk) -> None:
        assert disk.mounter.look(f"{disk.base}/none") == ABSENT

    def test_a_path_below_a_file_is_absent(self, disk: Disk) -> None:
        disk.put_file(f"{disk.base}/file", b"")
        assert disk.mounter.look(f"{disk.base}/file/x") == ABSENT

    def test_a_directory_is_told_from_a_file(self, disk: Disk) -> None:
        disk.make_directories(f"{disk.base}/directory")
        disk.put_file(f"{disk.base}/file", b"")
        directory, file = (disk.mounter.look(f"{disk.base}/{name}") for name in ("directory", "file"))
        assert (directory.exists, directory.is_directory, directory.is_mount_point) == (True, True, False)
        assert (file.exists, file.is_directory, file.is_mount_point) == (True, False, False)

    def test_a_link_is_looked_at_itself(self, disk: Disk) -> None:
        disk.make_directories(f"{disk.base}/directory")
        mount(disk, f"{disk.base}/directory")
        disk.put_link(f"{disk.base}/link", f"{disk.base}/directory")
        state = disk.mounter.look(f"{disk.base}/link")
        assert (state.exists, state.is_directory, state.is_mount_point) == (True, False, False)

    def test_a_mount_point_has_a_device_and_a_mount_of_its_own(self, disk: Disk) -> None:
        path = f"{disk.base}/volume"
        disk.make_directories(path)
        before = disk.mounter.look(path)
        mount(disk, path)
        state, parent = disk.mounter.look(path), disk.mounter.look(disk.base)
        assert (state.is_mount_point, state.is_tmpfs, state.is_directory) == (True, True, True)
        assert (before.device, before.mount_id) == (parent.device, parent.mount_id)
        assert state.device != parent.device
        assert state.mount_id != parent.mount_id

    def test_what_is_in_a_mount_is_on_it_and_no_mount_point(self, disk: Disk) -> None:
        disk.make_directories(f"{disk.base}/volume")
        mount(disk, f"{disk.base}/volume")
        disk.make_directories(f"{disk.base}/volume/below")
        volume, below = (
            disk.mounter.look(f"{disk.base}/volume"),
            disk.mounter.look(f"{disk.base}/volume/below"),
        )
        assert (below.device, below.mount_id) == (volume.device, volume.mount_id)
        assert not below.is_mount_point


class TestDirectories:
    def test_a_directory_is_made_with_its_parents_for_nobody_else_to_enter(self, disk: Disk) -> None:
        disk.mounter.make_directory(f"{disk.base}/a/b/c")
        assert {disk.mode_and_group(f"{disk.base}/{path}")[0] for path in ("a", "a/b", "a/b/c")} == {0o750}

    def test_a_directory_that_is_there_stays(self, disk: Disk) -> None:
        disk.put_file(f"{disk.base}/a/file", b"kept")
        disk.mounter.make_directory(f"{disk.base}/a")
        assert disk.read(f"{disk.base}/a/file") == b"kept"

    def test_a_file_among_the_parents_is_an_error_that_names_the_path(self, disk: Disk) -> None:
        disk.put_file(f"{disk.base}/file", b"")
        with pytest.raises(
            TargetPathError, match=f"failed to create target path {disk.base}/file/x, err: ENOTDIR"
        ):
            disk.mounter.make_directory(f"{disk.base}/file/x")

    def test_an_empty_directory_is_removed_and_what_is_gone_is_no_error(self, disk: Disk) -> None:
        disk.make_directories(f"{disk.base}/a")
        disk.mounter.remove_directory(f"{disk.base}/a")
        disk.mounter.remove_directory(f"{disk.base}/a")
        assert disk.names(disk.base) == []

    def test_below_a_file_no_directory_is_there_to_be_removed(self, disk: Disk) -> None:
        disk.put_file(f"{disk.base}/file", b"")
        disk.mounter.remove_directory(f"{disk.base}/file/x")

    @pytest.mark.parametrize(
        ("kind", "error"), [("full", "ENOTEMPTY"), ("file", "ENOTDIR"), ("mount", "EBUSY")]
    )
    def test_anything_but_an_empty_directory_is_not_removed(self, disk: Disk, kind: str, error: str) -> None:
        path = f"{disk.base}/x"
        if kind == "file":
            disk.put_file(path, b"")
        else:
            disk.make_directories(path)
        if kind == "full":
            disk.put_file(f"{path}/file", b"")
        elif kind == "mount":
            mount(disk, path)
        with pytest.raises(TargetPathError, match=f"cannot remove directory {path}: {error}"):
            disk.mounter.remove_directory(path)
        assert disk.names(disk.base) == ["x"]


class TestMounting:
    def test_a_new_volume_is_empty_and_covers_what_was_there(self, disk: Disk) -> None:
        path = f"{disk.base}/volume"
        disk.put_file(f"{path}/covered", b"")
        mount(disk, path)
        assert disk.names(path) == []
        disk.mounter.unmount(path)
        assert disk.names(path) == ["covered"]

    @pytest.mark.parametrize(
        ("gid", "expected"), [(None, (0o755, 0)), (SOME_GID, (0o2755, SOME_GID)), (0, (0o2755, 0))]
    )
    def test_the_root_belongs_to_the_group_if_there_is_one(
        self, disk: Disk, gid: int | None, expected: tuple[int, int]
    ) -> None:
        disk.make_directories(f"{disk.base}/volume")
        mount(disk, f"{disk.base}/volume", gid=gid)
        assert disk.mode_and_group(f"{disk.base}/volume") == expected

    def test_the_size_and_the_inodes_are_those_asked_for(self, disk: Disk) -> None:
        disk.make_directories(f"{disk.base}/volume")
        mount(disk, f"{disk.base}/volume", size_bytes=3 * MIB)
        usage = disk.trees.usage(f"{disk.base}/volume")
        assert (usage.total_bytes, usage.used_bytes, usage.available_bytes) == (3 * MIB, 0, 3 * MIB)
        assert (usage.total_inodes, usage.used_inodes, usage.available_inodes) == (64, 1, 63)

    def test_mounts_stack_and_come_off_one_at_a_time(self, disk: Disk) -> None:
        path = f"{disk.base}/volume"
        disk.make_directories(path)
        devices = []
        for _ in range(3):
            mount(disk, path)
            devices.append(disk.mounter.look(path).device)
        assert len(set(devices)) == disk.mounts_at(path) == 3
        disk.mounter.unmount(path)
        assert disk.mounter.look(path).device == devices[1]
        assert disk.mounts_at(path) == 2

    def test_where_no_directory_is_nothing_is_mounted(self, disk: Disk) -> None:
        with pytest.raises(MountError, match=f"cannot mount tmpfs at {disk.base}/none: ENOENT"):
            mount(disk, f"{disk.base}/none")

    def test_what_is_not_mounted_is_not_unmounted(self, disk: Disk) -> None:
        disk.make_directories(f"{disk.base}/a")
        with pytest.raises(MountError, match=f"cannot unmount {disk.base}/a: EINVAL"):
            disk.mounter.unmount(f"{disk.base}/a")


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


def bind(source: str, path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(source.encode(), path.encode(), None, ctypes.c_ulong(_MS_BIND), None) == 0


def share(path: str) -> None:
    """Put the mount at `path` into a peer group of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(None, path.encode(), None, ctypes.c_ulong(_MS_SHARED), None) == 0


def options_of(entry: MountEntry) -> set[str]:
    return {*entry.options.split(","), *entry.super_options.split(",")}


@pytest.mark.root
class TestKernel:
    def test_a_volume_runs_no_program_and_has_no_device(self, place: NodePlace) -> None:
        path = place.target_path()
        os.mkdir(path)
        LinuxMounter(require_shared=False).mount_tmpfs(path, size_bytes=MIB, max_inodes=64, gid=None)
        (entry,) = place.mounts(path)
        assert {"rw", "nosuid", "nodev", "noexec"} <= options_of(entry)
        assert entry.filesystem == "tmpfs"

    def test_noswap_is_used_where_the_kernel_has_it(self, place: NodePlace) -> None:
        path, probe = place.target_path(), place.target_path(volume="probe")
        os.mkdir(path)
        os.mkdir(probe)
        libc = ctypes.CDLL(None, use_errno=True)
        has_noswap = libc.mount(b"tmpfs", probe.encode(), b"tmpfs", ctypes.c_ulong(0), b"noswap") == 0
        LinuxMounter(require_shared=False).mount_tmpfs(path, size_bytes=MIB, max_inodes=64, gid=None)
        assert ("noswap" in options_of(place.mounts(path)[0])) is has_noswap

    def test_a_busy_volume_leaves_the_tree_and_its_reader_keeps_its_file(self, place: NodePlace) -> None:
        path = place.target_path()
        os.mkdir(path)
        mounter = LinuxMounter(require_shared=False)
        mounter.mount_tmpfs(path, size_bytes=MIB, max_inodes=64, gid=None)
        with open(f"{path}/secret", "w+b") as file:
            file.write(b"x")
            file.flush()
            mounter.unmount(path)
            assert place.mounts(path) == []
            assert os.listdir(path) == []
            assert os.pread(file.fileno(), 1, 0) == b"x"

    def test_a_symlink_is_not_followed_to_a_mount(self, place: NodePlace) -> None:
        path = place.target_path()
        os.mkdir(path)
        mounter = LinuxMounter(require_shared=False)
        mounter.mount_tmpfs(path, size_bytes=MIB, max_inodes=64, gid=None)
        os.symlink(path, f"{place.base}/link")
        with pytest.raises(MountError, match="EINVAL"):
            mounter.unmount(f"{place.base}/link")
        assert len(place.mounts(path)) == 1

    def test_a_dangling_link_among_the_parents_is_an_error_and_no_endless_try(self, place: NodePlace) -> None:
        os.symlink("nowhere", f"{place.base}/link")
        with pytest.raises(
            TargetPathError, match=f"failed to create target path {place.base}/link/x, err: ENOENT"
        ):
            LinuxMounter(require_shared=False).make_directory(f"{place.base}/link/x")

    def test_without_the_right_to_mount_the_error_says_what_is_missing(self, place: NodePlace) -> None:
        # A child gives the right away and tries; this process needs it for the other tests.
        code = (
            "import ctypes, sys\n"
            "from sscsi.edges.linux_mounts import LinuxMounter\n"
            "from sscsi.errors import MountError\n"
            "no_capabilities = (ctypes.c_uint32 * 6)()\n"
            "version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)\n"
            "assert ctypes.CDLL(None).capset(version_3, no_capabilities) == 0\n"
            "try:\n"
            "    LinuxMounter(require_shared=False).mount_tmpfs(sys.argv[1], size_bytes=1, max_inodes=1, gid=None)\n"
            "except MountError as error:\n"
            "    print(error)\n"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code, place.base], capture_output=True, text=True, check=True, timeout=20
        )
        assert answer.stdout == (
            f"cannot mount tmpfs at {place.base}: EPERM; CAP_SYS_ADMIN is missing: "
            "run privileged, or in a user namespace of your own\n"
        )


@pytest.mark.root
class TestReachingTheHost:
    def test_a_shared_mount_over_the_target_path_reaches_it(self, place: NodePlace) -> None:
        bind(place.base, place.base)
        share(place.base)
        LinuxMounter(require_shared=True).check_reaches_host(place.target_path())

    def test_parents_that_are_not_there_yet_are_looked_for_above(self, place: NodePlace) -> None:
        bind(place.base, place.base)
        share(place.base)
        LinuxMounter(require_shared=True).check_reaches_host(f"{place.base}/not/yet/there/mount")

    def test_a_private_mount_keeps_volumes_to_itself(self, place: NodePlace) -> None:
        bind(place.base, place.base)
        with pytest.raises(PropagationError) as refusal:
            LinuxMounter(require_shared=True).check_reaches_host(place.target_path())
        assert f"the mount at {place.base} is not shared" in str(refusal.value)
        assert "mountPropagation: Bidirectional" in str(refusal.value)
        assert "--require-shared-propagation=false" in str(refusal.value)

    def test_the_root_of_a_container_reaches_nobody(self) -> None:
        # Its root is private, or an overlay; this is no pod, so that it is not said to be certain.
        with pytest.raises(
            PropagationError, match=r"the mount at / is not shared|it is on the root file system"
        ):
            LinuxMounter(require_shared=True).check_reaches_host("/no such directory of sscsi/mount")

    def test_nobody_asks_where_it_is_not_required(self, place: NodePlace) -> None:
        LinuxMounter(require_shared=False).check_reaches_host(place.target_path())

    def test_what_is_doubtful_may_be_taken_away(self, place: NodePlace) -> None:
        bind(place.base, place.base)
        LinuxMounter(require_shared=True).check_sees_host(place.target_path())

    def test_a_mount_that_is_made_shared_later_is_seen_at_the_next_try(self, place: NodePlace) -> None:
        bind(place.base, place.base)
        mounter = LinuxMounter(require_shared=True)
        with pytest.raises(PropagationError):
            mounter.check_reaches_host(place.target_path())
        share(place.base)
        mounter.check_reaches_host(place.target_path())

    def test_what_is_doubtful_is_a_warning_for_each_mount_unless_it_is_to_be_refused(
        self, place: NodePlace, caplog: pytest.LogCaptureFixture
    ) -> None:
        bind(place.base, place.base)
        mounter = LinuxMounter(require_shared=True, refuses_doubtful=False)
        for uid in ("one", "two"):
            mounter.check_reaches_host(place.target_path(uid))
        (record,) = caplog.records
        assert record.getMessage() == "pods may not see their volumes"
        assert f"the mount at {place.base} is not shared" in record.__dict__["reason"]


@pytest.mark.root
class TestInAPod:
    """Kubelet's mounts in the container tell that private mounts here are not the host's."""

    @pytest.fixture(autouse=True)
    def pod(self, place: NodePlace) -> Iterator[None]:
        with in_a_pod(place.base):
            yield

    def check(self, path: str) -> str:
        """What is said of a target path; empty when all is well."""
        try:
            LinuxMounter(require_shared=True, refuses_doubtful=False).check_reaches_host(path)
        except PropagationError as error:
            return str(error)
        return ""

    def test_a_shared_mount_with_the_pods_directory_is_well(self, place: NodePlace) -> None:
        bind(place.base, place.base)
        share(place.base)
        assert self.check(place.target_path()) == ""

    def test_a_private_mount_is_refused_with_path_finding_and_cure(self, place: NodePlace) -> None:
        bind(place.base, place.base)
        text = self.check(place.target_path())
        assert text.startswith(f"a mount at {place.target_path()} would not reach its pod: ")
        assert f"the mount at {place.base} is not shared with the host" in text
        assert f"{place.base}/pods as hostPath and volumeMount" in text
        assert f"chart value linux.kubeletRootDir={place.base})" in text

    def test_what_the_host_has_mounted_is_not_said_to_be_gone_where_it_cannot_be_seen(
        self, place: NodePlace
    ) -> None:
        bind(place.base, place.base)
        mounter = LinuxMounter(require_shared=True, refuses_doubtful=False)
        path = place.target_path()
        with pytest.raises(PropagationError) as refusal:
            mounter.check_sees_host(path)
        assert str(refusal.value).startswith(f"what is mounted at {path} can't be seen from here: ")
        assert f"chart value linux.kubeletRootDir={place.base})" in str(refusal.value)
        share(place.base)
        mounter.check_sees_host(path)

    def test_the_containers_root_is_refused(self) -> None:
        path = "/no such root/pods/u/volumes/kubernetes.io~csi/v/mount"
        text = self.check(path)
        assert "it is on the container's own root file system" in text
        assert "chart value linux.kubeletRootDir=/no such root)" in text

    def test_a_shared_mount_of_another_directory_is_refused(self, place: NodePlace) -> None:
        bind(place.base, place.base)
        share(place.base)
        mounter = LinuxMounter(require_shared=True)
        mounter.check_reaches_host(place.target_path())
        # Also after that mount was found to be well.
        other = f"{place.base}/pods/other/volumes/kubernetes.io~csi/v/mount"
        with pytest.raises(
            PropagationError, match=f"kubelet has made {place.base}/pods/other, and it is not"
        ):
            mounter.check_reaches_host(other)
