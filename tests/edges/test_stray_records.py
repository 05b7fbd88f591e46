"""Whatever lies in the state directory, records are loaded and the start goes on."""

import json
import os
import pathlib
import shutil
from typing import Any

import pytest

from sscsi.core.volume_record import encode, record_name
from sscsi.edges.record_files import RecordFiles
from tests.support.one_record import make_record

GOOD = make_record("/pods/u/volumes/kubernetes.io~csi/v/mount")
OTHER = make_record("/other")


@pytest.fixture
def state(tmp_path: pathlib.Path) -> str:
    """The state directory, with one good record in it."""
    path = f"{tmp_path}/state"
    RecordFiles(path, f"{tmp_path}/run/records").write(GOOD)
    return path


def start(state: str) -> RecordFiles:
    """The store as the next process opens it, which knows the good record and no other."""
    store = RecordFiles(state, f"{os.path.dirname(state)}/run/records")
    assert store.load_all() == [GOOD]
    return store


@pytest.mark.parametrize("suffix", [".json", ".json.tmp"])
@pytest.mark.parametrize("content", ["empty", "with a file"])
def test_a_directory_in_the_place_of_a_record_is_no_record(state: str, suffix: str, content: str) -> None:
    path = f"{state}/{record_name(OTHER.target_path).removesuffix('.json')}{suffix}"
    os.mkdir(path)
    if content != "empty":
        os.mknod(f"{path}/file")
    store = start(state)
    assert os.path.isdir(path), "it is somebody's, and stays"
    assert not store.write(OTHER), "there is no place for the record, so it is kept for now only"
    assert OTHER in RecordFiles(state, f"{os.path.dirname(state)}/run/records").load_all()
    shutil.rmtree(path)
    assert store.write(OTHER)
    assert set(os.listdir(state)) == {record_name(GOOD.target_path), record_name(OTHER.target_path)}


def test_a_record_that_cannot_replace_a_directory_leaves_no_half_beside_it(state: str) -> None:
    name = record_name(OTHER.target_path)
    os.mkdir(f"{state}/{name}")
    RecordFiles(state, f"{os.path.dirname(state)}/run/records").write(OTHER)
    assert set(os.listdir(state)) == {record_name(GOOD.target_path), name}


@pytest.mark.parametrize(
    "path",
    ["/a\ud800b", "/a\0b", "/a/../b", "a", "", "/" + "x" * 5000],
    ids=str.split("surrogate nul dots relative empty long"),
)
def test_a_record_of_a_path_that_nobody_could_publish_is_dropped(state: str, path: str) -> None:
    fields: dict[str, Any] = json.loads(encode(OTHER))
    fields["target_path"] = path
    file = f"{state}/{'a' * 64}.json"
    for name in {file, f"{state}/{record_name(path)}" if "\ud800" not in path else file}:
        with open(name, "w", encoding="ascii") as written:
            json.dump(fields, written)
    start(state)
    assert os.listdir(state) == [record_name(GOOD.target_path)]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_keeps_nobody_from_starting(state: str, kind: str) -> None:
    path = f"{state}/{record_name(OTHER.target_path).removesuffix('.json')}.json.tmp"
    if kind == "link":
        os.symlink(state, path)
    else:
        os.mkfifo(path)
    start(state)
    assert not os.path.lexists(path)
