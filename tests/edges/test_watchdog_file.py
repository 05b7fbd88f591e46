import os
from pathlib import Path

import pytest

from sscsi.core.watchdog_state import WatchdogState, to_json
from sscsi.edges.watchdog_file import read_watchdog_state

STATE = WatchdogState(time=1.5, pid=2, supervisor_pid=1, programs={})


def test_the_state_is_read(tmp_path: Path) -> None:
    (tmp_path / "watchdog.json").write_text(to_json(STATE))
    assert read_watchdog_state(str(tmp_path)) == STATE


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_watchdog_state(str(tmp_path))


def test_a_broken_file_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "watchdog.json").write_text(to_json(STATE)[:-10])
    with pytest.raises(ValueError, match="not JSON"):
        read_watchdog_state(str(tmp_path))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "watchdog.json")
    with pytest.raises(ValueError, match="not a regular file"):
        read_watchdog_state(str(tmp_path))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "else").write_text(to_json(STATE))
    (tmp_path / "watchdog.json").symlink_to("else")
    with pytest.raises(OSError, match="symbolic"):
        read_watchdog_state(str(tmp_path))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "watchdog.json").mkdir()
    with pytest.raises((OSError, ValueError)):
        read_watchdog_state(str(tmp_path))


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with open(tmp_path / "watchdog.json", "wb") as file:
        file.truncate(2**33)
    with pytest.raises(ValueError, match="larger than"):
        read_watchdog_state(str(tmp_path))
