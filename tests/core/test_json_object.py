"""Values of a JSON object are found by key or dotted path, and become content."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.json_object import find_value, parse_object, to_content

DOCUMENT = b"""{"user": "me", "port": 5432, "ratio": 1.10, "on": true, "none": null, "": "blank",
    "a": {"b": {"c": "deep", "": "odd"}, "list": [1, {"x": 2}]}, "a.b": "flat", "t.u": {"v": "unreached"}}"""


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("user", b"me"),
        ("port", b"5432"),
        ("ratio", b"1.10"),
        ("on", b"true"),
        ("none", b"null"),
        ("a.b.c", b"deep"),
        ("a.b.", b"odd"),
        ("a.b", b"flat"),
        ("a.list", b'[1,{"x":2}]'),
        ("a", b'{"b":{"c":"deep","":"odd"},"list":[1,{"x":2}]}'),
    ],
)
def test_a_key_comes_before_a_dotted_path_of_the_same_spelling(path: str, content: bytes) -> None:
    assert to_content(find_value(parse_object(DOCUMENT), path)) == content


@pytest.mark.parametrize("path", ["User", "user.x", "a.x", "a.list.0", "a.b.c.d", "t.u.v", ".", "port.x"])
def test_a_value_that_is_not_there_is_named_by_its_path(path: str) -> None:
    with pytest.raises(ValueError, match=r"^has no key ") as caught:
        find_value(parse_object(DOCUMENT), path)
    assert str(caught.value) == f"has no key {path!r}"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b'{"a": "CANARY", }', "is not valid JSON (line 1, column "),
        (b"CANARY", "is not valid JSON (line 1, column 1)"),
        (b'{"a": "CANARY\xff"}', "is not valid JSON (byte 13 is no text)"),
        (b'["CANARY"]', "is not a JSON object"),
        (b'{"CANARY": -Infinity}', "has NaN or Infinity in it, which JSON has not"),
        (b'{"CANARY": ' + b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_said_without_its_text(document: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) ") as caught:
        parse_object(document)
    assert str(caught.value).startswith(message)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_half_a_character_is_no_content() -> None:
    with pytest.raises(ValueError, match=r"^has half a surrogate pair"):
        to_content(parse_object(b'{"a": "\\ud800"}')["a"])


@given(st.dictionaries(st.text("ab.", max_size=4), st.text(), min_size=1))
def test_every_key_is_found_by_itself(values: dict[str, str]) -> None:
    parsed = parse_object(json.dumps(values).encode())
    for key, value in values.items():
        assert to_content(find_value(parsed, key)) == value.encode()
