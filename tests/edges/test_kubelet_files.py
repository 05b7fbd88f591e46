"""Whose driver kubelet says a volume is of, from whatever is in its place."""

import json
import os
import pathlib

import pytest

from sscsi.edges.kubelet_files import driver_of


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where kubelet's file is."""
    return tmp_path / "vol_data.json"


@pytest.fixture
def target_path(tmp_path: pathlib.Path) -> str:
    return f"{tmp_path}/mount"


def test_the_driver_is_told(file: pathlib.Path, target_path: str) -> None:
    # As kubelet writes it (sidecars reference, C7).
    file.write_text(
        json.dumps({"driverName": "a.example", "nodeName": "n", "volumeLifecycleMode": "Ephemeral"})
    )
    assert driver_of(target_path) == "a.example"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"driverName"',
        b"{}",
        b'{"driverName": 7}',
        b'{"driverName": null}',
        b'{"driverName": {"driverName": "x"}}',
        b"[" * 60_000,
        b"1" * 60_000,
        b'{"driverName": "a.example", "x": "' + b"x" * 70_000 + b'"}',
    ],
    ids=str.split("empty half binary list null text nothing number none object nested digits huge"),
)
def test_of_garbage_nothing_is_told(file: pathlib.Path, target_path: str, data: bytes) -> None:
    file.write_bytes(data)
    assert driver_of(target_path) == ""


def test_no_link_is_followed(file: pathlib.Path, tmp_path: pathlib.Path, target_path: str) -> None:
    (tmp_path / "elsewhere").write_text('{"driverName": "a.example"}')
    file.symlink_to("elsewhere")
    assert driver_of(target_path) == ""


def test_a_pipe_is_not_waited_for(file: pathlib.Path, target_path: str) -> None:
    os.mkfifo(file)
    assert driver_of(target_path) == ""
    writer = os.open(file, os.O_RDWR | os.O_NONBLOCK)
    try:
        assert driver_of(target_path) == ""
    finally:
        os.close(writer)


def test_a_directory_or_nothing_there_tells_nothing(file: pathlib.Path, target_path: str) -> None:
    assert driver_of(target_path) == ""
    file.mkdir()
    assert driver_of(target_path) == ""
    assert driver_of("/none/such/mount") == ""
