"""Files below a root: what is read, and that nothing else is, by the kernel's resolution and by the walk."""

import contextlib
import ctypes
import os
import pathlib
import socket
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.edges.rooted_files import (
    Opener,
    Reading,
    RootedFiles,
    choose_opener,
    open_by_kernel,
    open_by_walking,
    open_root,
)
from sscsi.errors import ContentTooLargeError, ObjectError
from tests.support.own_mounts import own_mounts
from tests.support.require import lacking

OUTSIDE = b"outside"
INSIDE = b"inside"
LIMIT = 1000


def has_openat2() -> bool:
    return choose_opener() is open_by_kernel


@pytest.fixture(params=["kernel", "walk"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param == "walk":
        return open_by_walking
    if not has_openat2():
        lacking("openat2", reason="no openat2(2): Linux before 5.6, or seccomp")
    return open_by_kernel


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A tree with a file inside, one outside, and links to both."""
    return make_tree(tmp_path)


def make_tree(directory: pathlib.Path) -> pathlib.Path:
    root = directory / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_bytes(INSIDE)
    (root / "file").write_bytes(INSIDE)
    (directory / "outside").mkdir()
    (directory / "outside" / "file").write_bytes(OUTSIDE)
    (directory / "rootless").write_bytes(OUTSIDE)
    (root / "out").symlink_to("../outside")
    (root / "out-absolute").symlink_to(directory / "outside")
    (root / "out-file").symlink_to("../outside/file")
    (root / "a" / "out-file").symlink_to("../../outside/file")
    (root / "in").symlink_to("a/b")
    (root / "in-file").symlink_to("a/b/../../file")
    (root / "in-absolute").symlink_to(root / "file")
    (root / "chain").symlink_to("out-file")
    (root / "loop").symlink_to("loop")
    (root / "proc").symlink_to("/proc/self/root")
    (root / "dangling").symlink_to("nothing")
    return root


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """This thread's file access as user 65534: setfsuid(2) drops what lets root read everything."""
    libc = ctypes.CDLL(None)
    if os.geteuid() == 0:
        libc.setfsuid(65534)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            libc.setfsuid(0)


@pytest.mark.parametrize("name", ["file", "a/b/file"])
def test_a_file_inside_is_read(root: pathlib.Path, opener: Opener, name: str) -> None:
    with open_root(str(root), opener) as files:
        assert files.read(name, LIMIT) == INSIDE


@pytest.mark.parametrize(
    "name",
    [
        "../rootless",
        "../outside/file",
        "a/../../outside/file",
        "out/file",
        "out-absolute/file",
        "out-file",
        "a/out-file",
        "in-absolute",
        "chain",
        "loop",
        "proc/etc/passwd",
        "/etc/passwd",
        "dangling",
        "nothing",
        "file/below",
        "a/b",
        "",
        ".",
        "..",
        "file\0",
        "a" * 5000,
        "\ud800",
    ],
)
def test_nothing_else_is_read(root: pathlib.Path, opener: Opener, name: str) -> None:
    with open_root(str(root), opener) as files, pytest.raises(ObjectError):
        files.read(name, LIMIT)


@pytest.mark.parametrize("name", ["in/file", "in-file"])
def test_links_that_stay_inside_are_followed_by_the_kernel(root: pathlib.Path, name: str) -> None:
    if not has_openat2():
        lacking("openat2", reason="no openat2(2)")
    with open_root(str(root), open_by_kernel) as files:
        assert files.read(name, LIMIT) == INSIDE


@pytest.mark.parametrize("name", ["in/file", "in-file"])
def test_the_walk_refuses_every_link(root: pathlib.Path, name: str) -> None:
    with (
        open_root(str(root), open_by_walking) as files,
        pytest.raises(ObjectError, match="symbolic link that may not be followed"),
    ):
        files.read(name, LIMIT)


PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "b",
        "file",
        "out",
        "out-file",
        "out-absolute",
        "in",
        "in-file",
        "chain",
        "proc",
        "loop",
        "outside",
        "rootless",
        "self",
        "root",
        "etc",
        "passwd",
        "*",
        "\0",
    ]
)
NAMES = st.lists(PARTS, max_size=8).map("/".join)


@pytest.mark.parametrize("opener", [choose_opener(), open_by_walking])
def test_no_name_reads_what_is_outside(opener: Opener) -> None:
    with tempfile.TemporaryDirectory() as directory, _tree(directory, opener) as (files, below):

        @given(NAMES)
        def escape(name: str) -> None:
            for place in (files, below):
                with contextlib.suppress(ObjectError):
                    assert place.read(name, LIMIT) == INSIDE
                with contextlib.suppress(ObjectError):
                    # No directory inside has such a name.
                    assert "rootless" not in {entry.name for entry in place.list_directory(name)}

        escape()


@contextlib.contextmanager
def _tree(directory: str, opener: Opener) -> Iterator[tuple[RootedFiles, RootedFiles]]:
    root = make_tree(pathlib.Path(directory))
    with open_root(str(root), opener) as files, files.below("a") as below:
        yield files, below


def test_below_a_directory_its_sibling_is_outside(root: pathlib.Path, opener: Opener) -> None:
    (root / "a" / "sibling").symlink_to("../file")
    with open_root(str(root), opener) as files, files.below("a") as below:
        assert below.read("b/file", LIMIT) == INSIDE
        for name in ("../file", "sibling", "b/../../file"):
            with pytest.raises(ObjectError):
                below.read(name, LIMIT)


@pytest.mark.parametrize("name", ["in", "out", "file", "nothing", "..", "/"])
def test_only_a_real_directory_can_be_gone_below(root: pathlib.Path, opener: Opener, name: str) -> None:
    with open_root(str(root), opener) as files, pytest.raises(ObjectError):
        files.below(name)


def test_special_files_are_refused_at_once(root: pathlib.Path, opener: Opener) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server, open_root(str(root), opener) as files:
        here = os.getcwd()
        os.chdir(root)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        for name in ("fifo", "socket", "a"):
            with pytest.raises(ObjectError, match="is not a regular file"):
                files.read(name, LIMIT)


def test_a_file_over_the_limit_is_not_read(root: pathlib.Path, opener: Opener) -> None:
    (root / "big").write_bytes(b"x" * (LIMIT + 1))
    with open_root(str(root), opener) as files:
        assert len(files.read("big", LIMIT + 1)) == LIMIT + 1
        with pytest.raises(ContentTooLargeError, match="'big' has 1001 bytes"):
            files.read("big", LIMIT)


def test_a_file_that_tells_no_size_is_read_up_to_the_limit() -> None:
    with open_root("/proc/self", open_by_walking) as files:
        assert b"VmRSS" in files.read("status", 1 << 20)
        with pytest.raises(ContentTooLargeError):
            files.read("status", 10)


def test_a_file_that_may_not_be_read_says_as_whom(root: pathlib.Path, opener: Opener) -> None:
    if os.geteuid() == 0 and not own_mounts().is_root:
        lacking("root", reason="in a user namespace there is no second user to be")
    (root / "file").chmod(0)
    with (
        open_root(str(root), opener) as files,
        without_privileges(),
        pytest.raises(ObjectError, match=r"no permission to read 'file' below .* as user \d+, group \d+"),
    ):
        files.read("file", LIMIT)


class _Restless(RootedFiles):
    """Reads what it is given instead of files."""

    readings: list[Reading]

    def _take(self, name: str, max_bytes: int) -> Reading:
        return self.readings.pop(0)


def test_a_file_that_changes_meanwhile_is_read_again() -> None:
    files = _Restless("/root", -1, open_by_walking)
    files.readings = [Reading(content=b"half", is_settled=False), Reading(content=b"whole", is_settled=True)]
    assert files.read("file", LIMIT) == b"whole"


def test_a_file_that_never_rests_is_refused() -> None:
    files = _Restless("/root", -1, open_by_walking)
    files.readings = [Reading(content=b"half", is_settled=False)] * 5
    with pytest.raises(ObjectError, match="'file' below '/root' keeps changing while it is read"):
        files.read("file", LIMIT)


def test_a_reading_shows_no_content() -> None:
    assert "hunter2" not in repr(Reading(content=b"hunter2", is_settled=True))


def test_a_missing_root_is_named(tmp_path: pathlib.Path, opener: Opener) -> None:
    with pytest.raises(ObjectError, match=r"cannot open directory '.*/root': ENOENT"):
        open_root(str(tmp_path / "root"), opener)


def test_entries_tell_directories_and_links(root: pathlib.Path) -> None:
    with open_root(str(root), choose_opener()) as files:
        entries = {entry.name: entry for entry in files.list_directory("")}
    assert entries["a"].is_directory
    assert not entries["a"].is_link
    assert not entries["file"].is_directory
    assert entries["in"].is_link
    assert entries["in"].is_directory == has_openat2()
    assert entries["out"].is_link
    assert not entries["out"].is_directory
    assert not entries["dangling"].is_directory


def test_no_descriptor_is_left_open(root: pathlib.Path, opener: Opener) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with open_root(str(root), opener) as files, files.below("a") as below:
        for name in ("b/file", "nothing", "b", "../x", "b/file/c"):
            with contextlib.suppress(ObjectError):
                below.read(name, LIMIT)
            with contextlib.suppress(ObjectError):
                below.list_directory(name)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_kernels_own_error_is_passed_on(root: pathlib.Path) -> None:
    if not has_openat2():
        lacking("openat2", reason="no openat2(2)")
    descriptor = os.open(root, os.O_PATH)
    try:
        with pytest.raises(FileNotFoundError):
            open_by_kernel(descriptor, "nothing", os.O_RDONLY, True)
    finally:
        os.close(descriptor)
