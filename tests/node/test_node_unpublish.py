"""NodeUnpublishVolume: gone is gone, whatever was there; nothing outside the target path is touched."""

import ctypes
import os

import grpc
import pytest

from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, refusal, room_in_process
from tests.support.volume_state import pod_view
from tests.support.volume_wrecks import upstream_volume, write

pytestmark = pytest.mark.root

_MS_BIND = 1 << 12


def mount(source: str, path: str, kind: str | None, flags: int = 0) -> None:
    libc = ctypes.CDLL(None)
    name = kind.encode() if kind else None
    assert libc.mount(source.encode(), path.encode(), name, ctypes.c_ulong(flags), None) == 0


def assert_gone(place: NodePlace, target_path: str) -> None:
    assert not os.path.lexists(target_path)
    assert place.mounts() == []
    assert place.records() == []


class TestGone:
    def test_a_published_volume_goes_with_mount_directory_and_record(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        node.unpublish(target_path)
        assert_gone(node.place, target_path)
        assert os.path.isdir(os.path.dirname(target_path)), "the parent is kubelet's"

    def test_a_second_unpublish_is_fine(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        for _ in range(3):
            node.unpublish(target_path)
        assert_gone(node.place, target_path)

    def test_of_what_was_never_published_is_fine(self, node: NodeInProcess) -> None:
        node.unpublish(node.place.target_path())
        node.unpublish(f"{node.place.base}/no/such/parent")

    def test_below_a_file_is_nothing(self, node: NodeInProcess) -> None:
        os.mknod(f"{node.place.base}/file")
        node.unpublish(f"{node.place.base}/file/x")

    def test_a_trailing_slash_names_the_same_volume(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        node.unpublish(target_path + "/")
        assert_gone(node.place, target_path)

    def test_another_volume_stays(self, node: NodeInProcess) -> None:
        target_path, other = node.place.target_path(), node.place.target_path(volume="other")
        node.publish(target_path)
        node.publish(other)
        node.unpublish(target_path)
        assert pod_view(other) == {"secret": (0o644, b"first content")}
        assert node.place.record().target_path == other

    def test_after_it_a_publish_starts_anew(self, node: NodeInProcess, provider: FakeProvider) -> None:
        target_path = node.place.target_path()
        for _ in range(2):
            node.publish(target_path)
            node.unpublish(target_path)
        assert len(provider.requests) == 2
        assert [len(request.current_object_version) for request in provider.requests] == [0, 0]


class TestMounts:
    def test_mounts_that_others_stacked_there_all_go(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        upstream_volume(target_path, {"a": (0o644, b"")})
        upstream_volume(target_path, {}, layout=False)
        mount("ramfs", target_path, "ramfs")
        node.unpublish(target_path)
        assert_gone(node.place, target_path)

    def test_a_mount_that_can_be_none_of_ours_stays(self, node: NodeInProcess) -> None:
        target_path = f"{node.place.base}/elsewhere"
        os.mkdir(target_path)
        mount("ramfs", target_path, "ramfs")
        code, message = refusal(lambda: node.unpublish(target_path))
        assert code is grpc.StatusCode.INTERNAL
        assert message.endswith("is a mount of another file system, and no volume of this driver")
        assert len(node.place.mounts(target_path)) == 1

    def test_a_busy_volume_is_detached_and_its_reader_keeps_its_file(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        with open(f"{target_path}/secret", "rb") as file:
            node.unpublish(target_path)
            assert_gone(node.place, target_path)
            assert file.read() == b"first content"

    def test_a_mount_within_the_volume_goes_with_it_and_its_source_stays(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        write(f"{node.place.base}/source", {"kept": (0o644, b"1")})
        os.mkdir(f"{target_path}/inner")
        mount(f"{node.place.base}/source", f"{target_path}/inner", None, _MS_BIND)
        node.unpublish(target_path)
        assert_gone(node.place, target_path)
        assert os.listdir(f"{node.place.base}/source") == ["kept"]


class TestPlainDirectories:
    def test_an_empty_directory_without_a_mount_goes(self, node: NodeInProcess) -> None:
        # After a restart of the machine.
        target_path = node.place.target_path()
        os.mkdir(target_path)
        node.unpublish(target_path)
        assert_gone(node.place, target_path)

    def test_files_in_a_directory_of_kubelets_shape_go_too_and_no_link_is_followed(
        self, node: NodeInProcess
    ) -> None:
        target_path, kept = node.place.target_path(), f"{node.place.base}/kept"
        write(kept, {"file": (0o644, b"1")})
        write(target_path, {"..data/a": (0o644, b""), "b/c/d": (0, b"")})
        os.symlink(kept, f"{target_path}/link")
        os.symlink("../../..", f"{target_path}/b/up")
        node.unpublish(target_path)
        assert_gone(node.place, target_path)
        assert os.listdir(kept) == ["file"]

    def test_files_that_a_mount_covered_go_as_well(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        write(target_path, {"covered": (0o644, b"")})
        node.publish(target_path)
        node.unpublish(target_path)
        assert_gone(node.place, target_path)

    @pytest.mark.parametrize("below", ["target", "pods/u/volumes/kubernetes.io~csi/v/mount/below"])
    def test_files_in_a_directory_of_any_other_shape_stay(self, node: NodeInProcess, below: str) -> None:
        target_path = f"{node.place.base}/{below}"
        write(target_path, {"file": (0o644, b"1")})
        code, message = refusal(lambda: node.unpublish(target_path))
        assert code is grpc.StatusCode.INTERNAL
        assert message == (
            f"failed to clean and unmount target path {target_path}, err: "
            f"cannot remove directory {target_path}: ENOTEMPTY"
        )
        assert os.listdir(target_path) == ["file"]

    def test_a_link_in_the_place_of_the_directory_is_refused_and_its_destination_untouched(
        self, node: NodeInProcess
    ) -> None:
        target_path, kept = node.place.target_path(), f"{node.place.base}/kept"
        write(kept, {"file": (0o644, b"1")})
        os.symlink(kept, target_path)
        code, message = refusal(lambda: node.unpublish(target_path))
        assert code is grpc.StatusCode.INTERNAL
        assert message.startswith(f"failed to clean and unmount target path {target_path}, err: ")
        assert os.listdir(kept) == ["file"]
        assert os.path.islink(target_path)

    def test_a_link_to_a_mount_does_not_unmount_it(self, node: NodeInProcess) -> None:
        target_path, other = node.place.target_path(), node.place.target_path(volume="other")
        node.publish(other)
        os.symlink(other, target_path)
        refusal(lambda: node.unpublish(target_path))
        assert pod_view(other) == {"secret": (0o644, b"first content")}

    @pytest.mark.parametrize("kind", ["tmpfs", "bind of the same file system"])
    def test_a_mount_below_the_directory_is_not_crossed(self, node: NodeInProcess, kind: str) -> None:
        target_path, source = node.place.target_path(), f"{node.place.base}/source"
        os.makedirs(f"{target_path}/below")
        write(source, {"kept": (0o644, b"1")})
        if kind == "tmpfs":
            mount("tmpfs", f"{target_path}/below", "tmpfs")
            write(f"{target_path}/below", {"kept": (0o644, b"1")})
        else:
            mount(source, f"{target_path}/below", None, _MS_BIND)
        code, message = refusal(lambda: node.unpublish(target_path))
        assert code is grpc.StatusCode.INTERNAL
        assert message.endswith(f"err: cannot empty directory {target_path}: EXDEV")
        assert os.listdir(f"{target_path}/below") == os.listdir(source) == ["kept"]


class TestRecords:
    def test_a_record_whose_volume_went_in_another_way_goes_too(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        assert ctypes.CDLL(None).umount2(target_path.encode(), 0) == 0
        os.rmdir(target_path)
        node.unpublish(target_path)
        assert_gone(node.place, target_path)

    def test_a_state_directory_that_turned_read_only_keeps_no_pod_in_terminating(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        remount_read_only = 32 | 1
        target_path, other = place.target_path(), place.target_path(volume="other")
        os.mkdir(place.state_directory)
        mount("tmpfs", place.state_directory, "tmpfs")
        with room_in_process(place) as node:
            node.publish(target_path)
            libc = ctypes.CDLL(None)
            state = place.state_directory.encode()
            assert libc.mount(None, state, None, ctypes.c_ulong(remount_read_only), None) == 0
            node.publish(other)
            for path in (target_path, other):
                node.unpublish(path)
                assert not os.path.lexists(path)
                node.unpublish(path)


class TestStats:
    def test_numbers_are_those_of_the_volume(self, node: NodeInProcess, provider: FakeProvider) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        usage = os.statvfs(target_path)
        counted, inodes = node.stats(target_path).usage
        assert (counted.unit, inodes.unit) == (counted.BYTES, counted.INODES)
        assert counted.total == 2 * 64 * 1024 * 1024
        assert counted.used == 4096
        assert counted.available == counted.total - counted.used
        assert inodes.total == usage.f_files
        # The root, the version, its file, and two links.
        assert inodes.used == 5
        assert inodes.available == inodes.total - inodes.used

    def test_a_volume_that_nobody_has_recorded_yet_is_counted_too(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        upstream_volume(target_path, {"a": (0o644, b"x" * 5000)})
        assert node.stats(target_path).usage[0].used == 8192

    def test_a_volume_at_any_other_path_is_counted_once_it_is_published(self, node: NodeInProcess) -> None:
        target_path = f"{node.place.base}/elsewhere"
        node.publish(target_path)
        assert node.stats(target_path).usage[0].used == 4096

    @pytest.mark.parametrize(
        "kind", ["nothing", "directory", "file", "link to a volume", "inside", "foreign tmpfs"]
    )
    def test_other_paths_are_no_volumes(self, node: NodeInProcess, kind: str) -> None:
        target_path, path = node.place.target_path(), f"{node.place.base}/x"
        node.publish(target_path)
        if kind == "directory":
            os.mkdir(path)
        elif kind == "file":
            os.mknod(path)
        elif kind == "link to a volume":
            os.symlink(target_path, path)
        elif kind == "inside":
            path = f"{target_path}/secret"
        elif kind == "foreign tmpfs":
            upstream_volume(path, {}, layout=False)
        assert refusal(lambda: node.stats(path)) == (
            grpc.StatusCode.NOT_FOUND,
            f"volume path {path!r} is no volume of this driver",
        )

    @pytest.mark.parametrize(
        ("volume_id", "path", "message"),
        [
            ("", "/x", "Volume ID missing in request"),
            ("v", "", "Volume path missing in request"),
        ],
    )
    def test_the_request_is_checked(
        self, node: NodeInProcess, volume_id: str, path: str, message: str
    ) -> None:
        answer = refusal(lambda: node.stats(path, volume_id=volume_id))
        assert answer == (grpc.StatusCode.INVALID_ARGUMENT, message)

    @pytest.mark.parametrize("path", ["x", "/a/../b", "//a", "/", "/" + "x" * 5000])
    def test_what_can_be_no_path_of_a_volume_is_none(self, node: NodeInProcess, path: str) -> None:
        assert refusal(lambda: node.stats(path))[0] is grpc.StatusCode.NOT_FOUND

    def test_an_unpublished_volume_is_no_volume(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        node.unpublish(target_path)
        assert refusal(lambda: node.stats(target_path))[0] is grpc.StatusCode.NOT_FOUND
