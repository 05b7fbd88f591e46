"""The part of HTTP/1.1 that a health page needs: a request's first line, and an answer (RFC 9112).

Of a request's fields only two matter: whether a body follows, which must be read away before the connection is
closed, or the kernel's reset overtakes the answer.
"""

import dataclasses
import string
import urllib.parse
from collections.abc import Mapping, Sequence

Query = Mapping[str, str]
"""The parameters after `?`; a key without a value has an empty one, a repeated key's values are joined by commas."""

PLAIN_TEXT = "text/plain; charset=utf-8"
MAX_HEAD_BYTES = 16 * 1024
# A method is a token (RFC 9110, 5.6.2): M-SEARCH is one.
_TOKEN = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """An answer: the status code, the text, and what is said about it (`headers` are name and value)."""

    status: int
    body: str
    content_type: str = PLAIN_TEXT
    headers: Sequence[tuple[str, str]] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked: `path` is decoded and without the query. `has_body`: one follows the head."""

    method: str
    path: str
    query: Query
    has_body: bool


def head_end(data: bytes | bytearray) -> int:
    """Where the head ends, the empty line included; 0 while it is not complete."""
    for mark in (b"\r\n\r\n", b"\n\n"):
        at = data.find(mark)
        if at >= 0:
            return at + len(mark)
    return 0


def parse_head(head: bytes) -> Request:
    """Parse a complete head. Raises ValueError for what is no HTTP/1 request."""
    lines = head.decode("latin-1").splitlines()
    words = lines[0].split(" ") if lines else []
    if len(words) != 3 or not _is_token(words[0]) or not words[2].startswith("HTTP/1."):
        raise ValueError("not an HTTP/1 request")
    path, query = _target(words[1])
    fields = [line.partition(":") for line in lines[1:] if line]
    return Request(
        method=words[0],
        path=path,
        query=query,
        has_body=any(_announces_body(name, value.strip()) for name, _, value in fields),
    )


def _is_token(word: str) -> bool:
    return bool(word) and _TOKEN.issuperset(word)


def _target(target: str) -> tuple[str, Query]:
    """Path and query of `/path?query`, or of the form that proxies are sent, `http://host/path?query`."""
    if not target.startswith("/"):
        scheme, separator, rest = target.partition("://")
        if not separator or scheme.lower() not in {"http", "https"}:
            raise ValueError("not a path")
        _, slash, path = rest.partition("/")
        target = slash + path or "/"
    path, _, query = target.partition("?")
    parameters: dict[str, str] = {}
    for key, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        parameters[key] = f"{parameters[key]},{value}" if key in parameters else value
    return urllib.parse.unquote(path), parameters


def _announces_body(name: str, value: str) -> bool:
    name = name.lower()
    return name == "transfer-encoding" or (name == "content-length" and value != "0")


def encode_answer(page: Page, *, date: str, with_body: bool) -> bytes:
    """The bytes of an answer after which the connection ends. `date` is an HTTP date; no body answers HEAD."""
    body = page.body.encode(errors="replace")
    lines = [
        f"HTTP/1.1 {page.status} {_REASONS.get(page.status, 'Status')}",
        f"Content-Type: {page.content_type}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        *(f"{name}: {value}" for name, value in page.headers),
        f"Date: {date}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    head = "\r\n".join(lines) + "\r\n\r\n"
    return head.encode("latin-1") + (body if with_body else b"")
