"""JSON documents taken apart."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.errors import ObjectError
from sscsi.provider_file.json_document import explode

CANARY = "hunter2hunter2"


def test_strings_are_delivered_as_they_are_and_others_as_compact_json() -> None:
    document = b'{"s": "a\\n\\u00e9", "n": 1.10, "big": 1e999, "l": [1, {"x": null}], "t": true, "e": ""}'
    assert explode("a.json", document, None) == {
        "s": "a\né".encode(),
        "n": b"1.10",
        "big": b"1e999",
        "l": b'[1,{"x":null}]',
        "t": b"true",
        "e": b"",
    }


def test_only_the_keys_asked_for_are_delivered() -> None:
    assert explode("a.json", b'{"a": "1", "b": "2"}', ["b", "b"]) == {"b": b"2"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (f'{{"a": "{CANARY}", }}'.encode(), "'a.json' is not valid JSON (line 1, column "),
        (f'{{"a": "{CANARY}"\n'.encode(), "'a.json' is not valid JSON (line 2, column 1)"),
        (f'{{"a": "{CANARY}'.encode() + b'\xff"}', "'a.json' is not valid JSON (byte 21 is no text)"),
        (f'{{"a": "{CANARY}", "b": NaN}}'.encode(), "'a.json' has NaN or Infinity in it"),
        (f'["{CANARY}"]'.encode(), "'a.json' is not a JSON object"),
        (f'"{CANARY}"'.encode(), "'a.json' is not a JSON object"),
        (b"", "'a.json' is not valid JSON (line 1, column 1)"),
        (b"{}", "'a.json' is an empty JSON object"),
        (b'{"a": ' + b"[" * 100_000, "'a.json' is nested too deeply"),
        (b'{"x": ' * 600 + f'"{CANARY}"'.encode() + b"}" * 600, "value of key number 1 is nested too deeply"),
        (f'{{"a": "{CANARY}\\ud800"}}'.encode(), "the value of key number 1 has half a surrogate pair"),
    ],
)
def test_what_is_wrong_is_said_without_content(document: bytes, words: str) -> None:
    with pytest.raises(ObjectError) as caught:
        explode("a.json", document, None)
    assert words in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ObjectError, match=r"the JSON object 'a.json' has no key 'port'"):
        explode("a.json", b'{"host": "x"}', ["host", "port"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4))
def test_every_value_survives(values: dict[str, object]) -> None:
    exploded = explode("a.json", json.dumps(values).encode(), None)
    assert list(exploded) == list(values)
    for key, value in values.items():
        assert (
            exploded[key].decode() == value if isinstance(value, str) else json.loads(exploded[key]) == value
        )
