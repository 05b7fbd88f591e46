"""Versions and the key that they are made with."""

import os
import pathlib
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.errors import ConfigError
from sscsi.provider_file.object_versions import ObjectVersions, load_or_make_key

KEY = b"k" * 32


def test_a_key_is_made_once_and_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "provider-file.key"
    key = load_or_make_key(str(path))
    assert len(key) == 32
    assert load_or_make_key(str(path)) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [path.name]


def test_two_keys_differ(tmp_path: pathlib.Path) -> None:
    assert load_or_make_key(str(tmp_path / "a")) != load_or_make_key(str(tmp_path / "b"))


def test_a_key_that_is_cut_is_not_used(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"is not a key of this program .* remove it") as caught:
        load_or_make_key(str(path))
    assert caught.value.exit_code == 1


def test_a_key_that_others_may_read_is_not_used(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="is not a key of this program"):
        load_or_make_key(str(path))


def test_a_key_that_is_a_link_is_not_used(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").write_bytes(KEY)
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "key").symlink_to("real")
    with pytest.raises(ConfigError, match="cannot read or make"):
        load_or_make_key(str(tmp_path / "key"))


def test_a_fifo_in_the_keys_place_does_not_hang(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(ConfigError, match="is not a key of this program"):
        load_or_make_key(str(tmp_path / "key"))


def test_a_missing_directory_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read or make .*make its directory writable, or set --run-dir"
    ):
        load_or_make_key(str(tmp_path / "none" / "key"))


def test_a_leftover_of_a_crash_is_no_obstacle(tmp_path: pathlib.Path) -> None:
    (tmp_path / f"key.{os.getpid()}~").write_bytes(b"half")
    assert len(load_or_make_key(str(tmp_path / "key"))) == 32
    assert os.listdir(tmp_path) == ["key"]


def test_the_key_is_not_shown() -> None:
    assert "kkkk" not in repr(ObjectVersions(KEY))


NAMES = st.text(max_size=8)


@given(st.tuples(NAMES, NAMES, st.binary(max_size=8)), st.tuples(NAMES, NAMES, st.binary(max_size=8)))
def test_versions_are_equal_exactly_when_object_and_content_are(
    one: tuple[str, str, bytes], other: tuple[str, str, bytes]
) -> None:
    versions = ObjectVersions(KEY)
    assert (versions.version(*one) == versions.version(*other)) == (one == other)


def test_without_the_key_a_version_can_not_be_guessed() -> None:
    one, other = ObjectVersions(KEY), ObjectVersions(b"l" * 32)
    assert one.version("n", "o", b"1234") != other.version("n", "o", b"1234")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("n", "ab", b"c"), ("n", "a", b"bc")),
        (("na", "b", b"c"), ("n", "ab", b"c")),
        (("n", "a", b"c"), ("m", "a", b"c")),
        (("n", "a", b"c"), ("n", "b", b"c")),
    ],
)
def test_the_parts_of_an_object_do_not_run_into_one_another(
    one: tuple[str, str, bytes], other: tuple[str, str, bytes]
) -> None:
    versions = ObjectVersions(KEY)
    assert versions.version(*one) != versions.version(*other)
