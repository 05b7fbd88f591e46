"""Mounts that may be somebody else's: a path of kubelet's shape or a record says that one is ours, or what is in it."""

import ctypes
import os
from collections.abc import Callable

import grpc
import pytest

from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process
from tests.support.volume_state import View, pod_view
from tests.support.volume_wrecks import upstream_volume, write

pytestmark = pytest.mark.root

THEIRS: View = {"database": (0o600, b"theirs"), "log/today": (0o644, b"theirs")}
_MS_BIND = 1 << 12


@pytest.fixture
def elsewhere(place: NodePlace) -> str:
    """A directory at a path that is not of kubelet's shape."""
    path = f"{place.base}/elsewhere/secrets"
    os.makedirs(path)
    return path


def bind(source: str, target_path: str) -> None:
    libc = ctypes.CDLL(None)
    assert libc.mount(source.encode(), target_path.encode(), None, ctypes.c_ulong(_MS_BIND), None) == 0


def put_file(path: str) -> None:
    os.mknod(f"{path}/file")


def put_link(path: str) -> None:
    os.symlink("/etc/hostname", f"{path}/link")


def put_beside_a_version(path: str) -> None:
    write(path, {"..2026_01_01_00_00_00.1/a": (0o644, b""), "plain": (0o644, b"")})


class TestPublish:
    @pytest.mark.parametrize("put", [put_file, put_link, put_beside_a_version])
    def test_a_tmpfs_with_anything_that_this_driver_does_not_write_is_not_filled(
        self, node: NodeInProcess, provider: FakeProvider, elsewhere: str, put: Callable[[str], None]
    ) -> None:
        upstream_volume(elsewhere, {}, layout=False)
        put(elsewhere)
        before = sorted(os.listdir(elsewhere))
        code, message = refusal(lambda: node.publish(elsewhere))
        assert code is grpc.StatusCode.INTERNAL
        assert "unmount it, or choose another path" in message
        assert sorted(os.listdir(elsewhere)) == before
        assert (provider.requests, node.place.records()) == ([], [])
        assert len(node.place.mounts(elsewhere)) == 1

    def test_their_files_and_their_group_stay_as_they_are(self, node: NodeInProcess, elsewhere: str) -> None:
        upstream_volume(elsewhere, THEIRS, layout=False)
        before = os.stat(elsewhere)
        for _ in range(2):
            refusal(lambda: node.publish(publish_request(elsewhere, group="0")))
        assert pod_view(elsewhere) == THEIRS
        after = os.stat(elsewhere)
        assert (after.st_mode, after.st_gid) == (before.st_mode, before.st_gid)

    def test_at_kubelets_path_a_half_written_volume_is_filled(self, node: NodeInProcess) -> None:
        # A provider that writes its files itself was interrupted, and so was whoever would have recorded it.
        target_path = node.place.target_path()
        upstream_volume(target_path, {"half": (0o644, b"")}, layout=False)
        node.publish(target_path)
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}


class TestUnpublish:
    def test_a_mount_of_another_file_system_stays(self, node: NodeInProcess, elsewhere: str) -> None:
        source = f"{node.place.base}/source"
        write(source, THEIRS)
        bind(source, elsewhere)
        code, message = refusal(lambda: node.unpublish(elsewhere))
        assert code is grpc.StatusCode.INTERNAL
        assert elsewhere in message
        assert len(node.place.mounts(elsewhere)) == 1
        assert pod_view(source) == THEIRS

    def test_a_tmpfs_with_their_files_stays(self, node: NodeInProcess, elsewhere: str) -> None:
        upstream_volume(elsewhere, THEIRS, layout=False)
        for _ in range(2):
            assert refusal(lambda: node.unpublish(elsewhere))[0] is grpc.StatusCode.INTERNAL
        assert len(node.place.mounts(elsewhere)) == 1
        assert pod_view(elsewhere) == THEIRS

    def test_of_mounts_on_one_another_only_those_that_may_be_ours_go(
        self, node: NodeInProcess, elsewhere: str
    ) -> None:
        upstream_volume(elsewhere, THEIRS, layout=False)
        upstream_volume(elsewhere, {"a": (0o644, b"")})
        assert refusal(lambda: node.unpublish(elsewhere))[0] is grpc.StatusCode.INTERNAL
        assert len(node.place.mounts(elsewhere)) == 1
        assert pod_view(elsewhere) == THEIRS

    @pytest.mark.parametrize("kind", ["another file system", "their files"])
    def test_at_kubelets_path_every_mount_goes(self, node: NodeInProcess, kind: str) -> None:
        target_path, source = node.place.target_path(), f"{node.place.base}/source"
        write(source, THEIRS)
        if kind == "their files":
            upstream_volume(target_path, THEIRS, layout=False)
        else:
            os.mkdir(target_path)
            bind(source, target_path)
        node.unpublish(target_path)
        assert not os.path.lexists(target_path)
        assert node.place.mounts() == []
        assert pod_view(source) == THEIRS

    def test_a_recorded_volume_goes_whatever_was_put_in_it_and_whoever_recorded_it(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider, elsewhere: str
    ) -> None:
        with room_in_process(place) as node:
            node.publish(elsewhere)
            write(elsewhere, {"plain": (0o644, b"")})
        with room_in_process(place) as node:
            node.unpublish(elsewhere)
        assert not os.path.lexists(elsewhere)
        assert (place.mounts(), place.records()) == ([], [])
