"""`Volumes.Watch` and `Room.Status`: what the other rooms hear of volumes."""

import contextlib
import os
import time
from collections.abc import Iterator

import grpc
import pytest

from sscsi import __version__
from sscsi.pb import sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, room_in_process
from tests.support.waiting import wait_until

pytestmark = pytest.mark.root


@contextlib.contextmanager
def watching(node: NodeInProcess) -> Iterator["Watch"]:
    call = node.volumes.Watch(sscsi_pb2.WatchRequest(), timeout=60)
    try:
        yield Watch(call)
    finally:
        call.cancel()


class Watch:
    """One watch; `volumes` is what a watcher knows after what it has read."""

    def __init__(self, call: Iterator[sscsi_pb2.WatchResponse]) -> None:
        self._call = call
        self.volumes: dict[str, sscsi_pb2.Volume] = {}
        self.revisions: list[int] = []

    def read(self) -> sscsi_pb2.WatchResponse:
        response = next(self._call)
        if response.snapshot:
            self.volumes.clear()
        self.volumes.update({volume.target_path: volume for volume in response.volumes})
        for target_path in response.removed_target_paths:
            self.volumes.pop(target_path, None)
        self.revisions.append(response.revision)
        return response

    def read_until(self, *target_paths: str) -> None:
        """Read on until these are all volumes that there are."""
        deadline = time.monotonic() + 60
        while set(self.volumes) != set(target_paths):
            assert time.monotonic() < deadline
            self.read()


class TestWatch:
    def test_it_begins_with_everything_there_is(self, node: NodeInProcess) -> None:
        targets = [node.place.target_path(volume=name) for name in ("a", "b")]
        for target in targets:
            node.publish(target)
        with watching(node) as watch:
            assert watch.read().snapshot
            assert set(watch.volumes) == set(targets)

    def test_with_no_volume_the_snapshot_is_empty_and_comes_all_the_same(self, node: NodeInProcess) -> None:
        with watching(node) as watch:
            assert watch.read() == sscsi_pb2.WatchResponse(revision=0, snapshot=True)

    def test_a_volume_is_told_whole(self, node: NodeInProcess, provider: FakeProvider) -> None:
        provider.answer = files_answer(("b", 0o644, b"canary"), ("a", 0o644, b"canary"))
        target_path = node.place.target_path()
        with watching(node) as watch:
            watch.read()
            node.publish(target_path)
            (volume,) = watch.read().volumes
        assert volume.last_attempt_time == volume.last_success_time == pytest.approx(time.time(), abs=10)
        volume.last_attempt_time = volume.last_success_time = 0
        assert volume == sscsi_pb2.Volume(
            target_path=target_path,
            volume_id="csi-volume-1",
            pod_name="web-0",
            pod_namespace="default",
            pod_uid="pod-uid-1",
            service_account="default",
            class_name="app",
            class_uid="uid-of-default-app",
            class_generation=1,
            provider="fake",
            object_versions=[
                sscsi_pb2.ObjectVersion(id="a", version="v1"),
                sscsi_pb2.ObjectVersion(id="b", version="v1"),
            ],
            data_directory=os.readlink(f"{target_path}/..data"),
        )

    def test_changes_and_removals_follow_with_growing_revisions(self, node: NodeInProcess) -> None:
        first, second = (node.place.target_path(volume=name) for name in ("a", "b"))
        with watching(node) as watch:
            watch.read()
            node.publish(first)
            watch.read_until(first)
            node.publish(second)
            watch.read_until(first, second)
            node.unpublish(first)
            watch.read_until(second)
            assert watch.revisions == sorted(set(watch.revisions))

    def test_a_failed_refresh_is_told_with_its_error_and_the_time_of_the_last_success(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        with watching(rotating) as watch:
            watch.read()
            rotating.publish(target_path)
            watch.read_until(target_path)
            provider.error = (grpc.StatusCode.UNKNOWN, "the store says no")
            rotating.publish(target_path)
            watch.read()
        volume = watch.volumes[target_path]
        assert volume.last_error.endswith("the store says no")
        assert volume.last_attempt_time > volume.last_success_time

    def test_whoever_reads_slowly_ends_up_with_the_truth(self, node: NodeInProcess) -> None:
        # Changes gather while nobody reads: of each volume only the last is told.
        kept = node.place.target_path(volume="kept")
        gone = node.place.target_path(volume="gone")
        with watching(node) as watch:
            watch.read()
            for _ in range(20):
                node.publish(publish_request(gone))
                node.unpublish(gone)
            node.publish(kept)
            watch.read_until(kept)

    def test_many_watchers_hear_the_same(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        with contextlib.ExitStack() as stack:
            watches = [stack.enter_context(watching(node)) for _ in range(5)]
            for watch in watches:
                watch.read()
            node.publish(target_path)
            for watch in watches:
                watch.read_until(target_path)

    def test_a_watcher_that_went_away_disturbs_nobody(self, node: NodeInProcess) -> None:
        with watching(node) as watch:
            watch.read()
        target_path = node.place.target_path()
        with watching(node) as watch:
            watch.read()
            node.publish(target_path)
            watch.read_until(target_path)

    def test_a_stopping_room_ends_the_watch_and_does_not_wait_for_the_grace(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        # Far longer than it is waited for.
        with room_in_process(place, "--stop-grace=10m") as node, watching(node) as watch:
            watch.read()
            node.ask_to_stop()
            # In good order; but the connection goes right after, and the client may notice that first.
            with pytest.raises((StopIteration, grpc.RpcError)):
                watch.read()
            wait_until(lambda: not node.is_alive(), "the room has stopped")

    def test_a_room_that_comes_back_tells_what_it_found(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        with room_in_process(place) as node:
            node.publish(target_path)
        with room_in_process(place) as node, watching(node) as watch:
            watch.read()
            assert set(watch.volumes) == {target_path}


class TestStatus:
    def test_it_says_who_the_room_is_and_what_it_has(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        rotating.publish(rotating.place.target_path(volume="a"))
        provider.error = (grpc.StatusCode.UNKNOWN, "no")
        rotating.publish(rotating.place.target_path(volume="a"))
        status = rotating.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60)
        assert (status.room, status.version, status.pid) == ("node", __version__, os.getpid())
        assert 0 < status.start_time <= time.time()
        assert status.facts["volumes"] == "1"
        assert status.facts["volumes_adopted"] == "0"
        assert status.facts["volumes_whose_last_refresh_failed"] == "1"
