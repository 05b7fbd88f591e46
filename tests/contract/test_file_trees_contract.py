"""What every FileTrees does, on the fake and on the kernel; then what only the kernel can show."""

import ctypes
import hashlib
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sscsi.core.file_plan import DATA_LINK, EntryKind, FileState, PlannedFile, RootEntry
from sscsi.core.volume_record import ContentFile
from sscsi.errors import ContentTooLargeError, TargetPathError
from sscsi.ports import VolumeTree
from tests.support.disks import SOME_GID, Disk, FakeDiskUnderTest, RealDisk
from tests.support.node_place import NodePlace, node_place

KIB = 1024
VERSION = "..2026_11_24_01_02_03.123456789"
_MS_BIND = 1 << 12


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    if request.param == "fake":
        yield FakeDiskUnderTest()
        return
    with node_place() as place:
        yield RealDisk(place)


@pytest.fixture
def path(disk: Disk) -> str:
    """A mounted volume."""
    path = f"{disk.base}/volume"
    disk.make_directories(path)
    disk.mounter.mount_tmpfs(path, size_bytes=256 * KIB, max_inodes=64, gid=None)
    return path


def planned(path: str, contents: bytes = b"x", mode: int = 0o644) -> PlannedFile:
    return PlannedFile(path=path, mode=mode, contents=contents)


def write(tree: VolumeTree, version: str, *files: PlannedFile) -> None:
    tree.make_version(version, 0o755)
    for file in files:
        tree.write_file(version, file)


class TestOpening:
    @pytest.mark.parametrize(("kind", "error"), [("nothing", "ENOENT"), ("file", "ENOTDIR")])
    def test_only_a_directory_is_a_volume(self, disk: Disk, kind: str, error: str) -> None:
        if kind == "file":
            disk.put_file(f"{disk.base}/x", b"")
        with pytest.raises(TargetPathError, match=f"cannot open target path {disk.base}/x: {error}"):
            disk.trees.open(f"{disk.base}/x")

    def test_a_link_is_no_volume_whatever_it_points_to(self, disk: Disk, path: str) -> None:
        disk.put_link(f"{disk.base}/link", path)
        with pytest.raises(TargetPathError, match=f"cannot open target path {disk.base}/link: "):
            disk.trees.open(f"{disk.base}/link")

    def test_the_device_is_the_one_that_the_mounter_sees(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree:
            assert tree.device == disk.mounter.look(path).device

    def test_an_open_tree_stays_the_volume_when_another_covers_it(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree:
            disk.mounter.mount_tmpfs(path, size_bytes=256 * KIB, max_inodes=64, gid=None)
            write(tree, VERSION, planned("a"))
            assert tree.device != disk.mounter.look(path).device
        assert disk.names(path) == []
        disk.mounter.unmount(path)
        assert disk.names(path) == [VERSION]


class TestReading:
    def test_a_new_volume_holds_nothing(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree:
            assert tree.read_root() == {}
            assert tree.read_data_link() == ""
            assert tree.list_directory("none") == []
            assert tree.list_files() == ()
            assert tree.group is None

    def test_each_name_of_the_root_is_told_for_what_it_is(self, disk: Disk, path: str) -> None:
        disk.make_directories(f"{path}/directory")
        disk.put_file(f"{path}/file", b"")
        disk.put_link(f"{path}/link", "..data/link")
        disk.put_link(f"{path}/{DATA_LINK}", VERSION)
        with disk.trees.open(path) as tree:
            assert tree.read_root() == {
                "directory": RootEntry(kind=EntryKind.DIRECTORY, target=""),
                "file": RootEntry(kind=EntryKind.OTHER, target=""),
                "link": RootEntry(kind=EntryKind.LINK, target="..data/link"),
                DATA_LINK: RootEntry(kind=EntryKind.LINK, target=VERSION),
            }
            assert tree.read_data_link() == VERSION

    @pytest.mark.parametrize("kind", ["file", "directory"])
    def test_a_data_link_that_is_no_link_points_nowhere(self, disk: Disk, path: str, kind: str) -> None:
        disk.put_file(f"{path}/{DATA_LINK}" + ("/file" if kind == "directory" else ""), b"")
        with disk.trees.open(path) as tree:
            assert tree.read_data_link() == ""

    def test_a_directory_is_listed_by_its_top_names_and_nothing_else_is(self, disk: Disk, path: str) -> None:
        disk.put_file(f"{path}/directory/a/b", b"")
        disk.put_file(f"{path}/directory/c", b"")
        disk.put_file(f"{path}/file", b"")
        disk.put_link(f"{path}/link", "directory")
        with disk.trees.open(path) as tree:
            assert sorted(tree.list_directory("directory")) == ["a", "c"]
            assert tree.list_directory("file") == tree.list_directory("link") == []

    def test_a_version_is_read_file_by_file(self, disk: Disk, path: str) -> None:
        disk.put_file(f"{path}/{VERSION}/a/..b", b"1", 0o400)
        disk.put_file(f"{path}/{VERSION}/c", b"2", 0)
        disk.put_link(f"{path}/{VERSION}/link", "c")
        with disk.trees.open(path) as tree:
            states = tree.read_version(VERSION)
        assert states == {
            "a/..b": FileState(mode=0o400, gid=0, digest=hashlib.sha256(b"1").digest()),
            "c": FileState(mode=0, gid=0, digest=hashlib.sha256(b"2").digest()),
        }

    def test_a_version_that_is_gone_is_an_error(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree, pytest.raises(TargetPathError, match="ENOENT"):
            tree.read_version(VERSION)

    def test_plain_files_are_listed_with_their_sizes_and_hidden_versions_are_not(
        self, disk: Disk, path: str
    ) -> None:
        disk.put_file(f"{path}/z", b"12345")
        disk.put_file(f"{path}/a/b", b"")
        disk.put_file(f"{path}/{VERSION}/hidden", b"1")
        disk.put_link(f"{path}/link", "z")
        with disk.trees.open(path) as tree:
            assert [(file.path, file.size) for file in tree.list_files()] == [("a/b", 0), ("z", 5)]

    def test_a_replaced_file_is_another_file_whatever_its_size(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree:
            disk.put_file(f"{path}/a", b"1")
            before = tree.list_files()
            assert tree.list_files() == before
            disk.put_file(f"{path}/b", b"2")
            disk.put_file(f"{path}/a", b"2")
            assert not set(before) & set(tree.list_files())

    def test_a_tree_of_too_many_files_is_refused(self, disk: Disk) -> None:
        path = f"{disk.base}/plain"
        disk.put_empty_files(path, 8193)
        with (
            disk.trees.open(path) as tree,
            pytest.raises(ContentTooLargeError, match=f"the provider wrote more than 8192 files to {path}"),
        ):
            tree.list_files()


class TestWriting:
    def test_a_version_holds_what_was_written_with_the_exact_modes(self, disk: Disk, path: str) -> None:
        files = [planned("a", b"1" * 10_000, 0o777), planned("b/c", b"", 0), planned("b/d", b"2", 0o402)]
        umask = os.umask(0o077)
        try:
            with disk.trees.open(path) as tree:
                tree.make_version(VERSION, 0o755)
                tree.make_directory(VERSION, "b", 0o755)
                for file in files:
                    tree.write_file(VERSION, file)
                states = tree.read_version(VERSION)
        finally:
            os.umask(umask)
        assert {path: (state.mode, state.digest) for path, state in states.items()} == {
            file.path: (file.mode, hashlib.sha256(file.contents).digest()) for file in files
        }
        assert {disk.mode_and_group(f"{path}/{name}")[0] for name in (VERSION, f"{VERSION}/b")} == {0o755}

    def test_in_a_volume_with_a_group_everything_belongs_to_it(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree:
            tree.set_group(SOME_GID)
            assert tree.group == SOME_GID
            tree.make_version(VERSION, 0o2755)
            tree.make_directory(VERSION, "b", 0o2755)
            tree.write_file(VERSION, planned("b/c", mode=0o440))
            assert tree.read_version(VERSION)["b/c"].gid == SOME_GID
        assert disk.mode_and_group(path) == (0o2755, SOME_GID)
        assert disk.mode_and_group(f"{path}/{VERSION}") == (0o2755, SOME_GID)
        assert disk.mode_and_group(f"{path}/{VERSION}/b") == (0o2755, SOME_GID)
        assert disk.mode_and_group(f"{path}/{VERSION}/b/c") == (0o440, SOME_GID)

    def test_two_versions_are_written_side_by_side(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree:
            write(tree, "..1", planned("a", b"1"))
            write(tree, "..2", planned("a", b"2"))
            tree.write_file("..1", planned("b", b"3"))
        assert disk.read(f"{path}/..1/a") == b"1"
        assert disk.read(f"{path}/..1/b") == b"3"
        assert disk.read(f"{path}/..2/a") == b"2"

    def test_nothing_is_made_over_something(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree:
            write(tree, VERSION, planned("a"))
            with pytest.raises(TargetPathError, match="EEXIST"):
                tree.make_version(VERSION, 0o755)
            with pytest.raises(TargetPathError, match="EEXIST"):
                tree.make_directory(VERSION, "a", 0o755)
            with pytest.raises(TargetPathError, match="EEXIST"):
                tree.write_file(VERSION, planned("a", b"other"))
            with pytest.raises(TargetPathError, match="EEXIST"):
                tree.add_link(VERSION, "x")
        assert disk.read(f"{path}/{VERSION}/a") == b"x"

    def test_a_full_volume_names_the_flag_that_sets_its_size(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree, pytest.raises(ContentTooLargeError) as refusal:
            write(tree, VERSION, planned("a", b"1" * 200 * KIB), planned("b", b"2" * 200 * KIB))
        assert str(refusal.value) == (
            f"volume {path} is full; --content-limit sets its size: raise it or deliver less"
        )

    def test_a_link_is_swapped_over_another_in_one_step(self, disk: Disk, path: str) -> None:
        with disk.trees.open(path) as tree:
            tree.add_link(DATA_LINK, "..1")
            tree.add_link("..data_tmp", "..2")
            tree.rename("..data_tmp", DATA_LINK)
            assert tree.read_data_link() == "..2"
            assert list(tree.read_root()) == [DATA_LINK]

    def test_a_rename_of_nothing_or_over_a_directory_is_an_error(self, disk: Disk, path: str) -> None:
        disk.make_directories(f"{path}/directory")
        with disk.trees.open(path) as tree:
            tree.add_link("link", "x")
            with pytest.raises(TargetPathError, match="ENOENT"):
                tree.rename("none", "other")
            with pytest.raises(TargetPathError, match="EISDIR"):
                tree.rename("link", "directory")

    def test_a_name_is_removed_with_all_below_and_gone_is_fine(self, disk: Disk, path: str) -> None:
        disk.put_file(f"{path}/directory/a/b", b"")
        disk.put_file(f"{path}/file", b"")
        disk.put_link(f"{path}/link", "kept")
        disk.put_file(f"{path}/kept", b"1")
        with disk.trees.open(path) as tree:
            for name in ("directory", "file", "link", "none"):
                tree.remove(name)
        assert disk.names(path) == ["kept"]
        assert disk.read(f"{path}/kept") == b"1"

    def test_a_version_that_was_just_written_can_be_removed_and_written_again(
        self, disk: Disk, path: str
    ) -> None:
        with disk.trees.open(path) as tree:
            write(tree, VERSION, planned("a", b"1"))
            tree.remove(VERSION)
            write(tree, VERSION, planned("a", b"2"))
        assert disk.read(f"{path}/{VERSION}/a") == b"2"

    def test_the_group_reads_what_the_owner_reads_in_the_named_files_only(
        self, disk: Disk, path: str
    ) -> None:
        disk.put_file(f"{path}/a", b"", 0o600)
        disk.put_file(f"{path}/b/c", b"", 0)
        disk.put_file(f"{path}/other", b"", 0o600)
        with disk.trees.open(path) as tree:
            files = [file for file in tree.list_files() if file.path != "other"]
            tree.grant_group_read(files)
        modes = [disk.mode_and_group(f"{path}/{name}")[0] for name in ("a", "b/c", "other")]
        assert modes == [0o640, 0, 0o600]


class TestPlainDirectories:
    def test_everything_below_goes_and_the_directory_stays(self, disk: Disk) -> None:
        path = f"{disk.base}/plain"
        disk.put_file(f"{path}/..data/a", b"")
        disk.put_file(f"{path}/b/c/d", b"")
        disk.put_file(f"{disk.base}/outside", b"kept")
        disk.put_link(f"{path}/link", f"{disk.base}/outside")
        disk.put_link(f"{path}/up", "..")
        disk.trees.empty_plain_directory(path)
        assert disk.names(path) == []
        assert disk.names(disk.base) == ["outside", "plain"]
        assert disk.read(f"{disk.base}/outside") == b"kept"

    def test_a_directory_that_is_gone_is_empty(self, disk: Disk) -> None:
        disk.trees.empty_plain_directory(f"{disk.base}/none")

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_what_is_no_directory_is_not_touched(self, disk: Disk, kind: str) -> None:
        disk.put_file(f"{disk.base}/kept/file", b"1")
        if kind == "file":
            disk.put_file(f"{disk.base}/x", b"")
        else:
            disk.put_link(f"{disk.base}/x", f"{disk.base}/kept")
        with pytest.raises(TargetPathError, match=f"cannot empty directory {disk.base}/x: "):
            disk.trees.empty_plain_directory(f"{disk.base}/x")
        assert disk.read(f"{disk.base}/kept/file") == b"1"
        assert disk.names(disk.base) == ["kept", "x"]

    def test_a_mount_below_is_not_crossed(self, disk: Disk) -> None:
        path = f"{disk.base}/plain"
        disk.make_directories(f"{path}/below")
        disk.mounter.mount_tmpfs(f"{path}/below", size_bytes=256 * KIB, max_inodes=64, gid=None)
        disk.put_file(f"{path}/below/file", b"1")
        with pytest.raises(TargetPathError, match=f"cannot empty directory {path}: EXDEV"):
            disk.trees.empty_plain_directory(path)
        assert disk.read(f"{path}/below/file") == b"1"


class TestUsage:
    def test_content_is_counted_in_pages_and_inodes(self, disk: Disk, path: str) -> None:
        disk.put_file(f"{path}/a", b"1" * 5000)
        disk.put_file(f"{path}/b", b"")
        usage = disk.trees.usage(path)
        assert (usage.total_bytes, usage.used_bytes, usage.available_bytes) == (256 * KIB, 8 * KIB, 248 * KIB)
        assert (usage.total_inodes, usage.used_inodes, usage.available_inodes) == (64, 3, 61)

    def test_the_usage_of_nothing_is_an_error(self, disk: Disk) -> None:
        with pytest.raises(TargetPathError, match=f"cannot read the usage of {disk.base}/none: ENOENT"):
            disk.trees.usage(f"{disk.base}/none")


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


@pytest.fixture
def real(place: NodePlace) -> RealDisk:
    return RealDisk(place)


@pytest.mark.root
class TestKernel:
    def test_a_bind_mount_of_the_same_file_system_is_not_crossed_either(self, real: RealDisk) -> None:
        # st_dev is the same on both sides; only the mount tells them apart.
        victim, path = f"{real.base}/victim", f"{real.base}/plain"
        real.put_file(f"{victim}/file", b"kept")
        real.make_directories(f"{path}/below")
        libc = ctypes.CDLL(None)
        assert (
            libc.mount(victim.encode(), f"{path}/below".encode(), None, ctypes.c_ulong(_MS_BIND), None) == 0
        )
        with pytest.raises(TargetPathError, match=f"cannot empty directory {path}: EXDEV"):
            real.trees.empty_plain_directory(path)
        assert real.read(f"{victim}/file") == b"kept"

    def test_pipes_sockets_and_devices_are_no_content_and_block_nobody(
        self, real: RealDisk, place: NodePlace
    ) -> None:
        path = f"{real.base}/plain"
        os.mkdir(path)
        os.mkfifo(f"{path}/pipe")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{path}/socket")
        real.put_file(f"{path}/file", b"1")
        with real.trees.open(path) as tree:
            assert [file.path for file in tree.list_files()] == ["file"]
            assert tree.read_root()["pipe"].kind is EntryKind.OTHER
        real.trees.empty_plain_directory(path)
        assert real.names(path) == []

    def test_an_inode_is_the_kernels(self, real: RealDisk) -> None:
        real.put_file(f"{real.base}/plain/a", b"123")
        with real.trees.open(f"{real.base}/plain") as tree:
            inode = os.stat(f"{real.base}/plain/a").st_ino
            assert tree.list_files() == (ContentFile(path="a", size=3, inode=inode),)

    def test_no_descriptor_is_left_open(self, real: RealDisk) -> None:
        path = f"{real.base}/plain"
        real.put_file(f"{path}/a/b", b"")
        before = os.listdir("/proc/self/fd")
        with real.trees.open(path) as tree:
            write(tree, VERSION, planned("a"))
            tree.list_files()
            with pytest.raises(TargetPathError):
                tree.write_file(VERSION, planned("a"))
            with pytest.raises(TargetPathError):
                tree.make_version("none/below", 0o755)
        real.trees.empty_plain_directory(path)
        assert len(os.listdir("/proc/self/fd")) == len(before)


NAMES = st.text(alphabet="ab.\n\\ ü", min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    st.dictionaries(NAMES, st.tuples(st.binary(max_size=20), st.integers(0, 0o777)), min_size=1, max_size=5)
)
def test_whatever_is_written_is_read_back(disk: Disk, path: str, files: dict[str, tuple[bytes, int]]) -> None:
    with disk.trees.open(path) as tree:
        write(tree, VERSION, *(planned(name, contents, mode) for name, (contents, mode) in files.items()))
        states = tree.read_version(VERSION)
        tree.remove(VERSION)
    assert states == {
        name: FileState(mode=mode, gid=0, digest=hashlib.sha256(contents).digest())
        for name, (contents, mode) in files.items()
    }
