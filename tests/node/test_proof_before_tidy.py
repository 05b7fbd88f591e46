"""The old version, and a provider's own files, go only when the new content is proven or needs no more room."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from sscsi.core.file_plan import PlannedFile
from sscsi.errors import ContentNotProvenError, ContentTooLargeError
from sscsi.node.content import current_version, tidy, tidy_quietly, write_files
from sscsi.ports import VolumeTree
from tests.fakes.fake_disk import Directory, FakeDisk, Link
from tests.fakes.fake_trees import FakeTrees
from tests.support.wrapped_ports import Wrapped

PATH = "/volume"
OLD = "..2026_01_01_00_00_00.1"
OTHER = "..2026_01_01_00_00_00.2"
FILES = (PlannedFile(path="a", mode=0o644, contents=b"new"),)


@pytest.fixture
def disk() -> FakeDisk:
    disk = FakeDisk()
    disk.make_directories(PATH)
    disk.mount(PATH)
    return disk


def root(disk: FakeDisk) -> Directory:
    found = disk.find(PATH)
    assert isinstance(found, Directory)
    return found


def put_version(disk: FakeDisk, name: str = OLD) -> None:
    """A whole volume of the version `name`."""
    disk.put_file(f"{PATH}/{name}/a", b"old")
    root(disk).entries["..data"] = Link(name)
    root(disk).entries["a"] = Link("..data/a")


def after(method: str, then: Callable[[], None]) -> Callable[[type, str, Callable[[], Any]], Any]:
    """Around every call of a tree: does `then` right after the first of `method`."""
    todo = [then]

    def around(_port: type, name: str, do: Callable[[], Any]) -> Any:
        result = do()
        if name == method and todo:
            todo.pop()()
        return result

    return around


@pytest.mark.parametrize(
    "target",
    [pytest.param("..2026_09_09_09_09_09.9", id="dangles"), pytest.param(OTHER, id="names another version")],
)
def test_when_the_new_version_is_not_what_the_pod_sees_the_old_one_stays(disk: FakeDisk, target: str) -> None:
    put_version(disk)
    if target == OTHER:
        disk.put_file(f"{PATH}/{OTHER}/a", b"of somebody else")

    def swap() -> None:
        root(disk).entries["..data"] = Link(target)

    with FakeTrees(disk).open(PATH) as tree:
        wrapped = cast(VolumeTree, Wrapped(tree, VolumeTree, after("rename", swap)))
        with pytest.raises(ContentNotProvenError):
            write_files(wrapped, FILES, None)
    assert OLD in root(disk).entries
    root(disk).entries["..data"] = Link(OLD)
    assert disk.view(PATH) == {"a": (0o644, b"old")}


def test_nothing_is_tidied_while_the_data_link_dangles(disk: FakeDisk) -> None:
    put_version(disk)
    disk.put_file(f"{PATH}/{OTHER}/a", b"")
    root(disk).entries["..data"] = Link("..2026_09_09_09_09_09.9")
    before = set(root(disk).entries)
    with FakeTrees(disk).open(PATH) as tree:
        tidy(tree, tree.read_root(), current_version(tree))
        tidy_quietly(tree)
    assert set(root(disk).entries) == before


def test_a_whole_version_written_over_a_dangling_link_takes_all_leftovers_along(disk: FakeDisk) -> None:
    put_version(disk)
    root(disk).entries["..data"] = Link("..2026_09_09_09_09_09.9")
    with FakeTrees(disk).open(PATH) as tree:
        content = write_files(tree, FILES, None)
    assert set(root(disk).entries) == {"..data", content.data_directory, "a"}
    assert disk.view(PATH) == {"a": (0o644, b"new")}


@pytest.mark.parametrize("gid", [None, 7])
def test_a_volume_without_room_for_the_last_link_keeps_all_that_the_provider_wrote_itself(
    disk: FakeDisk, gid: int | None
) -> None:
    disk.put_file(f"{PATH}/kept", b"1")
    disk.put_file(f"{PATH}/deep/er", b"2", 0o600)
    refused: list[str] = []

    def around(_port: type, name: str, do: Callable[[], Any]) -> Any:
        if name == "add_link" and len(root(disk).entries) == 4:
            # The version and the visible link are there: this is `..data_tmp`.
            refused.append(name)
            raise ContentTooLargeError(f"volume {PATH} is full")
        return do()

    with FakeTrees(disk).open(PATH) as tree:
        with pytest.raises(ContentTooLargeError):
            write_files(cast(VolumeTree, Wrapped(tree, VolumeTree, around)), FILES, gid)
        assert refused
        assert disk.view(PATH) == {"kept": (0o644, b"1"), "deep/er": (0o600, b"2")}
        assert set(root(disk).entries) == {"kept", "deep"}, "and of the new version nothing is left"
        write_files(tree, FILES, gid)
    assert set(disk.view(PATH)) == {"a"}
