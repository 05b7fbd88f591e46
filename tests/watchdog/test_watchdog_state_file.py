import contextlib
import dataclasses
import logging
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecars.watchdog.state_file import StateFile
from sscsi.core.watchdog_state import WatchdogState, to_json
from tests.support.forked import in_child

_FILES = ["watchdog.json", "watchdog.json.lock"]
_STATE = WatchdogState(time=1.0, pid=2, supervisor_pid=3, programs={})


def warnings(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.levelno >= logging.WARNING for record in caplog.records)


def test_what_was_written_last_is_read(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path))
    assert file.read() is None
    file.write(_STATE)
    later = dataclasses.replace(_STATE, time=5.0)
    file.write(later)
    assert StateFile(str(tmp_path)).read() == later
    assert sorted(os.listdir(tmp_path)) == _FILES


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("narrow_umask")
def test_the_directorys_group_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o2750)
    StateFile(str(tmp_path)).write(_STATE)
    status = os.stat(tmp_path / "watchdog.json")
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_gid == os.stat(tmp_path).st_gid


def test_a_reader_has_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path))
    file.write(_STATE)
    with open(tmp_path / "watchdog.json", encoding="utf-8") as reader:
        file.write(dataclasses.replace(_STATE, time=5.0))
        assert reader.read() == to_json(_STATE)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 9}', b"\xff\xfe\x00"])
def test_a_file_that_nobody_understands_is_none(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "watchdog.json").write_bytes(content)
    assert StateFile(str(tmp_path)).read() is None
    assert warnings(caplog) == 1


def test_a_directory_in_its_place_is_a_warning_and_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "watchdog.json").mkdir()
    file = StateFile(str(tmp_path))
    assert file.read() is None
    file.write(_STATE)
    assert warnings(caplog) == 2
    assert sorted(os.listdir(tmp_path)) == _FILES


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Files of this process end after 10 bytes, as on a disk that is full. The test run's own output may be one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_last_file_and_no_other(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path))
    file.write(_STATE)
    with no_room():
        file.write(dataclasses.replace(_STATE, time=5.0))
    assert file.read() == _STATE
    assert sorted(os.listdir(tmp_path)) == _FILES


def test_what_keeps_it_from_being_written_is_said_once_and_its_end_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    directory = tmp_path / "run"
    file = StateFile(str(directory))
    for _ in range(3):
        file.write(_STATE)
    assert warnings(caplog) == 1
    directory.mkdir()
    for _ in range(3):
        file.write(_STATE)
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert file.read() == _STATE


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".watchdog.json~").write_text("half a fi")
    StateFile(str(tmp_path)).write(_STATE)
    assert sorted(os.listdir(tmp_path)) == _FILES


def test_a_second_watchdog_in_the_same_directory_leaves_the_file_to_the_first_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = StateFile(str(tmp_path)), StateFile(str(tmp_path))
    first.write(_STATE)
    others = dataclasses.replace(_STATE, supervisor_pid=4)
    for _ in range(3):
        second.write(others)
    assert first.read() == _STATE
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_second_watchdog_has_the_file_when_the_first_one_has_ended(tmp_path: Path) -> None:
    first, second = StateFile(str(tmp_path)), StateFile(str(tmp_path))

    def write_and_end() -> None:
        first.write(_STATE)
        second.write(dataclasses.replace(_STATE, supervisor_pid=4))

    in_child(write_and_end)
    assert second.read() == _STATE
    second.write(dataclasses.replace(_STATE, supervisor_pid=4))
    written = second.read()
    assert written is not None and written.supervisor_pid == 4
