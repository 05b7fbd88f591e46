import base64
import json
import re
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.provider_request import go_string
from sscsi.core.redaction import (
    MASK,
    MAX_BYTES,
    MIN_SENSITIVE_BYTES,
    clean_message,
    sensitive_lines,
    token_values,
)

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "JSON, ASCII": lambda value: json.dumps(value)[1:-1],
    "JSON": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "JSON, Go": lambda value: go_string(value)[1:-1],
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64, unpadded": lambda value: base64.b64encode(value.encode()).decode().rstrip("="),
    "base64, URL-safe": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "base64, URL-safe, unpadded": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "URL": lambda value: urllib.parse.quote(value, safe=""),
    "URL, lower case": lambda value: re.sub("%..", lambda match: match[0].lower(), urllib.parse.quote(value)),
    "form": urllib.parse.quote_plus,
}
# Without the mask's own character: a value of asterisks can't be told from masks.
VALUES = st.text(min_size=1, max_size=30).map(lambda value: value.replace("*", "x"))
SENSITIVE = VALUES.filter(lambda value: len(value.encode()) >= MIN_SENSITIVE_BYTES)


@st.composite
def quotes(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A provider's message that quotes some values, in whatever spelling, between other text."""
    values = draw(st.lists(SENSITIVE, min_size=1, max_size=4))
    parts = [draw(VALUES)]
    for _ in range(draw(st.integers(1, 6))):
        parts += [SPELLINGS[draw(st.sampled_from(sorted(SPELLINGS)))](draw(st.sampled_from(values)))]
        parts += [draw(st.text(max_size=10)).replace("*", "x")]
    return "".join(parts), values


@given(quotes())
def test_no_sensitive_value_is_left_in_any_spelling(quote: tuple[str, list[str]]) -> None:
    text, values = quote
    clean = clean_message(text, values)
    for value in values:
        for spell in SPELLINGS.values():
            assert spell(value) not in clean


@given(st.text(max_size=3000), st.lists(VALUES, max_size=3))
def test_a_message_is_one_line_of_at_most_1_kib(text: str, values: list[str]) -> None:
    clean = clean_message(text, values)
    assert len(clean.encode()) <= MAX_BYTES
    assert clean.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in clean)
    assert not set(clean) & set("\n\r\u2028\u2029")


@pytest.mark.parametrize(
    ("text", "sensitive", "clean"),
    [
        ("plain words", [], "plain words"),
        ("token abcdef rejected", ["abcdef"], "token *** rejected"),
        ("token abcde rejected", ["abcde"], "token abcde rejected"),
        ("größe größe1", ["größe"], "*** ***1"),
        ("abcdefgh abcdef", ["abcdef", "abcdefgh"], "*** ***"),
        ('in JSON: "a\\"bcdef"', ['a"bcdef'], 'in JSON: "***"'),
        ("in base64: " + base64.b64encode(b"s3cret!").decode(), ["s3cret!"], "in base64: ***"),
        ("padded s3cret!: czNjcmV0IQ== in all", ["s3cret!"], "padded ***: *** in all"),
        ("as Go's RawStdEncoding czNjcmV0IQ, it says", ["s3cret!"], "as Go's RawStdEncoding ***, it says"),
        ("bearer eyJh.czNjcmV0IQ.sig", ["s3cret!"], "bearer eyJh.***.sig"),
        ("standard Pz8/Pj4+fn5+", ["???>>>~~~"], "standard ***"),
        ("URL-safe Pz8_Pj4-fn5-", ["???>>>~~~"], "URL-safe ***"),
        ("URL-safe Pz8_Pj4-fn4=, Pz8_Pj4-fn4", ["???>>>~~"], "URL-safe ***, ***"),
        ("two\nlines\r\n\tand\0a tab", [], "two lines   and a tab"),
        ("a key: -----BEGIN\nMIIB\n-----END", ["-----BEGIN\nMIIB\n-----END"], "a key: ***"),
        ("a key: -----BEGIN MIIB -----END", ["-----BEGIN\nMIIB\n-----END"], "a key: ***"),
        ("split se\ncret", ["se cret"], "split ***"),
        (" \n ", ["abcdef"], ""),
    ],
)
def test_messages_as_they_come_and_as_they_go(text: str, sensitive: list[str], clean: str) -> None:
    assert clean_message(text, sensitive) == clean


def test_a_long_message_is_cut_with_an_ellipsis_and_never_within_a_character() -> None:
    clean = clean_message("ü" * 1000, [])
    assert clean == "ü" * 510 + "..."


def test_values_are_masked_before_the_cut_so_that_no_half_of_one_remains() -> None:
    secret = "the-secret-value"
    clean = clean_message("x" * (MAX_BYTES - 8) + secret, [secret])
    assert clean == "x" * (MAX_BYTES - 8) + MASK


def test_a_file_may_be_quoted_whole_or_by_line() -> None:
    assert set(sensitive_lines(b"user=admin\r\n  password=hunter2  \n")) >= {"user=admin", "password=hunter2"}
    assert "first line\nsecond line" in sensitive_lines(b"first line\nsecond line\n")


def test_content_that_is_no_text_does_no_harm() -> None:
    assert clean_message("fine", sensitive_lines(b"\xff\xfe\x00\x80binary")) == "fine"


@pytest.mark.parametrize(
    ("tokens", "values"),
    [
        (
            '{"":{"token":"aaa.bbb","expirationTimestamp":"2026"},"vault":{"token":"ccc.ddd"}}',
            ["aaa.bbb", "ccc.ddd"],
        ),
        ("{}", []),
        ("no JSON at all", []),
        ('["a list"]', []),
        ('{"aud": "no object"}', []),
        ('{"aud": {"no": "token"}}', []),
        ('{"aud": {"token": 7}}', ["7"]),
    ],
)
def test_tokens_are_found_in_kubelets_json_and_the_json_counts_too(tokens: str, values: list[str]) -> None:
    assert token_values(tokens) == [tokens, *values]


def test_a_line_is_found_among_hundreds_of_thousands() -> None:
    lines = sensitive_lines(b"\n".join(b"line-%07d" % number for number in range(200_000)))
    assert clean_message("invalid path: ../line-0100007", lines) == "invalid path: ../***"
