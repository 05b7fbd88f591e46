"""What every RecordStore does, on the fake and on files; then what only files can show."""

import contextlib
import ctypes
import logging
import os
import stat
from collections.abc import Iterator

import pytest

from sscsi.core.volume_record import encode, record_name
from sscsi.edges.record_files import RecordFiles
from sscsi.errors import ConfigError, RecordError
from sscsi.ports import RecordStore
from tests.fakes.fake_records import FakeRecords
from tests.support.node_place import NodePlace, node_place
from tests.support.one_record import make_record

_MS_REMOUNT, _MS_RDONLY = 32, 1


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


def open_files(place: NodePlace) -> RecordFiles:
    return RecordFiles(place.state_directory, f"{place.run_directory}/records")


@pytest.fixture(params=["fake", "files"])
def store(request: pytest.FixtureRequest, place: NodePlace) -> RecordStore:
    return FakeRecords() if request.param == "fake" else open_files(place)


class TestEveryStore:
    def test_a_new_store_is_empty(self, store: RecordStore) -> None:
        assert store.load_all() == []

    def test_what_is_written_is_loaded(self, store: RecordStore) -> None:
        records = [make_record("/a"), make_record("/b", last_error="none of \u2028 this", files=())]
        for record in records:
            store.write(record)
        assert sorted(store.load_all(), key=lambda record: record.target_path) == records

    def test_a_record_replaces_the_older_one_of_its_target_path(self, store: RecordStore) -> None:
        store.write(make_record(device=7))
        store.write(make_record(device=8))
        assert [record.device for record in store.load_all()] == [8]

    def test_a_deleted_record_is_gone_and_the_others_stay(self, store: RecordStore) -> None:
        store.write(make_record("/a"))
        store.write(make_record("/b"))
        store.delete("/a")
        assert [record.target_path for record in store.load_all()] == ["/b"]

    def test_deleting_what_was_never_there_is_fine(self, store: RecordStore) -> None:
        store.delete("/a")
        assert store.load_all() == []

    def test_a_very_long_target_path_has_a_record_too(self, store: RecordStore) -> None:
        path = "/" + "x" * 4000
        store.write(make_record(path))
        assert [record.target_path for record in store.load_all()] == [path]


class TestFiles:
    def test_a_record_outlives_the_process(self, place: NodePlace) -> None:
        open_files(place).write(make_record())
        assert open_files(place).load_all() == [make_record()]

    def test_only_root_reads_records(self, place: NodePlace) -> None:
        open_files(place).write(make_record())
        (name,) = place.records()
        assert name == record_name("/pods/u/mount")
        assert stat.S_IMODE(os.stat(f"{place.state_directory}/{name}").st_mode) == 0o600
        assert stat.S_IMODE(os.stat(place.state_directory).st_mode) == 0o700

    @pytest.mark.parametrize(
        "data",
        [b"", b"{", b"[]", b"{}", b"\xff\xfe", encode(make_record())[:-20], encode(make_record("/other"))],
        ids=["empty", "half", "list", "no fields", "no text", "cut", "another path's"],
    )
    def test_what_is_no_whole_record_is_dropped_and_the_others_are_loaded(
        self, place: NodePlace, data: bytes
    ) -> None:
        store = open_files(place)
        store.write(make_record("/a"))
        with open(f"{place.state_directory}/{record_name('/b')}", "wb") as file:
            file.write(data)
        assert [record.target_path for record in open_files(place).load_all()] == ["/a"]
        assert place.records() == [record_name("/a")]

    def test_what_a_killed_write_left_is_removed(self, place: NodePlace) -> None:
        store = open_files(place)
        store.write(make_record())
        with open(
            f"{place.state_directory}/{record_name('/b').removesuffix('.json')}.json.tmp", "wb"
        ) as file:
            file.write(b"{")
        assert store.load_all() == [make_record()]
        assert place.records() == [record_name("/pods/u/mount")]

    def test_files_of_other_names_are_nobodys_business(self, place: NodePlace) -> None:
        store = open_files(place)
        with open(f"{place.state_directory}/README", "wb"):
            pass
        os.mkdir(f"{place.state_directory}/lost+found")
        assert store.load_all() == []
        assert place.records() == ["README", "lost+found"]

    def test_a_directory_in_the_place_of_a_record_is_no_record(self, place: NodePlace) -> None:
        store = open_files(place)
        os.mkdir(f"{place.state_directory}/{record_name('/a')}")
        store.write(make_record("/b"))
        assert [record.target_path for record in store.load_all()] == ["/b"]

    def test_a_state_directory_that_somebody_removed_is_made_again(self, place: NodePlace) -> None:
        store = open_files(place)
        os.rmdir(place.state_directory)
        store.write(make_record())
        assert place.records() == [record_name("/pods/u/mount")]

    @pytest.mark.parametrize("directory", ["state", "run/records"])
    def test_a_directory_that_cannot_be_made_ends_the_start_with_the_flag_to_change(
        self, place: NodePlace, directory: str
    ) -> None:
        with open(f"{place.base}/{directory}", "wb"):
            pass
        with pytest.raises(ConfigError, match=r"see --(run|state)-dir") as refusal:
            open_files(place)
        assert refusal.value.exit_code == 1
        assert f"{place.base}/{directory}" in str(refusal.value)


@pytest.fixture
def full(place: NodePlace) -> NodePlace:
    """A place whose state directory is a full disk."""
    os.mkdir(place.state_directory)
    mount_small(place.state_directory)
    fill(place.state_directory)
    return place


def mount_small(path: str) -> None:
    libc = ctypes.CDLL(None)
    assert libc.mount(b"tmpfs", path.encode(), b"tmpfs", ctypes.c_ulong(0), b"size=64k") == 0


def fill(directory: str) -> None:
    """Write until the disk takes no more."""
    with open(f"{directory}/ballast", "wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)
    assert os.statvfs(directory).f_bavail == 0


def set_read_only(path: str, read_only: bool) -> None:
    flags = _MS_REMOUNT | (_MS_RDONLY if read_only else 0)
    assert ctypes.CDLL(None).mount(None, path.encode(), None, ctypes.c_ulong(flags), None) == 0


@pytest.mark.root
class TestTroubledDisks:
    def test_a_full_disk_sends_the_record_to_the_run_directory_with_a_warning(
        self, full: NodePlace, caplog: pytest.LogCaptureFixture
    ) -> None:
        open_files(full).write(make_record())
        assert full.records() == ["ballast"]
        assert os.listdir(f"{full.run_directory}/records") == [record_name("/pods/u/mount")]
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert open_files(full).load_all() == [make_record()]

    def test_the_newer_of_two_records_counts_wherever_it_is(self, place: NodePlace) -> None:
        os.mkdir(place.state_directory)
        mount_small(place.state_directory)
        store = open_files(place)
        store.write(make_record(attempt_time=1.0, last_error="old"))
        fill(place.state_directory)
        store.write(make_record(attempt_time=2.0, last_error="new"))
        assert [record.last_error for record in open_files(place).load_all()] == ["new"]

    def test_with_room_again_the_record_goes_home(self, full: NodePlace) -> None:
        open_files(full).write(make_record())
        os.unlink(f"{full.state_directory}/ballast")
        open_files(full).write(make_record())
        assert full.records() == [record_name("/pods/u/mount")]
        assert os.listdir(f"{full.run_directory}/records") == []

    def test_a_record_in_the_run_directory_is_deleted_like_any_other(self, full: NodePlace) -> None:
        open_files(full).write(make_record())
        open_files(full).delete("/pods/u/mount")
        assert open_files(full).load_all() == []

    def test_with_both_directories_full_the_caller_is_told(self, full: NodePlace) -> None:
        spare = f"{full.run_directory}/records"
        os.mkdir(spare)
        mount_small(spare)
        store = open_files(full)
        fill(spare)
        with pytest.raises(RecordError, match=f"cannot write a record to {spare} either: ENOSPC"):
            store.write(make_record())
        assert store.load_all() == []

    def test_a_disk_that_turns_read_only_sends_records_to_the_run_directory_too(
        self, place: NodePlace
    ) -> None:
        os.mkdir(place.state_directory)
        mount_small(place.state_directory)
        store = open_files(place)
        set_read_only(place.state_directory, True)
        store.write(make_record())
        assert store.load_all() == [make_record()]

    def test_a_record_on_a_read_only_disk_cannot_be_deleted_and_the_caller_is_told(
        self, place: NodePlace
    ) -> None:
        os.mkdir(place.state_directory)
        mount_small(place.state_directory)
        store = open_files(place)
        store.write(make_record())
        set_read_only(place.state_directory, True)
        with pytest.raises(RecordError, match=f"cannot remove a record from {place.state_directory}: EROFS"):
            store.delete("/pods/u/mount")
        assert store.load_all() == [make_record()]

    def test_a_record_beside_a_read_only_disk_is_deleted(self, place: NodePlace) -> None:
        # The kernel says EROFS before it looks whether there is anything to remove.
        os.mkdir(place.state_directory)
        mount_small(place.state_directory)
        store = open_files(place)
        set_read_only(place.state_directory, True)
        store.write(make_record())
        store.delete("/pods/u/mount")
        assert store.load_all() == []

    def test_a_disk_that_is_read_only_from_the_start_ends_the_start(self, place: NodePlace) -> None:
        os.mkdir(place.state_directory)
        mount_small(place.state_directory)
        set_read_only(place.state_directory, True)
        with pytest.raises(ConfigError, match=f"directory '{place.state_directory}' is not writable"):
            open_files(place)
