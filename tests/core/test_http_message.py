import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.http_message import Page, encode_answer, head_end, parse_head

DATE = "Tue, 24 Nov 2026 04:45:15 GMT"


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0),
        (b"GET / HTTP/1.1\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27),
        (b"GET / HTTP/1.1\r\n\r\nbody", 18),
        (b"GET / HTTP/1.1\n\n", 16),
    ],
)
def test_a_head_ends_with_an_empty_line(data: bytes, end: int) -> None:
    assert head_end(data) == end


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/healthz", "/healthz", {}),
        ("/readyz?verbose", "/readyz", {"verbose": ""}),
        ("/readyz?verbose&exclude=a&exclude=b%20c", "/readyz", {"verbose": "", "exclude": "a,b c"}),
        ("/a%2Fb?x=1=2", "/a/b", {"x": "1=2"}),
        ("http://node:9808/healthz?x", "/healthz", {"x": ""}),
        ("http://node:9808", "/", {}),
    ],
)
def test_a_target_is_a_path_and_a_query(target: str, path: str, query: dict[str, str]) -> None:
    request = parse_head(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (request.method, request.path, request.query) == ("GET", path, query)


@pytest.mark.parametrize(
    ("fields", "has_body"),
    [
        ("", False),
        ("Content-Length: 0\r\n", False),
        ("content-length: 12\r\n", True),
        ("Transfer-Encoding: chunked\r\n", True),
    ],
)
def test_a_body_is_announced_by_a_field(fields: str, has_body: bool) -> None:
    assert parse_head(f"POST / HTTP/1.1\r\n{fields}\r\n".encode()).has_body is has_body


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"GET healthz HTTP/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01 x y\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_head(head)


@given(st.binary())
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    try:
        request = parse_head(data)
    except ValueError:
        return
    assert request.method


def test_an_answer_says_its_length_and_that_the_connection_ends() -> None:
    answer = encode_answer(Page(200, "grün", headers=[("X-A", "1")]), date=DATE, with_body=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == "grün".encode()
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert {"Content-Length: 5", "Connection: close", f"Date: {DATE}", "X-A: 1"} <= set(lines)
    assert "Content-Type: text/plain; charset=utf-8" in lines


def test_an_answer_without_its_body_still_says_its_length() -> None:
    answer = encode_answer(Page(500, "not well"), date=DATE, with_body=False)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"Content-Length: 8\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
