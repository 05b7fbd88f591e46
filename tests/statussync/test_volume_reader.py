"""The files of a volume are read from one version, beneath its root, and nothing else is."""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sscsi.edges.volume_reader import VolumeReader
from sscsi.errors import TargetPathError
from tests.statussync.making import VERSION, make_volume
from tests.support.require import lacking

LIMIT = 100


def write_version(root: Path, name: str, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (root / name / path).parent.mkdir(parents=True, exist_ok=True)
        (root / name / path).write_bytes(content)


def swap(root: Path, name: str) -> None:
    (root / "..data_tmp").symlink_to(name)
    (root / "..data_tmp").rename(root / "..data")


@pytest.fixture
def swapped(tmp_path: Path) -> Path:
    """A volume in upstream's layout."""
    write_version(tmp_path, VERSION, {"a": b"one", "nested/b": b"two"})
    swap(tmp_path, VERSION)
    (tmp_path / "a").symlink_to("..data/a")
    (tmp_path / "nested").symlink_to("..data/nested")
    return tmp_path


def read(root: Path, names: Sequence[str] | None, *, data_directory: str = VERSION) -> dict[str, bytes]:
    volume = make_volume(target_path=str(root), data_directory=data_directory)
    return VolumeReader().read(volume, names, limit_bytes=LIMIT)


def read_every(root: Path, *, data_directory: str = VERSION) -> dict[str, bytes]:
    return read(root, None, data_directory=data_directory)


def test_requested_files_are_read_through_the_data_link(swapped: Path) -> None:
    assert read(swapped, ["a", "nested/b", "none", "nested"]) == {"a": b"one", "nested/b": b"two"}


def test_a_volume_without_the_data_link_is_read_as_plain_files(tmp_path: Path) -> None:
    write_version(tmp_path, ".", {"a": b"one", "nested/b": b"two", "..x": b"hidden"})
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "fifo")
    names = ["a", "nested/b", "..x", "link", "fifo", "a/b"]
    assert read(tmp_path, names, data_directory="") == {"a": b"one", "nested/b": b"two"}


def test_without_names_every_file_of_the_version_is_read_and_no_link_followed(swapped: Path) -> None:
    (swapped / VERSION / "file").symlink_to("/etc/hostname")
    (swapped / VERSION / "directory").symlink_to("/etc")
    (swapped / VERSION / "nested" / "up").symlink_to("../a")
    (swapped / "stray").write_bytes(b"not of this version")
    os.mkfifo(swapped / VERSION / "fifo")
    assert read_every(swapped) == {"a": b"one", "nested/b": b"two"}


def test_without_names_every_plain_file_of_a_self_writing_provider_is_read(tmp_path: Path) -> None:
    write_version(
        tmp_path, ".", {"b": b"one", "a/b/c": b"two", "..x/y": b"hidden", "a/..z": b"shown", ".d": b""}
    )
    (tmp_path / "link").symlink_to("b")
    contents = read_every(tmp_path, data_directory="")
    assert contents == {".d": b"", "a/..z": b"shown", "a/b/c": b"two", "b": b"one"}
    assert list(contents) == sorted(contents)


def test_no_more_files_are_read_than_tell_that_they_are_too_large(swapped: Path) -> None:
    half = b"x" * (LIMIT // 2 + 1)
    write_version(swapped, VERSION, {"a": half, "b": half, "c": half})
    assert read_every(swapped) == {"a": half, "b": half}


def test_a_volume_of_no_file_has_none(tmp_path: Path) -> None:
    assert read_every(tmp_path, data_directory="") == {}


def test_directories_without_end_are_refused(tmp_path: Path) -> None:
    directory = tmp_path
    for _ in range(70):
        directory = directory / "d"
    directory.mkdir(parents=True)
    with pytest.raises(TargetPathError, match="ENAMETOOLONG"):
        read_every(tmp_path, data_directory="")


def test_files_of_mode_zero_are_read(swapped: Path) -> None:
    if os.geteuid() != 0:
        lacking("root", reason="reading files of mode 0 needs CAP_DAC_READ_SEARCH, as status-sync has it")
    (swapped / VERSION / "a").chmod(0)
    assert read(swapped, ["a"]) == {"a": b"one"}


def test_of_a_large_file_comes_one_byte_more_than_the_limit(swapped: Path) -> None:
    (swapped / VERSION / "a").write_bytes(b"x" * (LIMIT * 2))
    assert read(swapped, ["a"]) == {"a": b"x" * (LIMIT + 1)}


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/etc/passwd", "../x", "a/..", "nested//b", "./a", "..data/a", "a\0"]
)
def test_a_name_that_is_no_path_in_a_volume_is_no_file(swapped: Path, name: str) -> None:
    assert read(swapped, [name]) == {}


def test_no_link_within_a_version_is_followed(swapped: Path) -> None:
    (swapped / VERSION / "out").symlink_to("/etc")
    (swapped / VERSION / "file").symlink_to("/etc/hostname")
    assert read(swapped, ["out/hostname", "file"]) == {}


@pytest.mark.parametrize("target", ["/etc", "../..", "..", "nested", "..x/../.."])
def test_a_data_link_that_leads_out_is_refused(swapped: Path, target: str) -> None:
    swap(swapped, target)
    for names in (["a"], None):
        with pytest.raises(TargetPathError, match="leads out of it"):
            read(swapped, names)


def test_a_data_link_that_leads_nowhere_is_said_so(swapped: Path) -> None:
    swap(swapped, "..2025_11_24_01_02_09.9")
    with pytest.raises(TargetPathError, match="leads nowhere"):
        read(swapped, ["a"])


def test_a_volume_that_is_gone_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(TargetPathError, match="ENOENT"):
        read(tmp_path / "none", ["a"])


def test_a_link_in_the_place_of_the_volume_is_not_followed(
    swapped: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("links") / "volume"
    link.symlink_to(swapped)
    with pytest.raises(TargetPathError):
        read(link, ["a"])


def test_all_content_is_of_one_version_while_versions_are_swapped(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(20)]
    stop = threading.Event()

    def refresh(number: int) -> None:
        version = f"..2025_11_24_01_02_03.{number}"
        write_version(tmp_path, version, dict.fromkeys(names, str(number).encode()))
        swap(tmp_path, version)

    def keep_refreshing() -> None:
        number = 0
        while not stop.is_set():
            refresh(number + 1)
            shutil.rmtree(tmp_path / f"..2025_11_24_01_02_03.{number}")
            number += 1

    refresh(0)
    refresher = threading.Thread(target=keep_refreshing)
    refresher.start()
    whole: set[bytes] = set()
    try:
        deadline = time.monotonic() + 20.0
        while len(whole) < 20 and time.monotonic() < deadline:
            with contextlib.suppress(TargetPathError):  # "changes too quickly" is an honest answer here
                content = read(tmp_path, names if len(whole) % 2 else None)
                assert content.keys() == set(names)
                assert len(set(content.values())) == 1
                whole |= set(content.values())
    finally:
        stop.set()
        refresher.join()
    assert len(whole) >= 20


def test_reading_leaves_no_descriptor_open(swapped: Path) -> None:
    names = ["a", "nested/b", "nested", "none", "..", "a/b"]
    read(swapped, names)
    before = len(os.listdir("/proc/self/fd"))
    read(swapped, names)
    read_every(swapped)
    assert len(os.listdir("/proc/self/fd")) == before


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text("ab./\0", max_size=6), max_size=5))
def test_no_name_reads_anything_outside_the_volume(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    base = tmp_path_factory.mktemp("any")
    (base / "a").write_bytes(b"outside")
    (base / "b").write_bytes(b"outside")
    root = base / "volume"
    write_version(root, VERSION, {"a/b": b"inside", "b": b"inside"})
    swap(root, VERSION)
    assert set(read(root, names).values()) <= {b"inside"}
