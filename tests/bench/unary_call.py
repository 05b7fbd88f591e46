"""One gRPC call on one new connection, as kubelet's Go client makes it, at a fraction of grpcio's cost.

The client runs on the same cores as the servers it measures: what it costs makes both look equal. A grpcio
channel for every call takes about as long as the server under test, so the frames of this one kind of call
(unary, plaintext, small) are written here by hand (RFC 9113 and 7541; gRPC over HTTP/2). The order is grpc-go's:
settings are exchanged first; a window update, a bandwidth ping and GOAWAY in one write end the connection.
"""

import select
import socket
import struct
import urllib.parse
from collections.abc import Generator

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_MAX_FRAME_BYTES = 16384


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0)
_SETTINGS_ACK = _frame(_SETTINGS, _ACK, 0)
_FAREWELL = (
    _frame(_PING, 0, 0, b"\x02\x04\x10\x10\x09\x0e\x07\x07")
    # Last stream 0, no error, and a reason of the usual length.
    + _frame(_GOAWAY, 0, 0, bytes(8) + b"client transport shutdown")
)


class CallFailedError(Exception):
    """The call ended without an answer; the message has the status or what broke."""


class _BrokenError(Exception):
    """As CallFailedError, where the method is not known."""


class Method:
    """One RPC method and the header block that calls it."""

    def __init__(self, path: str, *, timeout_seconds: int) -> None:
        self.name = path.rpartition("/")[2]
        # HPACK: 0x80 + n is the whole entry n of the static table (3 is `:method: POST`, 6 is `:scheme: http`),
        # 0x40 + n its name with a value that follows (4 is `:path`), 0x40 a name and a value that follow.
        block = (
            b"\x83\x86"
            + (b"\x44" + _string(path))
            + (b"\x41" + _string("localhost"))
            + (b"\x5f" + _string("application/grpc"))
            + (b"\x7a" + _string("grpc-go/1.72.1"))
            + (b"\x40" + _string("te") + _string("trailers"))
            + (b"\x40" + _string("grpc-timeout") + _string(f"{timeout_seconds * 1000}m"))
        )
        self._headers = _SETTINGS_ACK + _frame(_HEADERS, _END_HEADERS, 1, block)

    def request(self, message: bytes) -> bytes:
        """Everything that is sent once the server's settings are there."""
        body = b"\0" + struct.pack(">I", len(message)) + message
        if len(body) > _MAX_FRAME_BYTES:
            raise ValueError(f"a request of {len(message)} bytes takes more than one frame")
        return self._headers + _frame(_DATA, _END_STREAM, 1, body)


def call(
    socket_path: str, method: Method, message: bytes, epoll: select.epoll
) -> Generator[socket.socket, None, bytes]:
    """Call `method`; yields the socket, registered with `epoll`, whenever it waits to be readable.

    Returns the answer's message, serialised. Raises CallFailedError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(socket_path)
            connection.setblocking(False)
            connection.sendall(_PREFACE)
            epoll.register(connection.fileno(), select.EPOLLIN)
            return (yield from _exchange(connection, method.request(message)))
        except (_BrokenError, OSError) as error:
            raise CallFailedError(f"{method.name}: {error}") from error


def answer(socket_path: str, method: Method, message: bytes, *, timeout_seconds: float) -> bytes:
    """Call `method` and wait for its answer. Raises CallFailedError."""
    with select.epoll() as epoll:
        steps = call(socket_path, method, message, epoll)
        try:
            while True:
                next(steps)
                if not epoll.poll(timeout_seconds):
                    raise CallFailedError(f"{method.name}: no answer in {timeout_seconds:g} s")
        except StopIteration as end:
            return bytes(end.value)
        finally:
            steps.close()


def _exchange(connection: socket.socket, request: bytes) -> Generator[socket.socket, None, bytes]:
    frames = _Frames()
    body = b""
    request_sent = False
    while True:
        yield connection
        chunk = connection.recv(65536)
        if not chunk:
            raise _BrokenError("the server closed the connection")
        for kind, flags, payload in frames.feed(chunk):
            if kind == _SETTINGS and not flags & _ACK and not request_sent:
                connection.sendall(request)
                request_sent = True
            elif kind == _PING and not flags & _ACK:
                connection.sendall(_frame(_PING, _ACK, 0, payload))
            elif kind == _DATA:
                body += payload
            elif kind == _HEADERS and flags & _END_STREAM:
                if body:
                    connection.sendall(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", len(body))) + _FAREWELL)
                return _message(body, payload)
            elif kind in {_RST_STREAM, _GOAWAY}:
                raise _BrokenError(f"the server broke the call off (frame {kind}, {payload.hex()})")


class _Frames:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[tuple[int, int, bytes]]:
        data = self._rest + chunk
        begin = 0
        frames = []
        while len(data) - begin >= 9:
            end = begin + 9 + int.from_bytes(data[begin : begin + 3], "big")
            if end > len(data):
                break
            frames.append((data[begin + 3], data[begin + 4], data[begin + 9 : end]))
            begin = end
        self._rest = data[begin:]
        return frames


def _message(body: bytes, trailers: bytes) -> bytes:
    status = _trailer(trailers, b"grpc-status")
    if status != "0":
        raise _BrokenError(
            f"status {status}: {urllib.parse.unquote(_trailer(trailers, b'grpc-message') or '')}"
        )
    if len(body) < 5 or len(body) != 5 + int.from_bytes(body[1:5], "big"):
        raise _BrokenError(f"status 0 with a broken message of {len(body)} bytes")
    return body[5:]


def _trailer(block: bytes, name: bytes) -> str | None:
    """The value of a header that is spelled out in `block`, which gRPC's core does on a new connection."""
    place = block.find(name)
    if place < 0 or place + len(name) >= len(block):
        return None
    begin = place + len(name) + 1
    length = block[begin - 1]
    if length == 0x7F:  # the prefix of seven bits is full: one or two bytes more (RFC 7541, 5.1)
        length += block[begin] & 0x7F
        if block[begin] & 0x80:
            length += block[begin + 1] << 7
            begin += 1
        begin += 1
    return block[begin : begin + length].decode("utf-8", "replace")


def _string(text: str) -> bytes:
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded
