"""Writing a volume, on a disk in memory: whatever came before, the volume holds the last answer and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sscsi.core.file_plan import PlannedFile, directories_of, file_mode
from sscsi.node.content import current_version, look_content, write_files
from tests.fakes.fake_disk import Directory, FakeDisk, Link
from tests.fakes.fake_trees import FakeTrees

PATH = "/volume"
OLD_VERSION = "..2020_01_01_00_00_00.1"
NAMES = st.sampled_from(["a", "b", ".c"])
ANSWERS = (
    st.dictionaries(
        st.lists(NAMES, min_size=1, max_size=3).map("/".join),
        st.tuples(st.sampled_from([b"", b"1", b"2"]), st.sampled_from([0, 0o400, 0o644])),
        min_size=1,
        max_size=4,
    )
    .map(lambda files: {path: files[path] for path in files if path not in directories_of(files)})
    .filter(bool)
)
Answer = dict[str, tuple[bytes, int]]
# What crashes, other drivers and passers-by leave: a name, and what it is.
JUNK = st.dictionaries(
    st.sampled_from(["..data", "..data_tmp", "..link_tmp", OLD_VERSION, "a", "b", "plain"]),
    st.sampled_from(["file", "directory", "link to nothing", "link to a version", "link to itself"]),
)


def volume() -> tuple[FakeDisk, Directory]:
    disk = FakeDisk()
    disk.make_directories(PATH)
    return disk, disk.mount(PATH).root


def litter(disk: FakeDisk, root: Directory, junk: dict[str, str]) -> None:
    for name, kind in junk.items():
        # No crash makes anything but a link of the one name, and anything but a directory of the other.
        if (name == "..data" and kind in {"file", "directory"}) or (
            name == OLD_VERSION and kind != "directory"
        ):
            continue
        root.entries.pop(name, None)
        if kind == "file":
            disk.put_file(f"{PATH}/{name}", b"junk")
        elif kind == "directory":
            disk.put_file(f"{PATH}/{name}/below", b"junk")
        else:
            targets = {"link to nothing": "nothing", "link to a version": OLD_VERSION}
            root.entries[name] = Link(targets.get(kind, name))


@settings(deadline=None)
@given(st.lists(st.tuples(JUNK, ANSWERS), min_size=1, max_size=4), st.sampled_from([None, 7]))
def test_after_any_row_of_writes_and_wrecks_the_volume_holds_the_last_answer(
    steps: list[tuple[dict[str, str], Answer]], gid: int | None
) -> None:
    disk, root = volume()
    for junk, answer in steps:
        litter(disk, root, junk)
        files = tuple(PlannedFile(path=p, mode=mode, contents=data) for p, (data, mode) in answer.items())
        with FakeTrees(disk).open(PATH) as tree:
            content = write_files(tree, files, gid)
            assert look_content(tree, None) == content
            assert current_version(tree) == content.data_directory
            again = write_files(tree, files, gid)
        assert again == content, "the same again is nothing to do"
        assert disk.view(PATH) == {
            path: (file_mode(mode, grouped=gid is not None), data) for path, (data, mode) in answer.items()
        }
        tops = {path.split("/")[0] for path in answer}
        assert set(root.entries) == {"..data", content.data_directory, *tops}


@given(JUNK)
def test_no_wreck_without_a_whole_version_is_taken_for_content(junk: dict[str, str]) -> None:
    disk, root = volume()
    litter(disk, root, {name: kind for name, kind in junk.items() if kind != "link to a version"})
    with FakeTrees(disk).open(PATH) as tree:
        assert look_content(tree, None) is None


@pytest.mark.parametrize(
    "target", ["", ".", "..", "/", "/etc", "../x", "..data/x", "plain", ".hidden", "..x/"]
)
def test_a_data_link_that_names_no_version_beside_it_names_nothing(target: str) -> None:
    disk, root = volume()
    for name in ("plain", ".hidden", "..x"):
        disk.put_file(f"{PATH}/{name}/file", b"")
    root.entries["..data"] = Link(target)
    with FakeTrees(disk).open(PATH) as tree:
        assert current_version(tree) == ""
