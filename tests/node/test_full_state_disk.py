"""A state directory that can't even be made, as its disk is full: pods start all the same."""

import ctypes
import logging
import os

import pytest

from sscsi.edges.record_files import RecordFiles
from sscsi.edges.run_directory import make_private_directory
from sscsi.errors import ConfigError
from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import room_in_process, run_node
from tests.support.one_record import make_record
from tests.support.volume_state import pod_view

pytestmark = pytest.mark.root


@pytest.fixture
def full_disk(place: NodePlace) -> str:
    """A disk with no inode left but those of its root and of one file, `ballast`."""
    path = f"{place.base}/disk"
    os.mkdir(path)
    libc = ctypes.CDLL(None)
    assert libc.mount(b"tmpfs", path.encode(), b"tmpfs", ctypes.c_ulong(0), b"nr_inodes=2") == 0
    os.mknod(f"{path}/ballast")
    with pytest.raises(OSError, match="No space"):
        os.mkdir(f"{path}/more")
    return path


def test_the_run_directory_keeps_the_records_with_a_warning(
    place: NodePlace, full_disk: str, caplog: pytest.LogCaptureFixture
) -> None:
    state, spare = f"{full_disk}/state", f"{place.run_directory}/records"
    store = RecordFiles(state, spare)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert not os.path.exists(state)
    assert store.load_all() == []
    assert not store.write(make_record("/a"))
    assert RecordFiles(state, spare).load_all() == [make_record("/a")]
    store.delete("/a")
    assert RecordFiles(state, spare).load_all() == []


def test_with_room_again_the_directory_is_made_and_the_record_goes_home(
    place: NodePlace, full_disk: str
) -> None:
    state, spare = f"{full_disk}/state", f"{place.run_directory}/records"
    store = RecordFiles(state, spare)
    store.write(make_record("/a"))
    libc, options = ctypes.CDLL(None), b"nr_inodes=10"
    remount = ctypes.c_ulong(32)
    assert libc.mount(None, full_disk.encode(), None, remount, options) == 0
    assert store.write(make_record("/a"))
    assert len(os.listdir(state)) == 1
    assert os.listdir(spare) == []
    assert os.stat(state).st_mode & 0o777 == 0o700


def test_pods_start_and_the_next_process_knows_their_volumes(
    place: NodePlace, full_disk: str, status_sync: FakeStatusSync, provider: FakeProvider
) -> None:
    target_path = place.target_path()
    flag = f"--state-dir={full_disk}/state"
    for _ in range(2):
        with room_in_process(place, flag) as node:
            node.publish(target_path)
    assert len(provider.requests) == 1
    assert pod_view(target_path) == {"secret": (0o644, b"first content")}


def test_a_run_directory_on_a_full_disk_ends_the_start(place: NodePlace, full_disk: str) -> None:
    with pytest.raises(ConfigError, match="No space left"):
        make_private_directory(f"{full_disk}/records", "--run-dir")
    result = run_node(*place.flags(f"--run-dir={full_disk}/run"))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "--run-dir" in line
