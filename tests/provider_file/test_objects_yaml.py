"""The text of the `objects` parameter: every scalar is text, every error has a place and no content."""

import contextlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sscsi.errors import InvalidRequestError
from sscsi.provider_file.objects_yaml import load, load_objects

CANARY = "hunter2hunter2"


def test_scalars_stay_as_they_were_written() -> None:
    text = '- objectName: 2024-01-01\n  fileMode: 0400\n- objectName: yes\n  fileMode: "0400"\n- objectName: 1e3\n'
    assert load_objects(text) == [
        {"objectName": "2024-01-01", "fileMode": "0400"},
        {"objectName": "yes", "fileMode": "0400"},
        {"objectName": "1e3"},
    ]


def test_the_array_form_of_other_providers_is_unwrapped() -> None:
    text = "array:\n  - |\n    objectName: a\n    objectAlias: b\n  - objectName: c\n"
    assert load_objects(text) == [{"objectName": "a", "objectAlias": "b"}, {"objectName": "c"}]


@pytest.mark.parametrize("text", ["{}", "array: x", "array: []\nmore: []", "objectName: a"])
def test_a_mapping_that_is_not_the_array_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="must be a YAML list of entries, or a mapping"):
        load_objects(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"- objectName: a\n {CANARY}: b\n", "objects: line 2, column 2: "),
        (f"- objectName: '{CANARY}\n", "objects: line "),
        (f"- objectName: @{CANARY}\n", "objects: line 1, column 15: "),
        (f"- %{CANARY}\n", "objects: line 1, column 3: "),
        (f"- objectName: !{CANARY} x\n", "objects: line 1, column 15: tags are not supported"),
        (f"- &{CANARY} x\n- *{CANARY}\n", "objects: line 2, column 3: aliases are not supported"),
        (f"- {CANARY}: a\n  {CANARY}: b\n", "objects: line 2, column 3: this key occurs twice"),
        (f"- ? [{CANARY}]\n  : b\n", "objects: line 1, column 5: a key must be a string"),
        (f"- a\n---\n- {CANARY}\n", "objects: has 2 YAML documents"),
        (f"- a\n- {CANARY}\x07\n", "objects: line 2: a character that YAML does not allow"),
        (f"- {CANARY}\ud800\n", "objects: is not valid Unicode"),
        ("- " + "[" * 50 + CANARY, "objects: line 1, column 19: nested deeper than 16 levels"),
        (f"%YAML 9.9 {CANARY}\n---\n- a\n", "objects: line 1"),
        ("x" * 300_000, "objects: has 300000 characters"),
        (f"array:\n  - a\n  - '\n\n    {CANARY}: [\n  '\n", "objects.array[1]: line 3, column 1: "),
    ],
)
def test_bad_yaml_is_placed_and_not_quoted(text: str, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        load_objects(text)
    assert str(caught.value).startswith(words)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "- - "])
def test_deep_nesting_is_refused_and_does_no_harm(opening: str) -> None:
    with pytest.raises(InvalidRequestError):
        load(opening * 60_000, "objects")


PLAIN = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc\u00e9", max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_what_was_written_is_what_is_read(value: object) -> None:
    assert (
        load(yaml.dump(value, Dumper=_NoAliases, default_style='"', allow_unicode=True), "objects") == value
    )


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequestError):
        assert isinstance(load_objects(text), str | list)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True
