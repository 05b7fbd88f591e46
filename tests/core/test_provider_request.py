import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.provider_request import (
    PERMISSION,
    TOKENS_KEY,
    attributes_json,
    find_tokens,
    go_json,
    secrets_json,
)

MAPS = st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=5)


def test_upstreams_example_byte_for_byte() -> None:
    parameters = {"objects": "array:\n  - |\n    objectName: foo\n"}
    context = {
        "secretProviderClass": "e2e-provider",
        "csi.storage.k8s.io/pod.name": "p",
        "csi.storage.k8s.io/pod.namespace": "default",
        "csi.storage.k8s.io/ephemeral": "true",
    }
    assert attributes_json(parameters, context, "") == (
        '{"csi.storage.k8s.io/ephemeral":"true","csi.storage.k8s.io/pod.name":"p",'
        '"csi.storage.k8s.io/pod.namespace":"default",'
        '"objects":"array:\\n  - |\\n    objectName: foo\\n","secretProviderClass":"e2e-provider"}'
    )


def test_the_volumes_attributes_win_over_the_classs_parameters_and_the_tokens_over_both() -> None:
    document = json.loads(
        attributes_json(
            {"a": "class", "b": "class", TOKENS_KEY: "class"}, {"b": "volume", TOKENS_KEY: "x"}, "t"
        )
    )
    assert document == {"a": "class", "b": "volume", TOKENS_KEY: "t"}


def test_without_tokens_there_is_no_key_for_them() -> None:
    assert TOKENS_KEY not in json.loads(attributes_json({"a": "1"}, {}, ""))


def test_no_secrets_are_gos_nil_map() -> None:
    assert secrets_json({}) == "null"


def test_secrets_are_one_json_object() -> None:
    assert secrets_json({"user": "u", "pass": "<p>"}) == '{"pass":"\\u003cp\\u003e","user":"u"}'


def test_the_permission_is_0644_in_decimal() -> None:
    assert int(PERMISSION) == 0o644


@pytest.mark.parametrize(
    ("context", "secrets", "tokens"),
    [
        ({}, {}, ""),
        ({TOKENS_KEY: "context"}, {}, "context"),
        ({}, {TOKENS_KEY: "secrets"}, "secrets"),
        ({TOKENS_KEY: "context"}, {TOKENS_KEY: "secrets"}, "secrets"),
        ({TOKENS_KEY: "context"}, {TOKENS_KEY: ""}, "context"),
    ],
)
def test_tokens_are_looked_for_in_the_secrets_first(
    context: dict[str, str], secrets: dict[str, str], tokens: str
) -> None:
    assert find_tokens(context, secrets) == tokens


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<a&b>", r"\u003ca\u0026b\u003e"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("größe €", "größe €"),
        ('"\\', r"\"\\"),
        ("\n\r\t", r"\n\r\t"),
        ("\x01\x1f", r"\u0001\u001f"),
        ("/", "/"),
        ("\U0001f511", "\U0001f511"),
    ],
)
def test_strings_are_escaped_as_go_escapes_them(value: str, text: str) -> None:
    assert go_json({"k": value}) == f'{{"k":"{text}"}}'


@given(MAPS)
def test_what_is_written_reads_back(values: dict[str, str]) -> None:
    assert json.loads(go_json(values)) == values


@given(MAPS)
def test_keys_are_in_the_order_of_their_bytes(values: dict[str, str]) -> None:
    keys = [key for key, _ in json.loads(go_json(values), object_pairs_hook=list)]
    assert [key.encode() for key in keys] == sorted(key.encode() for key in values)


@given(MAPS)
def test_no_html_character_is_left(values: dict[str, str]) -> None:
    assert not set("<>&\u2028\u2029") & set(go_json(values))
