"""Classes in the text of a file: found in every shape, or reported with file, line and field."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecars.statussync.class_documents import Definition, read_definitions
from sscsi.core.provider_class import SecretObjectData, SecretProviderClass

HEAD = """\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: app
"""


def read(text: str, file_name: str = "f.yaml") -> list[Definition]:
    return read_definitions(file_name, text.encode())


def only_class(text: str, file_name: str = "f.yaml") -> SecretProviderClass:
    (definition,) = read(text, file_name)
    assert definition.spc is not None, definition.problem
    return definition.spc


def indented(text: str, by: str) -> str:
    return "".join(by + line for line in text.splitlines(keepends=True))


FULL = (
    HEAD
    + """\
  namespace: prod
  annotations: {team: "1"}
spec:
  provider: file
  parameters:
    objects: |
      - objectName: a
        mode: 1
  secretObjects:
    - secretName: db
      type: Opaque
      labels: {a: b}
      annotations: {c: d}
      data:
        - objectName: a
          key: k
        - {objectName: b, key: l, jsonKey: x.y}
"""
)


def test_a_class_is_read_with_all_its_fields() -> None:
    spc = only_class(FULL)
    assert (spc.namespace, spc.name, spc.provider) == ("prod", "app", "file")
    assert spc.annotations == {"team": "1"}
    assert spc.parameters == {"objects": "- objectName: a\n  mode: 1\n"}
    (entry,) = spc.secret_objects
    assert (entry.secret_name, entry.type, entry.labels, entry.annotations) == (
        "db",
        "Opaque",
        {"a": "b"},
        {"c": "d"},
    )
    assert entry.data == (
        SecretObjectData(object_name="a", key="k"),
        SecretObjectData(object_name="b", key="l", json_key="x.y"),
    )


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        HEAD.replace("/v1", "/v1alpha1"),
        HEAD + "spec: {}\n",
        HEAD + "spec:\n",
        HEAD + "unknownField: [1]\n",
        "\ufeff" + HEAD,
        "# a comment\n---\n" + HEAD + "---\n",
        HEAD.replace("\n", "\r\n"),
    ],
)
def test_a_class_needs_nothing_but_its_name(text: str) -> None:
    spc = only_class(text)
    assert (spc.namespace, spc.name, spc.provider, spc.parameters) == ("default", "app", "", {})


def test_many_documents_of_many_kinds_give_their_classes_in_order() -> None:
    other = "kind: ConfigMap\ndata: {a: 1}\n"
    second = HEAD.replace("app", "second")
    definitions = read(f"{other}---\n{HEAD}---\n---\n[1]\n---\n{second}")
    names = [definition.class_name for definition in definitions]
    assert names == [("default", "app"), ("default", "second")]


@pytest.mark.parametrize("kind", ["List", "SecretProviderClassList"])
def test_a_list_is_unpacked(kind: str) -> None:
    text = f"apiVersion: v1\nkind: {kind}\nitems:\n- kind: Pod\n-\n{indented(HEAD, '  ')}"
    (definition,) = read(text)
    assert (definition.class_name, definition.place) == (("default", "app"), "f.yaml:6")


def test_json_is_read_with_tabs_and_surrogate_pairs() -> None:
    document = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": "app"},
        "spec": {"parameters": {"a": "\U0001f600", "b": "\\ud83d", "c": "tab\there"}},
    }
    text = json.dumps(document, indent="\t")
    assert "\\ud83d\\ude00" in text
    assert only_class(text, "f.json").parameters == {"a": "\U0001f600", "b": "\\ud83d", "c": "tab\there"}


def test_dates_are_strings_as_kubernetes_has_it() -> None:
    spc = only_class(HEAD + "spec:\n  parameters: {version: 2024-01-02, sign: =}\n")
    assert spc.parameters == {"version": "2024-01-02", "sign": "="}


def test_a_yaml_merge_is_merged() -> None:
    spc = only_class(HEAD + "spec:\n  parameters:\n    <<: {a: one, b: two}\n    a: own\n")
    assert spc.parameters == {"a": "own", "b": "two"}


BROKEN = [
    (HEAD + "spec: 3\n", "f.yaml:5: spec: must be a mapping, not a number"),
    (
        HEAD + "spec:\n  parameters:\n    ok: a\n    bad: 1\n",
        "f.yaml:8: spec.parameters.bad: must be a string, not a number; put it in quotes",
    ),
    (
        HEAD + "spec:\n  provider: on\n",
        "f.yaml:6: spec.provider: must be a string, not a boolean; put it in quotes",
    ),
    (
        HEAD + "spec:\n  secretObjects:\n  - secretName: x\n  - secretName: y\n    data: {a: b}\n",
        "f.yaml:9: spec.secretObjects[1].data: must be a list, not a mapping",
    ),
    (
        HEAD + "spec:\n  secretObjects:\n  - data:\n    - objectName: [a]\n",
        "f.yaml:8: spec.secretObjects[0].data[0].objectName: must be a string, not a list; put it in quotes",
    ),
    (HEAD + "spec:\n  parameters:\n    1: a\n", "f.yaml:7: spec.parameters: key 1 must be a string"),
    (
        HEAD + "spec:\n  provider: a\n  provider: b\n",
        "f.yaml:7:3: key 'provider' is given twice, first in line 6",
    ),
    (HEAD + "spec:\n  ? [a]\n  : b\n", "f.yaml:6:5: a key must be a string"),
    (
        HEAD + "spec:\n  provider: !mine x\n",
        "f.yaml:6:13: not YAML or JSON: could not determine a constructor",
    ),
    (HEAD + "spec:\n  provider: !!int x\n", "f.yaml:1:1: a value does not fit its tag"),
    (HEAD.replace("/v1", "/v2"), "f.yaml:1: apiVersion: must be secrets-store.csi.x-k8s.io/v1 or"),
    (HEAD.replace("apiVersion", "x"), "f.yaml:1: apiVersion: must be secrets-store.csi.x-k8s.io/v1 or"),
    (HEAD.replace("app", "My_App"), "f.yaml:4: metadata.name: must be lower case letters"),
    (HEAD + "  namespace: ../x\n", "f.yaml:5: metadata.namespace: must be lower case letters"),
]


@pytest.mark.parametrize(("text", "problem"), BROKEN)
def test_a_class_that_does_not_parse_is_reported_under_its_name(text: str, problem: str) -> None:
    (definition,) = read(text)
    assert definition.spc is None
    assert definition.class_name is not None
    assert definition.problem.startswith(problem)


NAMELESS = [
    (HEAD.replace("  name: app", "  x: y"), "f.yaml:4: metadata.name: must not be empty"),
    (HEAD.replace("name: app", "name: 1"), "f.yaml:4: metadata.name: must be a string, not a number"),
    (HEAD.replace("metadata:\n  name: app", "metadata: x"), "f.yaml:3: metadata: must be a mapping"),
    ("kind: SecretProviderClass\n", "f.yaml:1: apiVersion: must be"),
    (HEAD + "spec: [\n", "f.yaml:6:1: not YAML or JSON: "),
    (HEAD + "spec:\n\tprovider: x\n", "f.yaml:6:1: not YAML or JSON: "),
    (HEAD + "spec:\n  provider: \x01\n", "f.yaml:6:13: not YAML or JSON: a control character"),
    (HEAD + "spec: &a\n  x: *a\n", "f.yaml:5:7: an alias leads to itself"),
    (HEAD + "spec: " + "[" * 100 + "]" * 100, "f.yaml:5:70: nested deeper than 64 levels"),
    ("- " * 100 + "x", "f.yaml:1:129: nested deeper than 64 levels"),
]


@pytest.mark.parametrize(("text", "problem"), NAMELESS, ids=range(len(NAMELESS)))
def test_what_does_not_even_tell_a_name_is_reported_with_its_place(text: str, problem: str) -> None:
    (definition,) = read(text)
    assert definition.class_name is None
    assert definition.problem.startswith(problem)


@pytest.mark.parametrize("text", [HEAD + "spec: " + "[" * 100_000, "- " * 100_000 + "x"])
def test_depth_without_end_is_told_by_whoever_sees_it_first(text: str) -> None:
    """Newer releases of libyaml have a limit of their own, and look far ahead."""
    (definition,) = read(text)
    assert "nested deeper than 64 levels" in definition.problem or "nesting depth" in definition.problem


def test_bytes_that_are_no_text_are_reported_with_their_line() -> None:
    (definition,) = read_definitions("f.yaml", HEAD.encode() + b"x: \xff\n")
    assert definition.problem == "f.yaml:5: not UTF-8"


def test_aliases_that_expand_without_end_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (definition,) = read("\n".join(lines))
    assert definition.problem.endswith("expands to more than 100000 values")


def test_what_stands_before_a_syntax_error_is_kept() -> None:
    definitions = read(HEAD + "---\nfoo: {\n")
    assert [definition.class_name for definition in definitions] == [("default", "app"), None]
    assert definitions[0].spc is not None


def test_a_problem_quotes_nothing_of_the_file_but_keys() -> None:
    for value in ("[CANARY", "{CANARY: 1}", "'CANARY", "1.5 # CANARY", "&CANARY", "%CANARY"):
        for definition in read(HEAD + f"spec:\n  provider: {value}\n"):
            assert "CANARY" not in definition.problem


def test_the_uid_is_of_the_name_and_the_generation_of_the_spec() -> None:
    first = only_class(FULL)
    moved = only_class("# one more line\n" + FULL)
    noted = only_class(FULL.replace('team: "1"', 'team: "2"'))
    changed = only_class(FULL.replace("key: k", "key: l"))
    picked = only_class(FULL.replace("jsonKey: x.y", "jsonKey: x.z"))
    renamed = only_class(FULL.replace("name: app", "name: other"))
    assert (moved.uid, moved.generation) == (first.uid, first.generation)
    assert noted.generation == first.generation
    assert changed.uid == first.uid
    assert len({spc.generation for spc in (first, changed, picked)}) == 3
    assert renamed.uid != first.uid
    assert 0 < first.generation < 2**63


@given(st.text(max_size=60))
def test_any_text_is_classes_or_problems_but_never_a_crash(text: str) -> None:
    for definition in read(HEAD + text) + read(text) + read(text, "f.json"):
        assert (definition.spc is None) == bool(definition.problem)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4))
def test_parameters_come_through_json_unchanged(parameters: dict[str, str]) -> None:
    document = {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": "app"},
        "spec": {"parameters": parameters},
    }
    assert only_class(json.dumps(document, indent=1), "f.json").parameters == parameters
