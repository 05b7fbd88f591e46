from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.provider_class import (
    FieldError,
    SecretObject,
    SecretObjectData,
    SecretProviderClass,
    format_path,
    from_manifest,
)

MANIFEST: dict[str, Any] = {
    "apiVersion": "secrets-store.csi.x-k8s.io/v1",
    "kind": "SecretProviderClass",
    "metadata": {"name": "web", "namespace": "shop", "annotations": {"a": "b"}},
    "spec": {
        "provider": "file",
        "parameters": {"objects": "- objectName: key"},
        "secretObjects": [
            {
                "secretName": "web-tls",
                "type": "kubernetes.io/tls",
                "labels": {"l": "1"},
                "annotations": {"n": "2"},
                "data": [{"objectName": "tls/key", "key": "tls.key", "jsonKey": "pem"}],
            }
        ],
    },
}
STRING_FIELDS = [
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("spec", "provider"),
    ("spec", "secretObjects", 0, "secretName"),
    ("spec", "secretObjects", 0, "type"),
    ("spec", "secretObjects", 0, "data", 0, "objectName"),
    ("spec", "secretObjects", 0, "data", 0, "key"),
    ("spec", "secretObjects", 0, "data", 0, "jsonKey"),
    ("metadata", "annotations", "a"),
    ("spec", "parameters", "objects"),
    ("spec", "secretObjects", 0, "labels", "l"),
    ("spec", "secretObjects", 0, "annotations", "n"),
]
MAPPING_FIELDS = [
    (),
    ("metadata",),
    ("spec",),
    ("metadata", "annotations"),
    ("spec", "parameters"),
    ("spec", "secretObjects", 0),
    ("spec", "secretObjects", 0, "labels"),
    ("spec", "secretObjects", 0, "data", 0),
]
LIST_FIELDS = [("spec", "secretObjects"), ("spec", "secretObjects", 0, "data")]


def read(manifest: object) -> SecretProviderClass:
    return from_manifest(manifest, default_namespace="default", uid="u", generation=7)


def with_value(node: Any, path: tuple[str | int, ...], value: object) -> Any:
    """A copy of `node` with `value` at `path`."""
    if not path:
        return value
    copy: Any = list(node) if isinstance(node, list) else dict(node)
    copy[path[0]] = with_value(node[path[0]], path[1:], value)
    return copy


def test_a_whole_manifest_is_read() -> None:
    assert read(MANIFEST) == SecretProviderClass(
        namespace="shop",
        name="web",
        uid="u",
        generation=7,
        annotations={"a": "b"},
        provider="file",
        parameters={"objects": "- objectName: key"},
        secret_objects=(
            SecretObject(
                secret_name="web-tls",
                type="kubernetes.io/tls",
                labels={"l": "1"},
                annotations={"n": "2"},
                data=(SecretObjectData(object_name="tls/key", key="tls.key", json_key="pem"),),
            ),
        ),
    )


def test_absent_and_null_fields_are_empty() -> None:
    smallest = read({"metadata": {"name": "web"}})
    assert smallest == read({"metadata": {"name": "web", "annotations": None}, "spec": None})
    assert (smallest.namespace, smallest.provider, smallest.parameters) == ("default", "", {})
    assert smallest.secret_objects == ()


@pytest.mark.parametrize("manifest", [None, {}, {"metadata": {}}, {"metadata": {"name": ""}}])
def test_a_class_has_a_name(manifest: object) -> None:
    with pytest.raises(FieldError, match=r"^metadata\.name: must not be empty$"):
        read(manifest)


@pytest.mark.parametrize("path", STRING_FIELDS)
@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "a boolean"), (1, "a number"), (1.5, "a number"), ([], "a list"), ({}, "a mapping")],
)
def test_a_string_field_takes_only_strings(path: tuple[str | int, ...], value: object, kind: str) -> None:
    with pytest.raises(FieldError) as refusal:
        read(with_value(MANIFEST, path, value))
    assert refusal.value.path == path
    assert str(refusal.value) == f"{format_path(path)}: must be a string, not {kind}; put it in quotes"


@pytest.mark.parametrize("path", MAPPING_FIELDS)
@pytest.mark.parametrize(("value", "kind"), [("x", "a string"), ([], "a list"), (False, "a boolean")])
def test_a_mapping_field_takes_only_mappings(path: tuple[str | int, ...], value: object, kind: str) -> None:
    with pytest.raises(FieldError) as refusal:
        read(with_value(MANIFEST, path, value))
    assert str(refusal.value) == f"{format_path(path)}: must be a mapping, not {kind}"


@pytest.mark.parametrize("path", LIST_FIELDS)
@pytest.mark.parametrize(("value", "kind"), [("x", "a string"), ({}, "a mapping"), (0, "a number")])
def test_a_list_field_takes_only_lists(path: tuple[str | int, ...], value: object, kind: str) -> None:
    with pytest.raises(FieldError) as refusal:
        read(with_value(MANIFEST, path, value))
    assert str(refusal.value) == f"{format_path(path)}: must be a list, not {kind}"


def test_a_key_that_is_no_string_is_named_with_its_place() -> None:
    with pytest.raises(FieldError, match=r"^spec\.parameters: key 8080 must be a string; put it in quotes$"):
        read(with_value(MANIFEST, ("spec", "parameters"), {8080: "x"}))


def test_no_error_shows_the_value_of_a_field() -> None:
    for path in STRING_FIELDS:
        with pytest.raises(FieldError) as refusal:
            read(with_value(MANIFEST, path, ["canary-value"]))
        assert "canary" not in str(refusal.value)


def test_places_are_written_as_kubernetes_writes_them() -> None:
    assert format_path(("spec", "secretObjects", 0, "data")) == "spec.secretObjects[0].data"
    assert format_path(()) == "(document)"


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), children)
    ),
    max_leaves=6,
)


@given(st.sampled_from([*STRING_FIELDS, *MAPPING_FIELDS, *LIST_FIELDS]), VALUES)
def test_whatever_stands_in_a_field_it_is_a_class_or_an_error_with_its_place(
    path: tuple[str | int, ...], value: object
) -> None:
    wrong: FieldError | None = None
    try:
        read(with_value(MANIFEST, path, value))
    except FieldError as error:
        wrong = error
    assert wrong is None or str(wrong).startswith(format_path(wrong.path))
