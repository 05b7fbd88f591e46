"""What a node room finds when it starts: records that count, records that do not, and mounts without one."""

import ctypes
import dataclasses
import logging
import os

import pytest

from sscsi.core.volume_record import encode, record_name
from sscsi.pb import sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, room_in_process
from tests.support.volume_state import pod_view
from tests.support.volume_wrecks import change_record, litter_records, litter_volume, upstream_volume

pytestmark = pytest.mark.root

_MS_BIND = 1 << 12


def volumes_of(node: NodeInProcess) -> int:
    """How many volumes the room says it has."""
    return int(node.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60).facts["volumes"])


@pytest.fixture
def published(place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider) -> str:
    """The target path of a volume that a room, now stopped, has published."""
    target_path = place.target_path()
    with room_in_process(place) as node:
        node.publish(target_path)
    return target_path


class TestRecordsThatCount:
    def test_a_volume_outlives_the_room(
        self, place: NodePlace, published: str, provider: FakeProvider, status_sync: FakeStatusSync
    ) -> None:
        before = place.record()
        with room_in_process(place) as node:
            assert volumes_of(node) == 1
            node.publish(published)
            assert place.record() == before
        assert len(provider.requests) == 1

    def test_a_room_that_comes_back_refreshes_with_the_versions_it_knew(
        self, place: NodePlace, published: str, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(("secret", 0o644, b"second"), version="v2")
        with room_in_process(place, "--enable-secret-rotation", "--rotation-poll-interval=0") as node:
            node.publish(published)
        assert [(v.id, v.version) for v in provider.requests[1].current_object_version] == [("secret", "v1")]
        assert pod_view(published) == {"secret": (0o644, b"second")}

    def test_the_interval_goes_on_over_a_restart(
        self, place: NodePlace, published: str, provider: FakeProvider
    ) -> None:
        with room_in_process(place, "--enable-secret-rotation", "--rotation-poll-interval=1h") as node:
            node.publish(published)
        assert len(provider.requests) == 1

    def test_what_an_interrupted_write_left_in_a_recorded_volume_goes_at_start(
        self, place: NodePlace, published: str
    ) -> None:
        litter_volume(published)
        with room_in_process(place) as node:
            assert volumes_of(node) == 1
        data = os.readlink(f"{published}/..data")
        assert sorted(os.listdir(published)) == sorted(["..data", data, "secret"])


class TestRecordsThatDoNot:
    @pytest.mark.parametrize(
        "change",
        [{"boot_id": "another"}, {"device": 1}, {"data_directory": "..2020_01_01_00_00_00.1"}],
        ids=["another boot", "another device", "another version"],
    )
    def test_a_record_that_does_not_agree_is_dropped_and_the_whole_volume_adopted(
        self, place: NodePlace, published: str, provider: FakeProvider, change: dict[str, object]
    ) -> None:
        change_record(place, published, **change)
        with room_in_process(place) as node:
            assert volumes_of(node) == 0
            assert place.records() == []
            node.publish(published)
            assert place.record().adopted
        assert len(provider.requests) == 1
        assert pod_view(published) == {"secret": (0o644, b"first content")}

    def test_the_record_of_a_volume_that_is_gone_is_dropped(self, place: NodePlace, published: str) -> None:
        assert ctypes.CDLL(None).umount2(published.encode(), 0) == 0
        with room_in_process(place) as node:
            assert volumes_of(node) == 0
        assert place.records() == []

    def test_the_record_of_a_volume_whose_content_is_gone_is_dropped_and_the_next_publish_fills_it(
        self, place: NodePlace, published: str, provider: FakeProvider
    ) -> None:
        os.unlink(f"{published}/..data")
        with room_in_process(place) as node:
            assert place.records() == []
            assert len(place.mounts(published)) == 1, "a pod may be about to start on it"
            node.publish(published)
        assert len(provider.requests) == 2
        assert pod_view(published) == {"secret": (0o644, b"first content")}

    def test_halves_and_records_of_others_are_dropped_and_the_good_one_counts(
        self, place: NodePlace, published: str
    ) -> None:
        before = place.record()
        litter_records(place, published)
        with room_in_process(place) as node:
            assert volumes_of(node) == 1
        assert place.record() == before
        assert os.listdir(f"{place.run_directory}/records") == []


class TestMountsWithoutARecord:
    def test_they_are_named_in_the_log(
        self, place: NodePlace, status_sync: FakeStatusSync, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole, empty = place.target_path(volume="whole"), place.target_path(volume="empty")
        upstream_volume(whole, {"a": (0o644, b"")})
        upstream_volume(empty, {}, layout=False)
        upstream_volume(f"{place.base}/elsewhere", {}, layout=False)
        caplog.set_level(logging.INFO, logger="sscsi")
        with room_in_process(place):
            pass
        named = {
            record.__dict__["target_path"]: record.__dict__["reason"]
            for record in caplog.records
            if "target_path" in record.__dict__
        }
        assert named == {whole: "its next publish adopts it", empty: "its next publish fills it"}
        assert len(place.mounts()) == 3


class TestTroubledDisks:
    @pytest.fixture
    def full(self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider) -> NodePlace:
        """A place whose state directory takes no record."""
        os.mkdir(place.state_directory)
        libc = ctypes.CDLL(None)
        state = place.state_directory.encode()
        assert libc.mount(b"tmpfs", state, b"tmpfs", ctypes.c_ulong(0), b"size=4k") == 0
        with open(f"{place.state_directory}/ballast", "wb") as file:
            file.write(b"x" * 4096)
        return place

    def test_on_a_full_disk_pods_start_and_the_record_is_in_the_run_directory(
        self, full: NodePlace, provider: FakeProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        target_path = full.target_path()
        with room_in_process(full) as node:
            node.publish(target_path)
        assert full.records() == ["ballast"]
        assert os.listdir(f"{full.run_directory}/records") == [record_name(target_path)]
        # In a user namespace the mounter has a warning of its own.
        told = [record.levelno for record in caplog.records if record.name == "sscsi.edges.record_files"]
        assert told == [logging.WARNING]
        with room_in_process(full) as node:
            assert volumes_of(node) == 1
            node.publish(target_path)
            assert len(provider.requests) == 1
            node.unpublish(target_path)
        assert os.listdir(f"{full.run_directory}/records") == []

    def test_a_stale_record_that_cannot_be_removed_does_not_keep_the_room_from_starting(
        self, place: NodePlace, published: str, provider: FakeProvider
    ) -> None:
        record = dataclasses.replace(place.record(), boot_id="another")
        path = f"{place.state_directory}/{record_name(published)}"
        with open(path, "wb") as file:
            file.write(encode(record))
        # A mount point can be neither unlinked nor renamed over, as on a disk that fails.
        libc = ctypes.CDLL(None)
        assert libc.mount(path.encode(), path.encode(), None, ctypes.c_ulong(_MS_BIND), None) == 0
        with room_in_process(place) as node:
            assert volumes_of(node) == 0
            node.publish(published)
            assert len(provider.requests) == 1
            node.unpublish(published)
