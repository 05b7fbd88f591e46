"""The `objects` parameter, loaded: what is understood, what is refused and in which words."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.object_spec import JsonKey, parse_objects, volume_path
from sscsi.errors import InvalidRequestError


def test_a_name_alone_is_delivered_under_itself() -> None:
    (spec,) = parse_objects([{"objectName": "app/db"}])
    assert (spec.object_name, spec.mode, spec.json_keys, spec.explodes) == ("app/db", None, (), False)
    assert volume_path(spec, "app/db") == "app/db"


@pytest.mark.parametrize(("text", "mode"), [("0400", 0o400), ("0o640", 0o640), ("0000", 0), ("0777", 0o777)])
def test_a_mode_is_four_octal_digits(text: str, mode: int) -> None:
    (spec,) = parse_objects([{"objectName": "a", "fileMode": text}])
    assert spec.mode == mode


@pytest.mark.parametrize("text", ["400", "256", "1777", "0888", "", "04000", "rw-------", "-0400", "٠٤٠٠"])
def test_a_mode_that_could_mean_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"objects\[0\].fileMode: must be four octal digits"):
        parse_objects([{"objectName": "a", "fileMode": text}])


@pytest.mark.parametrize(
    ("name", "alias", "found", "path"),
    [
        ("app/db", "db", "app/db", "db"),
        ("app/db", "x/", "app/db", "x/db"),
        ("db", "x/y/", "db", "x/y/db"),
        ("app/*.pem", "", "app/a.pem", "app/a.pem"),
        ("app/*.pem", "tls/", "app/a.pem", "tls/a.pem"),
        ("app/**", "tls/", "app/b/a.pem", "tls/b/a.pem"),
        ("*/a.pem", "tls/", "b/a.pem", "tls/b/a.pem"),
        ("app/*.pem", "the.pem", "app/a.pem", "the.pem"),
    ],
)
def test_where_an_object_goes(name: str, alias: str, found: str, path: str) -> None:
    (spec,) = parse_objects([{"objectName": name, "objectAlias": alias}])
    assert volume_path(spec, found) == path


@pytest.mark.parametrize(
    ("name", "alias", "found", "directory"),
    [
        ("a.json", "", "a.json", ""),
        ("a.json", "db", "a.json", "db"),
        ("a.json", "db/", "a.json", "db"),
        ("app/*.json", "db/", "app/x.json", "db/x.json"),
        ("app/*.json", "db", "app/x.json", "db"),
    ],
)
def test_where_the_keys_of_a_document_go(name: str, alias: str, found: str, directory: str) -> None:
    (spec,) = parse_objects([{"objectName": name, "objectAlias": alias, "jsonKeys": "*"}])
    assert spec.all_json_keys
    assert volume_path(spec, found) == directory


def test_json_keys_are_names_or_mappings() -> None:
    keys = ["host", {"key": "user", "objectAlias": "login/user", "fileMode": "0400"}, {"key": "*"}]
    (spec,) = parse_objects([{"objectName": "a.json", "jsonKeys": keys}])
    assert spec.json_keys == (
        JsonKey(key="host", path="host", mode=None),
        JsonKey(key="user", path="login/user", mode=0o400),
        JsonKey(key="*", path="*", mode=None),
    )
    assert not spec.all_json_keys


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "objects: must be a YAML list"),
        ({"objectName": "a"}, "objects: must be a YAML list"),
        ([], "objects: the list is empty"),
        (["a"], "objects[0]: must be a mapping with the fields fileMode, jsonKeys, objectAlias, objectName"),
        ([{"objectName": "a"}, {"objectname": "b"}], "objects[1]: unknown field 'objectname'"),
        (
            [{"objectName": "a", "jsonKeys": [{"key": "b", "mode": "0400"}]}],
            "jsonKeys[0]: unknown field 'mode'",
        ),
        ([{}], "objects[0].objectName: is missing or empty"),
        ([{"objectName": ["a"]}], "objects[0].objectName: must be a string"),
        ([{"objectName": "/etc/passwd"}], "objects[0].objectName: must be a path below"),
        ([{"objectName": "../b"}], "objects[0].objectName: must not contain '..'"),
        ([{"objectName": "a/../b"}], "objects[0].objectName: must not contain '..'"),
        ([{"objectName": "."}], "objects[0].objectName: must be written without '.'"),
        ([{"objectName": "a//b"}], "objects[0].objectName: must be written without '.', '//'"),
        (
            [{"objectName": "a/"}],
            "objects[0].objectName: must be written without '.', '//' and a slash at the end",
        ),
        ([{"objectName": "a\0b"}], "objects[0].objectName: must not contain NUL"),
        ([{"objectName": "..data/a"}], "objects[0]: invalid path: must not start with '..'"),
        ([{"objectName": "a", "objectAlias": "../x"}], "objects[0].objectAlias: invalid path"),
        ([{"objectName": "a", "objectAlias": "/x"}], "objects[0].objectAlias: invalid path"),
        ([{"objectName": "a", "objectAlias": "/"}], "objects[0].objectAlias: invalid path"),
        ([{"objectName": "a", "jsonKeys": []}], "objects[0].jsonKeys: must be"),
        ([{"objectName": "a", "jsonKeys": "host"}], "objects[0].jsonKeys: must be"),
        ([{"objectName": "a", "jsonKeys": ["../x"]}], "objects[0].jsonKeys[0]: invalid path"),
        ([{"objectName": "a", "jsonKeys": [{"objectAlias": "x"}]}], "objects[0].jsonKeys[0].key: is missing"),
        ([{"objectName": "a", "jsonKeys": [{"key": "/"}]}], "objects[0].jsonKeys[0]: invalid path"),
        ([{"objectName": "a", "jsonKeys": [["x"]]}], "objects[0].jsonKeys[0]: must be a mapping"),
    ],
)
def test_what_is_wrong_is_named(value: object, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_objects(value)
    assert words in str(caught.value)


def test_a_json_key_that_is_no_file_name_gets_an_alias() -> None:
    keys = [{"key": "a/../b", "objectAlias": "c"}]
    (spec,) = parse_objects([{"objectName": "a.json", "jsonKeys": keys}])
    assert spec.json_keys == (JsonKey(key="a/../b", path="c", mode=None),)


def test_a_long_unknown_field_is_cut() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_objects([{"x" * 100_000: "y"}])
    assert len(str(caught.value)) < 500


PATHS = st.lists(st.sampled_from(["a", "b", "..", ".", "", "*", "\0", "..data", "é"]), min_size=1).map(
    "/".join
)


@given(name=PATHS, alias=PATHS)
def test_no_accepted_entry_leads_out_of_the_volume(name: str, alias: str) -> None:
    try:
        (spec,) = parse_objects([{"objectName": name, "objectAlias": alias}])
    except InvalidRequestError:
        return
    path = volume_path(spec, name)
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    assert ".." not in name.split("/")
    assert posixpath.normpath(posixpath.join("/volume", path)).startswith("/volume/")
