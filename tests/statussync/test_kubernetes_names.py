"""Names that the API takes are told from others, and derived names are taken and kept apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.kubernetes_names import is_secret_key, is_subdomain, label_value, subdomain


@pytest.mark.parametrize("name", ["a", "a-b", "a.b", "0", "a" * 253, "a--b", "x.y-z.1"])
def test_a_dns_1123_subdomain_can_name_an_object(name: str) -> None:
    assert is_subdomain(name)
    assert subdomain(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a.", "a" * 254, "a/b", "..", "a\n", "ä", "a b", "a\0"],
)
def test_anything_else_cannot_and_gets_a_derived_name(name: str) -> None:
    assert not is_subdomain(name)
    assert is_subdomain(subdomain(name))


def test_derived_names_begin_as_the_name_does_and_differ_at_the_end() -> None:
    one, other = "pod-" + "a" * 300, "pod-" + "a" * 301
    assert subdomain(one).startswith("pod-aaa")
    assert subdomain(one) != subdomain(other)


@given(st.text())
def test_every_text_has_a_name_and_a_label_value(text: str) -> None:
    assert is_subdomain(subdomain(text))
    value = label_value(text)
    assert len(value) <= 63
    assert label_value(value) == value


def test_a_node_name_that_is_a_label_value_stays() -> None:
    assert label_value("Node_1.example.com") == "Node_1.example.com"
    assert label_value("") == ""


def test_long_node_names_have_different_label_values() -> None:
    one, other = (f"ip-10-0-0-1.{'long.' * 12}{end}" for end in "ab")
    assert label_value(one) != label_value(other)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("tls.crt", True),
        (".dockerconfigjson", True),
        ("A_b-1", True),
        ("", False),
        (".", False),
        ("..", False),
        ("..a", False),
        ("a/b", False),
        ("a b", False),
        ("ä", False),
        ("k" * 254, False),
    ],
)
def test_secret_keys_are_those_of_the_api(key: str, allowed: bool) -> None:
    assert is_secret_key(key) is allowed
