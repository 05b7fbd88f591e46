"""PEM blocks are found whole, or it is said which is not; no message quotes them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.pem import parse_pem


def block(label: str, body: bytes = b"body", headers: str = "") -> bytes:
    encoded = base64.encodebytes(body).decode()
    return f"-----BEGIN {label}-----\n{headers}{encoded}-----END {label}-----\n".encode()


def test_blocks_come_unchanged_and_in_order_and_text_between_them_is_dropped() -> None:
    first, second = block("CERTIFICATE", b"a"), block("PRIVATE KEY", b"b" * 200)
    parsed = parse_pem(b"subject=x\n" + first + b"issuer=y\n\n" + second + b"trailing")
    assert [(entry.label, entry.text) for entry in parsed] == [
        ("CERTIFICATE", first),
        ("PRIVATE KEY", second),
    ]


def test_a_missing_last_newline_is_added() -> None:
    (parsed,) = parse_pem(block("CERTIFICATE").rstrip())
    assert parsed.text == block("CERTIFICATE")


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm() -> None:
    (parsed,) = parse_pem(b"\xef\xbb\xbf" + block("CERTIFICATE").replace(b"\n", b"\r\n"))
    assert parsed.label == "CERTIFICATE"


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        (block("ENCRYPTED PRIVATE KEY"), True),
        (block("RSA PRIVATE KEY", headers="Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n"), True),
        (block("RSA PRIVATE KEY", headers="Comment: of mine\n\n"), False),
        (block("PRIVATE KEY"), False),
    ],
)
def test_an_encrypted_key_is_told_from_a_plain_one(text: bytes, encrypted: bool) -> None:
    (parsed,) = parse_pem(text)
    assert parsed.is_encrypted is encrypted


@pytest.mark.parametrize("content", [b"", b"no pem", b"\x30\x82\x01\x02", b" -----BEGIN CERTIFICATE-----\n"])
def test_what_has_no_block_has_none(content: bytes) -> None:
    assert parse_pem(content) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"-----BEGIN CANARY-----\nAAAA\n", "the PEM block of line 1 has no END line"),
        (
            b"x\n-----BEGIN CANARY-----\nAAAA\n-----END OTHER-----\n",
            "the PEM block of line 2 ends as another",
        ),
        (b"-----BEGIN CANARY-----\n-----BEGIN CANARY-----\n", "the PEM block of line 1 has no END line"),
        (b"-----BEGIN CANARY-----\nCANARY!\n-----END CANARY-----\n", "the PEM block of line 1 is not base64"),
        (b"-----BEGIN CANARY-----\n-----END CANARY-----\n", "the PEM block of line 1 is empty"),
    ],
)
def test_a_block_that_is_not_whole_is_an_error_with_its_line_and_no_content(
    content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_pem(content)
    assert "CANARY" not in str(caught.value)


def test_a_block_shows_no_content_in_its_repr() -> None:
    (parsed,) = parse_pem(block("CANARY"))
    assert "CANARY" not in repr(parsed)
    assert base64.b64encode(b"body").decode() not in repr(parsed)


@given(st.binary(max_size=200))
def test_any_bytes_are_blocks_or_an_error_that_does_not_quote_them(content: bytes) -> None:
    try:
        parse_pem(content)
    except ValueError as error:
        assert str(error).startswith("the PEM block of line ")  # noqa: PT017 - most inputs raise nothing


@given(
    st.lists(st.tuples(st.sampled_from(["CERTIFICATE", "PRIVATE KEY"]), st.binary(min_size=1)), max_size=5)
)
def test_blocks_that_were_written_are_read_back(written: list[tuple[str, bytes]]) -> None:
    texts = [block(label, body) for label, body in written]
    assert [entry.text for entry in parse_pem(b"".join(texts))] == texts
