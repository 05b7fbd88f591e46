"""Globs over a real directory."""

import pathlib
from collections.abc import Iterator

import pytest

from sscsi.edges.rooted_files import (
    DirectoryEntry,
    Opener,
    RootedFiles,
    choose_opener,
    open_by_walking,
    open_root,
)
from sscsi.errors import ObjectError
from sscsi.provider_file.object_glob import expand

FILES = (
    "token",
    ".hidden",
    "app/a.pem",
    "app/b.pem",
    "app/key.txt",
    "app/.secret",
    "app/inner/c.pem",
    "app/inner/deep/d.pem",
    "app/.git/e.pem",
    "other/a.pem",
    "odd/[x].pem",
    "odd/x.pem",
)


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Iterator[RootedFiles]:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    with open_root(str(tmp_path), choose_opener()) as files:
        yield files


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["token"]),
        (".*", [".hidden"]),
        ("app/*.pem", ["app/a.pem", "app/b.pem"]),
        ("app/?.pem", ["app/a.pem", "app/b.pem"]),
        ("app/[!a].pem", ["app/b.pem"]),
        ("*/a.pem", ["app/a.pem", "other/a.pem"]),
        ("app/.s*", ["app/.secret"]),
        ("app/**", ["app/a.pem", "app/b.pem", "app/inner/c.pem", "app/inner/deep/d.pem", "app/key.txt"]),
        ("app/**/*.pem", ["app/a.pem", "app/b.pem", "app/inner/c.pem", "app/inner/deep/d.pem"]),
        ("**/**/d.pem", ["app/inner/deep/d.pem"]),
        ("**/deep/*", ["app/inner/deep/d.pem"]),
        ("app/.git/*", ["app/.git/e.pem"]),
        ("odd/[[]x].pem", ["odd/[x].pem"]),
        ("odd/[x].pem", ["odd/x.pem"]),
        ("nothing*", []),
        ("*/nothing", []),
    ],
)
def test_what_a_pattern_finds(files: RootedFiles, pattern: str, found: list[str]) -> None:
    assert expand(pattern, files.list_directory) == found


def test_a_pattern_below_a_missing_directory_says_which(files: RootedFiles) -> None:
    with pytest.raises(ObjectError, match="there is no directory 'nowhere'"):
        expand("nowhere/*", files.list_directory)


def test_kubernetes_own_layout_is_found_once(tmp_path: pathlib.Path) -> None:
    version = tmp_path / "..2024_01_01_00_00_00.1"
    version.mkdir()
    (version / "password").write_text("p")
    (version / "sub").mkdir()
    (version / "sub" / "user").write_text("u")
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "password").symlink_to("..data/password")
    (tmp_path / "sub").symlink_to("..data/sub")
    with open_root(str(tmp_path), choose_opener()) as files:
        assert expand("**", files.list_directory) == ["password"]
        assert expand("*", files.list_directory) == ["password"]
        assert expand("*/*", files.list_directory) == ["sub/user"]


def test_a_linked_directory_makes_no_loop(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    (tmp_path / "a" / "again").symlink_to("../a")
    with open_root(str(tmp_path), choose_opener()) as files:
        assert expand("**/file", files.list_directory) == ["a/file"]


@pytest.mark.parametrize("opener", [choose_opener(), open_by_walking])
def test_a_link_out_of_the_root_is_entered_by_no_pattern(tmp_path: pathlib.Path, opener: Opener) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to("../outside")
    with open_root(str(tmp_path / "root"), opener) as files:
        assert expand("*/secret", files.list_directory) == []
        assert expand("**/secret", files.list_directory) == []


def test_a_tree_that_is_too_large_is_refused() -> None:
    listed: list[str] = []
    entries = [DirectoryEntry(name=f"{n:03}", is_directory=n == 0, is_link=False) for n in range(1000)]

    def endless(directory: str) -> list[DirectoryEntry]:
        listed.append(directory)
        return entries

    with pytest.raises(ObjectError, match=r"'\*\*/x' has to look at more than 10000 names; make it narrower"):
        expand("**/x", endless)
    assert len(listed) == 11
