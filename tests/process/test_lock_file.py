import os
from pathlib import Path

import pytest

from sscsi.process.lock_file import LockFile
from tests.support.forked import in_child


def test_one_holder_at_a_time_and_the_file_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lock")
    first, second = LockFile(path), LockFile(path)
    assert first.hold() and first.hold()
    assert not second.hold()
    first.release()
    first.release()
    assert second.hold()
    second.release()
    assert os.listdir(tmp_path) == ["x.lock"]


def test_the_lock_of_a_process_that_ended_is_free(tmp_path: Path) -> None:
    lock = LockFile(str(tmp_path / "x.lock"))
    assert in_child(lambda: str(lock.hold())) == "True"
    assert lock.hold()
    lock.release()


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LockFile(str(tmp_path / "no" / "x.lock")).hold()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "x.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LockFile(str(tmp_path / "x.lock")).hold()
    assert not os.path.lexists(tmp_path / "elsewhere")
