"""A record that is not where it belongs is written again with the next put, though only times have changed since."""

import dataclasses
import os
from collections.abc import Callable

import pytest

from sscsi.core.volume_record import VolumeRecord, record_name
from sscsi.errors import RecordError
from sscsi.node.volumes import Volumes
from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_records import FakeRecords
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, room_in_process
from tests.support.one_record import make_record

PATH = "/pods/u/volumes/kubernetes.io~csi/v/mount"


class SpareRecords(FakeRecords):
    """Keeps records only for now while `is_full`, as the run directory does for a full disk."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    def write(self, record: VolumeRecord) -> bool:
        return super().write(record) and not self.is_full


@pytest.fixture
def store() -> SpareRecords:
    return SpareRecords()


def at(seconds: float, path: str = PATH) -> VolumeRecord:
    """The record of one volume after an unchanged refresh at a time."""
    return make_record(path, attempt_time=seconds, success_time=seconds, success_boottime=seconds)


def refuse(store: SpareRecords) -> None:
    store.error = RecordError("no room at all")


def keep_for_now(store: SpareRecords) -> None:
    store.is_full = True


def test_new_times_alone_are_not_written(store: SpareRecords) -> None:
    volumes = Volumes(store)
    for second in (1.0, 2.0, 3.0):
        volumes.put(at(second))
    assert store.writes == 1
    assert volumes.get(PATH) == at(3.0)


@pytest.mark.parametrize("trouble", [refuse, keep_for_now])
def test_what_found_no_room_is_written_with_the_next_put_until_it_has_found_some(
    store: SpareRecords, trouble: Callable[[SpareRecords], None]
) -> None:
    volumes = Volumes(store)
    trouble(store)
    for second in (1.0, 2.0):
        volumes.put(at(second))
    assert volumes.all() == [at(2.0)], "the content is there and known"
    store.error, store.is_full = None, False
    before = store.writes
    volumes.put(at(3.0))
    assert store.records == {PATH: at(3.0)}
    volumes.put(at(4.0))
    assert store.writes == before + 1, "once is enough"


def test_a_change_that_found_no_room_is_not_taken_for_saved(store: SpareRecords) -> None:
    volumes = Volumes(store)
    volumes.put(at(1.0))
    refuse(store)
    failed = dataclasses.replace(at(2.0), last_error="the store says no")
    volumes.put(failed)
    store.error = None
    volumes.put(dataclasses.replace(failed, attempt_time=3.0))
    assert store.records[PATH].last_error == "the store says no"


def test_one_volumes_trouble_is_not_anothers(store: SpareRecords) -> None:
    volumes = Volumes(store)
    volumes.put(at(1.0, "/other"))
    refuse(store)
    volumes.put(at(1.0))
    store.error = None
    volumes.put(at(2.0, "/other"))
    assert set(store.records) == {"/other"}
    assert store.records["/other"] == at(1.0, "/other")


def test_a_volume_that_went_leaves_no_trouble_behind(store: SpareRecords) -> None:
    volumes = Volumes(store)
    keep_for_now(store)
    volumes.put(at(1.0))
    volumes.remove(PATH)
    store.is_full = False
    for second in (2.0, 3.0):
        volumes.put(at(second))
    assert store.writes == 2


@pytest.mark.root
def test_a_record_goes_home_with_an_unchanged_refresh_once_there_is_room(
    place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
) -> None:
    target_path = place.target_path()
    name = record_name(target_path)
    spare = f"{place.run_directory}/records"

    def publish(node: NodeInProcess) -> tuple[list[str], list[str]]:
        node.publish(target_path)
        return place.records(), os.listdir(spare)

    with room_in_process(place, "--enable-secret-rotation", "--rotation-poll-interval=0") as node:
        # A directory in its place takes no record, as a full disk takes none.
        os.mkdir(f"{place.state_directory}/{name}")
        assert publish(node) == ([name], [name])
        os.rmdir(f"{place.state_directory}/{name}")
        assert publish(node) == ([name], [])
    assert place.record().target_path == target_path
