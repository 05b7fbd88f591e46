import dataclasses
import hashlib
import os
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.file_plan import (
    DATA_LINK,
    DATA_LINK_TEMPORARY,
    MAX_ENTRIES,
    VISIBLE_LINK_TEMPORARY,
    EntryKind,
    FilePlan,
    FileState,
    PlannedFile,
    RootEntry,
    check_files,
    check_path,
    directories_of,
    directory_mode,
    file_mode,
    is_visible,
    leftovers,
    plan_files,
    visible_target,
)
from sscsi.errors import ContentTooLargeError, ProviderAnswerError

MIB = 1024 * 1024
VERSION = "..2026_11_24_01_02_03.123456789"


def planned(path: str, contents: bytes = b"x", mode: int = 0o644) -> PlannedFile:
    return PlannedFile(path=path, mode=mode, contents=contents)


def state_of(file: PlannedFile, gid: int = 0) -> FileState:
    return FileState(mode=file.mode, gid=gid, digest=hashlib.sha256(file.contents).digest())


LINK = {name: RootEntry(kind=EntryKind.LINK, target=visible_target(name)) for name in ("a", "b", "c")}


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            "a",
            "a/b",
            "a/b/c.txt",
            ".hidden",
            "a/.hidden",
            "a/..x",
            "a/...",
            "x y",
            "ü",
            "a\\b",
            "-",
            "~",
            "..".join("ab"),
        ],
    )
    def test_plain_relative_paths_are_fine(self, path: str) -> None:
        check_path(path)

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("", 'invalid path: must not be empty: ""'),
            ("/x", "invalid path: must be relative path: /x"),
            ("//", "invalid path: must be relative path: //"),
            ("..", "invalid path: must not contain '..': .."),
            ("../x", "invalid path: must not contain '..': ../x"),
            ("a/../b", "invalid path: must not contain '..': a/../b"),
            ("a/..", "invalid path: must not contain '..': a/.."),
            ("..data", "invalid path: must not start with '..': ..data"),
            ("..x/y", "invalid path: must not start with '..': ..x/y"),
            (".", 'invalid filepath: "."'),
            ("./a", 'invalid filepath: "./a"'),
            ("a/", 'invalid filepath: "a/"'),
            ("a//b", 'invalid filepath: "a//b"'),
            ("a/./b", 'invalid filepath: "a/./b"'),
            ("a\0b", "invalid path: must not contain NUL"),
            ("x" * 256, "invalid path: filenames must be less than or equal to 255 characters"),
            ("a/" + "ü" * 128, "invalid path: filenames must be less than or equal to 255 characters"),
            ("a/" * 2048 + "x", "invalid path: must be less than or equal to 4096 characters"),
            ("a/" * 100 + "x", "invalid path: must be at most 100 names deep: " + "a/" * 100 + "x"),
        ],
    )
    def test_a_path_that_leaves_the_volume_or_has_two_spellings_is_refused(
        self, path: str, message: str
    ) -> None:
        with pytest.raises(ProviderAnswerError) as refusal:
            check_path(path)
        assert str(refusal.value) == message

    def test_the_longest_names_and_the_deepest_path_are_fine(self) -> None:
        check_path("x" * 255)
        check_path("/".join(["n" * 39] * 100))

    @given(st.text(alphabet="./ab\0ü", max_size=12))
    def test_a_path_is_accepted_just_when_the_operating_system_resolves_it_below_the_volume(
        self, path: str
    ) -> None:
        root = "/volume"
        below = os.path.normpath(os.path.join(root, path)) == f"{root}/{path}"
        try:
            check_path(path)
        except ProviderAnswerError:
            assert not below or "\0" in path or path.startswith("..")
        else:
            assert below

    @given(st.text(max_size=300))
    def test_whatever_is_accepted_names_one_place_below_the_volume(self, path: str) -> None:
        try:
            check_path(path)
        except ProviderAnswerError:
            return
        parts = path.split("/")
        assert not path.startswith("/")
        assert all(part not in {"", ".", ".."} and len(part.encode()) <= 255 for part in parts)
        assert not parts[0].startswith("..")
        assert "\0" not in path


class TestFiles:
    def test_an_answer_of_plain_files_is_fine(self) -> None:
        check_files([planned("a"), planned("b/c", mode=0), planned("b/d", mode=0o777)], limit_bytes=MIB)

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ([planned("a"), planned("../x")], "invalid path: must not contain '..': ../x"),
            ([planned("a"), planned("b"), planned("a")], "invalid path: must not occur twice: a"),
            ([planned("a/b"), planned("a")], "invalid path: must not be both a file and a directory: a"),
            ([planned("a"), planned("a/b/c")], "invalid path: must not be both a file and a directory: a"),
            ([planned("a", mode=0o1777)], "invalid mode: must be 0 to 0777: a has 0o1777"),
            ([planned("a", mode=0o4755)], "invalid mode: must be 0 to 0777: a has 0o4755"),
            ([planned("a", mode=-1)], "invalid mode: must be 0 to 0777: a has -0o1"),
        ],
    )
    def test_an_answer_that_no_volume_can_hold_is_refused(
        self, files: list[PlannedFile], message: str
    ) -> None:
        with pytest.raises(ProviderAnswerError) as refusal:
            check_files(files, limit_bytes=MIB)
        assert str(refusal.value) == message

    def test_content_counts_in_pages_and_the_limit_itself_still_fits(self) -> None:
        check_files([planned("a", b"x" * 4096), planned("b", b"y"), planned("c", b"")], limit_bytes=8192)

    def test_content_beyond_the_limit_is_refused_with_the_flag_to_raise(self) -> None:
        with pytest.raises(
            ContentTooLargeError, match=r"takes 8192 bytes .* --content-limit is 8191: raise it or"
        ):
            check_files([planned("a", b"x" * 4096), planned("b", b"y")], limit_bytes=8191)

    def test_files_and_directories_count_against_the_entries_of_a_volume(self) -> None:
        files = [planned(f"d{number}/f") for number in range(MAX_ENTRIES // 2)]
        check_files(files, limit_bytes=64 * MIB)
        with pytest.raises(ContentTooLargeError, match=rf"has {MAX_ENTRIES + 1} files and directories"):
            check_files([*files, planned("one more")], limit_bytes=64 * MIB)

    def test_no_content_is_in_a_repr(self) -> None:
        assert "hunter2" not in repr(planned("a", b"hunter2"))

    @given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), max_size=6))
    def test_directories_are_all_parents_and_nothing_else(self, paths: list[str]) -> None:
        parents = {
            "/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)
        }
        assert directories_of(paths) == parents


class TestModes:
    @given(st.integers(0, 0o777))
    def test_without_a_group_the_providers_mode_stays(self, mode: int) -> None:
        assert file_mode(mode, grouped=False) == mode

    @given(st.integers(0, 0o777))
    def test_with_a_group_it_reads_what_the_owner_reads_and_nobody_else_gains(self, mode: int) -> None:
        granted = file_mode(mode, grouped=True)
        assert granted & ~0o040 == mode & ~0o040
        assert bool(granted & 0o040) == bool(mode & 0o440)

    def test_directories_of_a_group_hand_it_on(self) -> None:
        assert (directory_mode(grouped=False), directory_mode(grouped=True)) == (0o755, 0o2755)


class TestPlans:
    def test_a_first_write_makes_everything(self) -> None:
        files = [planned("b/x/y"), planned("a")]
        assert plan_files(files, current=None, root={}, gid=None) == FilePlan(
            write=True, directories=("b", "b/x"), files=tuple(files), links=("a", "b"), replaced=()
        )

    def test_equal_content_is_nothing_to_do(self) -> None:
        files = [planned("a", b"1"), planned("b/x", b"2", 0o400)]
        current = {file.path: state_of(file) for file in files}
        plan = plan_files(files, current=current, root=LINK, gid=None)
        assert plan == FilePlan(write=False, directories=(), files=(), links=(), replaced=())

    @pytest.mark.parametrize(
        "files",
        [
            [planned("a", b"2")],
            [planned("a", b"1", 0o600)],
            [planned("a", b"1"), planned("b", b"")],
            [planned("b", b"1")],
            [],
        ],
        ids=["content", "mode", "one more", "another", "none"],
    )
    def test_any_difference_writes_the_whole_new_version(self, files: list[PlannedFile]) -> None:
        current = {"a": state_of(planned("a", b"1"))}
        plan = plan_files(files, current=current, root={"a": LINK["a"]}, gid=None)
        assert plan.write
        assert plan.files == tuple(files)

    def test_another_group_is_a_difference_where_the_volume_has_one(self) -> None:
        current = {"a": state_of(planned("a", mode=0o644), gid=7)}
        assert plan_files([planned("a")], current=current, root=LINK, gid=8).write
        assert not plan_files([planned("a")], current=current, root=LINK, gid=7).write
        assert not plan_files([planned("a")], current=current, root=LINK, gid=None).write

    def test_the_group_may_read_what_is_planned_for_it(self) -> None:
        plan = plan_files([planned("a", mode=0o400), planned("b", mode=0)], current=None, root={}, gid=7)
        assert [file.mode for file in plan.files] == [0o440, 0]

    @pytest.mark.parametrize(
        "entry",
        [
            RootEntry(kind=EntryKind.OTHER, target=""),
            RootEntry(kind=EntryKind.DIRECTORY, target=""),
            RootEntry(kind=EntryKind.LINK, target="/etc/passwd"),
            RootEntry(kind=EntryKind.LINK, target="..data/b"),
        ],
        ids=["file", "directory", "link elsewhere", "link to another name"],
    )
    def test_what_stands_in_the_place_of_a_visible_link_is_replaced(self, entry: RootEntry) -> None:
        current = {"a": state_of(planned("a"))}
        plan = plan_files([planned("a")], current=current, root={"a": entry}, gid=None)
        assert (plan.write, plan.links, plan.replaced) == (True, (), ("a",))

    def test_a_missing_visible_link_is_made_again(self) -> None:
        plan = plan_files([planned("a")], current={"a": state_of(planned("a"))}, root={}, gid=None)
        assert (plan.write, plan.links) == (True, ("a",))

    def test_what_a_provider_wrote_itself_and_no_longer_wants_is_removed_even_where_nothing_is_written(
        self,
    ) -> None:
        root = {"a": LINK["a"], "plain": RootEntry(kind=EntryKind.OTHER, target="")}
        plan = plan_files([planned("a")], current={"a": state_of(planned("a"))}, root=root, gid=None)
        assert (plan.write, plan.removed) == (False, ("plain",))

    @pytest.mark.parametrize(
        ("root", "visible"),
        [
            (LINK, True),
            ({"a": LINK["a"]}, False),
            ({**LINK, "b": RootEntry(kind=EntryKind.OTHER, target="")}, False),
            ({**LINK, "b": LINK["a"]}, False),
            ({}, False),
        ],
    )
    def test_a_version_is_visible_when_each_of_its_names_is_a_link_to_it(
        self, root: dict[str, RootEntry], visible: bool
    ) -> None:
        assert is_visible(root, ["a", "b"]) is visible


# The simulated volume: what a plan does, told by the plan alone.
NAMES = st.sampled_from(["a", "b", "c", ".d"])
ANSWERS = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.tuples(st.sampled_from([b"", b"1", b"2"]), st.sampled_from([0, 0o400, 0o644])),
    min_size=1,
    max_size=5,
).map(lambda entries: [planned(path, contents, mode) for path, (contents, mode) in entries.items()])
JUNK = st.dictionaries(
    st.sampled_from(
        [
            DATA_LINK_TEMPORARY,
            VISIBLE_LINK_TEMPORARY,
            "..2020_01_01_00_00_00.1",
            "..1999_01_01_00_00_00.22",
            "gone",
        ]
    ),
    st.booleans(),
)


@dataclasses.dataclass
class Volume:
    """A volume's root and the files of each version, by path."""

    root: dict[str, RootEntry] = dataclasses.field(default_factory=dict)
    versions: dict[str, dict[str, FileState]] = dataclasses.field(default_factory=dict)
    gid: int | None = None

    @property
    def current(self) -> dict[str, FileState] | None:
        return self.versions[self.root[DATA_LINK].target] if DATA_LINK in self.root else None

    def junk(self, names: dict[str, bool]) -> None:
        for name, is_directory in names.items():
            if name.startswith("..") and name[2].isdigit():
                self.root[name] = RootEntry(kind=EntryKind.DIRECTORY, target="")
                self.versions[name] = {"junk": FileState(mode=0, gid=0, digest=b"")} if is_directory else {}
            elif name not in self.root:
                self.root[name] = RootEntry(kind=EntryKind.LINK, target=visible_target(name))

    def write(self, files: list[PlannedFile], version: str) -> FilePlan:
        plan = plan_files(files, current=self.current, root=self.root, gid=self.gid)
        if plan.write:
            made = {""}
            for directory in plan.directories:
                assert posixpath.dirname(directory) in made, "a parent comes first"
                made.add(directory)
            assert all(posixpath.dirname(file.path) in made for file in plan.files)
            assert not self.root.keys() & set(plan.links), "a link is never made over something"
            self.root[version] = RootEntry(kind=EntryKind.DIRECTORY, target="")
            self.versions[version] = {file.path: state_of(file, self.gid or 0) for file in plan.files}
        for name in plan.removed:
            del self.root[name]
        if plan.write:
            self.root[DATA_LINK] = RootEntry(kind=EntryKind.LINK, target=version)
        for name in (*plan.links, *plan.replaced):
            self.root[name] = RootEntry(kind=EntryKind.LINK, target=visible_target(name))
        tops = {path.split("/")[0] for path in self.current or ()}
        assert is_visible(self.root, tops)
        for name in leftovers(self.root, tops):
            del self.root[name]
            self.versions.pop(name, None)
        return plan

    def visible(self) -> dict[str, FileState]:
        """The files that a pod sees, through the links."""
        current = self.current or {}
        names = {
            name
            for name, entry in self.root.items()
            if entry.target == visible_target(name) and name in LINKABLE
        }
        return {path: state for path, state in current.items() if path.split("/")[0] in names}


LINKABLE = {"a", "b", "c", ".d", "gone"}


@st.composite
def consistent(draw: st.DrawFn) -> list[PlannedFile]:
    """Files that `check_files` passes."""
    files: list[PlannedFile] = draw(ANSWERS)
    directories = directories_of(file.path for file in files)
    return [file for file in files if file.path not in directories]


# What a provider wrote itself, or a passer-by, in the place of our links and beside them.
FOREIGN = st.dictionaries(
    st.sampled_from(["a", "b", ".d", "plain"]),
    st.sampled_from(
        [
            RootEntry(kind=EntryKind.DIRECTORY, target=""),
            RootEntry(kind=EntryKind.OTHER, target=""),
            RootEntry(kind=EntryKind.LINK, target="/etc/passwd"),
        ]
    ),
)


@given(st.lists(st.tuples(consistent(), JUNK, FOREIGN), min_size=1, max_size=4), st.sampled_from([None, 7]))
def test_after_any_row_of_writes_the_volume_holds_the_last_answer_and_nothing_else(
    steps: list[tuple[list[PlannedFile], dict[str, bool], dict[str, RootEntry]]], gid: int | None
) -> None:
    volume = Volume(gid=gid)
    for number, (files, junk, foreign) in enumerate(steps):
        check_files(files, limit_bytes=MIB)
        volume.junk(junk)
        volume.root.update(foreign)
        version = f"..2026_11_24_01_02_03.{number}"
        volume.write(files, version)
        wanted = {
            file.path: FileState(
                mode=file_mode(file.mode, grouped=gid is not None),
                gid=gid or 0,
                digest=hashlib.sha256(file.contents).digest(),
            )
            for file in files
        }
        assert volume.visible() == wanted
        tops = {path.split("/")[0] for path in wanted}
        assert set(volume.root) == {DATA_LINK, volume.root[DATA_LINK].target, *tops}
        assert not volume.write(files, "..never").write, "the same answer again is nothing to do"


ROOT_NAMES = st.sampled_from(
    [
        DATA_LINK,
        DATA_LINK_TEMPORARY,
        VISIBLE_LINK_TEMPORARY,
        VERSION,
        "..2020_01_01_00_00_00.1",
        "..odd",
        "a",
        "b",
    ]
)
ENTRIES = st.builds(
    RootEntry,
    kind=st.sampled_from(EntryKind),
    target=st.one_of(st.just(""), ROOT_NAMES, ROOT_NAMES.map(visible_target)),
)


@given(st.dictionaries(ROOT_NAMES, ENTRIES), st.sets(st.sampled_from(["a", "b"])))
def test_nothing_that_the_present_content_needs_is_a_leftover(
    root: dict[str, RootEntry], tops: set[str]
) -> None:
    found = leftovers(root, tops)
    # A link into itself names no content and may go.
    if DATA_LINK in root and root[DATA_LINK] != RootEntry(kind=EntryKind.LINK, target="..data/..data"):
        assert not {DATA_LINK, root[DATA_LINK].target} & set(found)
    assert not tops.intersection(found)
    assert not [name for name in found if root[name].kind is EntryKind.OTHER and not name.startswith("..")]


def test_leftovers_are_temporary_links_old_versions_and_links_to_nothing() -> None:
    root = {
        DATA_LINK: RootEntry(kind=EntryKind.LINK, target=VERSION),
        DATA_LINK_TEMPORARY: RootEntry(kind=EntryKind.LINK, target="x"),
        VISIBLE_LINK_TEMPORARY: RootEntry(kind=EntryKind.LINK, target="x"),
        VERSION: RootEntry(kind=EntryKind.DIRECTORY, target=""),
        "..2020_01_01_00_00_00.1": RootEntry(kind=EntryKind.DIRECTORY, target=""),
        "..2020_01_01": RootEntry(kind=EntryKind.DIRECTORY, target=""),
        "a": LINK["a"],
        "b": LINK["b"],
        "file": RootEntry(kind=EntryKind.OTHER, target=""),
        "elsewhere": RootEntry(kind=EntryKind.LINK, target="/etc"),
    }
    assert leftovers(root, ["a"]) == [
        "..2020_01_01_00_00_00.1",
        DATA_LINK_TEMPORARY,
        VISIBLE_LINK_TEMPORARY,
        "b",
    ]
