"""The state directory is lost while volumes are mounted: the watch says that there are volumes nobody knows."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator

import pytest

from sscsi.pb import sscsi_pb2
from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process
from tests.support.volume_wrecks import upstream_volume

pytestmark = pytest.mark.root

DRIVER = "secrets-store.csi.k8s.io"


def put_vol_data(target_path: str, text: str) -> None:
    """What kubelet writes beside the volume."""
    with open(f"{os.path.dirname(target_path)}/vol_data.json", "w", encoding="utf-8") as file:
        file.write(text)


@contextlib.contextmanager
def watch(node: NodeInProcess) -> Iterator[Iterator[sscsi_pb2.WatchResponse]]:
    call = node.volumes.Watch(sscsi_pb2.WatchRequest(), timeout=60)
    try:
        yield call
    finally:
        call.cancel()


def unknown(node: NodeInProcess) -> int:
    """How many volumes a watch that begins now says are not known."""
    with watch(node) as messages:
        message = next(messages)
    assert message.snapshot
    return message.unknown_volumes


class TestLostRecords:
    @pytest.fixture
    def paths(self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider) -> tuple[str, str]:
        """Two volumes that are mounted, and no records of them."""
        first, second = place.target_path(volume="a"), place.target_path(volume="b")
        with room_in_process(place) as node:
            for path in (first, second):
                node.publish(path)
            assert unknown(node) == 0
        shutil.rmtree(place.state_directory)
        return first, second

    def test_the_count_falls_with_each_adoption_and_unpublish_and_the_watcher_is_told(
        self, place: NodePlace, paths: tuple[str, str], provider: FakeProvider
    ) -> None:
        first, second = paths
        with room_in_process(place) as node, watch(node) as messages:
            start = next(messages)
            assert (start.snapshot, len(start.volumes), start.unknown_volumes) == (True, 0, 2)
            node.publish(first)
            adopted = next(messages)
            assert [volume.target_path for volume in adopted.volumes] == [first]
            assert adopted.unknown_volumes == 1
            node.unpublish(second)
            gone = next(messages)
            assert list(gone.removed_target_paths) == [second]
            assert gone.unknown_volumes == unknown(node) == 0
        assert len(provider.requests) == 2

    def test_a_publish_that_fails_leaves_it_counted(self, place: NodePlace, paths: tuple[str, str]) -> None:
        # Nothing is proven there, and the provider is not asked: the class is gone.
        first, _ = paths
        os.unlink(f"{first}/..data")
        with room_in_process(place) as node:
            refusal(lambda: node.publish(publish_request(first, class_name="none")))
            assert unknown(node) == 2

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            (json.dumps({"driverName": DRIVER}), 1),
            (json.dumps({"driverName": "csi-driver.spiffe.io"}), 0),
            ("{", 1),
        ],
        ids=["ours", "another driver's", "half"],
    )
    def test_what_kubelet_says_is_another_drivers_is_not_counted(
        self, place: NodePlace, text: str, count: int
    ) -> None:
        target_path = place.target_path()
        upstream_volume(target_path, {"a": (0o644, b"")})
        put_vol_data(target_path, text)
        with room_in_process(place) as node:
            assert unknown(node) == count
            assert node.place.mounts(target_path)

    def test_a_tmpfs_at_any_other_path_is_not_counted(self, place: NodePlace) -> None:
        upstream_volume(f"{place.base}/elsewhere", {"a": (0o644, b"")})
        with room_in_process(place) as node:
            assert unknown(node) == 0
