"""An API server that answers as it is told, byte for byte."""

import collections
import contextlib
import dataclasses
import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
# As a proxy has it that knows nothing of chunks: the end of the connection is the end of the answer.
_UNTIL_THE_END = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"

Object = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").rpartition(" ")[2]


class Exchange:
    """One request, to be answered."""

    def __init__(self, request: Request, sock: socket.socket, over: threading.Event) -> None:
        self.request = request
        self.over = over
        self._sock = sock

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def end(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


Answer = Callable[[Exchange], None]


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    return lambda exchange: exchange.answer(status, json.dumps(body).encode(), headers)


def status_answer(code: int, reason: str, message: str = "", **headers: str) -> Answer:
    """A refusal, as the API words it."""
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return json_answer(code, body, {name.replace("_", "-"): value for name, value in headers.items()})


def body_answer(status: int, body: bytes) -> Answer:
    return lambda exchange: exchange.answer(status, body)


def nothing(exchange: Exchange) -> None:
    """Neither an answer nor an end."""
    exchange.over.wait()


def half(exchange: Exchange) -> None:
    """The beginning of an answer, and the end of the connection."""
    exchange.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"kind": ')
    exchange.end()


def hang_up(exchange: Exchange) -> None:
    exchange.end()


def drip(head: bytes) -> Answer:
    """`head`, and then a byte now and then, for ever."""

    def answer(exchange: Exchange) -> None:
        with contextlib.suppress(OSError):
            exchange.send(head)
            while not exchange.over.wait(0.02):
                exchange.send(b"x")

    return answer


class FakeApiServer:
    """It gives each request the next answer, the last one for ever."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._answers: collections.deque[Answer] = collections.deque()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.requests: list[Request] = []
        # By the port of the other end.
        self.connections: set[int] = set()
        self._start(self._accept)

    def answers(self, *answers: Answer) -> None:
        """From now on."""
        with self._lock:
            self._answers = collections.deque(answers)

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._threads:
            with self._lock:
                for sock in self._sockets:
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)
            self._threads.pop().join()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name="fake-api-server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, address = self._listener.accept()
                self.connections.add(address[1])
                with self._lock:
                    self._sockets.append(sock)
                self._start(self._converse, sock)

    def _converse(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError), raw:
            sock = self._tls.wrap_socket(raw, server_side=True) if self._tls else raw
            with self._lock:
                self._sockets.append(sock)
            with sock, sock.makefile("rb") as stream:
                while (request := _read(stream)) is not None:
                    with self._lock:
                        self.requests.append(request)
                        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
                    answer(Exchange(request, sock, self._over))


def _read(stream: BinaryIO) -> Request | None:
    line = stream.readline().decode()
    if not line:
        return None
    method, target, _ = line.split()
    headers = {}
    while header := stream.readline().decode().strip():
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Request(method=method, target=target, headers=headers, body=body)


class LiveWatch:
    """The answer to a watch, as the test goes on."""

    def __init__(self, *, is_chunked: bool = True) -> None:
        self._is_chunked = is_chunked
        self._pieces: queue.Queue[bytes | None] = queue.Queue()
        self.begun = threading.Event()
        self.request: Request | None = None

    @classmethod
    def ended(cls) -> "LiveWatch":
        """One that is over already."""
        made = cls()
        made.end()
        return made

    @classmethod
    def telling(cls, kind: str, obj: object) -> "LiveWatch":
        """One that tells this and no more."""
        made = cls()
        made.tell(kind, obj)
        return made

    def __call__(self, exchange: Exchange) -> None:
        self.request = exchange.request
        exchange.send(_CHUNKED if self._is_chunked else _UNTIL_THE_END)
        self.begun.set()
        while not exchange.over.is_set():
            try:
                piece = self._pieces.get(timeout=0.05)
            except queue.Empty:
                continue
            if piece is None:
                return exchange.end()
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece) if self._is_chunked else piece)
            if self._is_chunked and not piece:
                return None
        return None

    def send(self, piece: bytes) -> None:
        self._pieces.put(piece)

    def tell(self, kind: str, obj: object) -> None:
        self.send(event(kind, obj))

    def end(self) -> None:
        """In order."""
        self._pieces.put(b"" if self._is_chunked else None)

    def break_off(self) -> None:
        self._pieces.put(None)


def event(kind: str, obj: object) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


@contextlib.contextmanager
def fake_api_server(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[FakeApiServer]:
    server = FakeApiServer(tls)
    server.answers(*answers)
    try:
        yield server
    finally:
        server.close()
