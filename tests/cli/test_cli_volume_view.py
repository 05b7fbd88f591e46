import os
import pathlib

import pytest

from sscsi.cli import source_change, volume_view


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> str:
    """A volume in upstream's layout, as plain directories."""
    data = tmp_path / "volume" / "..2026_11_24"
    (data / "keys").mkdir(parents=True)
    (data / "password").write_bytes(b"s3cret")
    (data / "keys" / "a.key").write_bytes(b"\xff\x00")
    os.chmod(data / "password", 0o440)
    os.symlink("..2026_11_24", tmp_path / "volume" / "..data")
    os.symlink("..data/password", tmp_path / "volume" / "password")
    os.symlink("..data/keys", tmp_path / "volume" / "keys")
    return str(tmp_path / "volume")


def test_the_tree_has_links_with_their_targets_and_what_is_behind_them(volume: str) -> None:
    assert volume_view.look(volume).tree == (
        "..2026_11_24/",
        "..data -> ..2026_11_24",
        "keys -> ..data/keys",
        "keys/a.key",
        "password -> ..data/password",
    )


def test_the_files_are_those_that_a_container_opens(volume: str) -> None:
    view = volume_view.look(volume)
    assert view.files == {"keys/a.key": b"\xff\x00", "password": b"s3cret"}
    assert view.modes["password"] == 0o440
    assert view.data_directory == "..2026_11_24"


def test_contents_are_shown_only_on_request(volume: str) -> None:
    view = volume_view.look(volume)
    assert "s3cret" in "\n".join(volume_view.describe_contents(view, reveal=True))
    hidden = "\n".join(volume_view.describe_contents(view, reveal=False))
    assert "s3cret" not in hidden + repr(view)
    assert "6 bytes, sha256 " in hidden


def test_a_long_content_is_cut(tmp_path: pathlib.Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * 4000)
    (line,) = volume_view.describe_contents(volume_view.look(str(tmp_path)), reveal=True)
    assert len(line) < 120
    assert "(4000 bytes)" in line


def test_a_plain_directory_has_no_mount_options(tmp_path: pathlib.Path) -> None:
    assert volume_view.mount_options(str(tmp_path)) == ""
    assert volume_view.mounts_below(str(tmp_path)) == []


def test_a_change_is_made_where_the_content_comes_from_and_only_there(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    (change,) = source_change.for_content({"anything": b"two"}, str(tmp_path))
    change.apply()
    assert (tmp_path / "a").read_bytes() == b"one"
    assert (tmp_path / "b").read_bytes().startswith(b"two\n")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_there_is_nothing_to_change_when_no_file_is_shown_as_it_is(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"user": "x"}')
    assert source_change.for_content({"user": b"x"}, str(tmp_path)) == []


def test_changes_replace_their_namesakes(tmp_path: pathlib.Path) -> None:
    for directory, content in (("secrets", b"old"), ("changes", b"new")):
        (tmp_path / directory / "db").mkdir(parents=True)
        (tmp_path / directory / "db" / "password").write_bytes(content)
    (change,) = source_change.from_directory(str(tmp_path / "changes"), str(tmp_path / "secrets"))
    assert "new" not in repr(change)
    change.apply()
    assert (tmp_path / "secrets" / "db" / "password").read_bytes() == b"new"
