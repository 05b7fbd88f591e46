"""A few text pages over HTTP/1.1, for kubelet's probes and for metrics. Written for ports that anybody may reach.

One thread takes connections and reads requests; each complete request gets a thread of its own, up to a limit. So a
client that sends slowly, or nothing, holds no thread; when there are too many such clients, the oldest makes room.
The limit is each page's own: one that hangs takes no other's place. Every answer ends its connection, as kubelet's
probes want it anyway; what its client sends after the head is nobody's business (`http_leavers`).

Why not `http.server`: it costs a program that stands alone 2 MiB more (measured, private memory after `import grpc`;
0.2 MiB in a child of `sscsi run`), and its time-out starts anew with every byte that a slow client sends.
"""

import collections
import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping

from sscsi.core.http_message import (
    MAX_HEAD_BYTES,
    Page,
    Query,
    Request,
    encode_answer,
    head_end,
    parse_head,
)
from sscsi.core.log_keys import ADDRESS, PATH, REASON
from sscsi.edges.http_leavers import Leavers
from sscsi.edges.tcp_listener import listen

__all__ = ["HttpPages", "Page", "PageFunction", "Query"]

log = logging.getLogger(__name__)

PageFunction = Callable[[Query], Page]

_ACCEPTED_AT_ONCE = 64
_MAX_READING = 256
_MAX_ANSWERING = 64
_READ_SECONDS = 5.0
_SEND_SECONDS = 5.0
_CLOSE_SECONDS = 0.3


class HttpPages:
    """Serves `pages` by their paths on one address; any other path is 404, any method will do.

    `address` is Go's: `:8080`, `127.0.0.1:9809`, `[::1]:80`, `localhost:0`. A page's function runs in a thread of
    its own and may wait; one that raises is a 500 and a log line. `read_seconds` is how long a client may take to
    send its request, `max_reading` how many may do so at once, `max_answering` how often each page may be in the
    making.
    """

    def __init__(
        self,
        address: str,
        pages: Mapping[str, PageFunction],
        *,
        read_seconds: float = _READ_SECONDS,
        max_reading: int = _MAX_READING,
        max_answering: int = _MAX_ANSWERING,
    ) -> None:
        self.address = address
        self._pages = pages
        self._read_seconds = read_seconds
        self._max_reading = max_reading
        self._max_answering = max_answering
        self._reading: dict[socket.socket, _Reading] = {}
        self._condition = threading.Condition()
        # By path, how many are in the making; and those that are made. Both guarded by the condition.
        self._answering: collections.Counter[str] = collections.Counter()
        self._answered: list[socket.socket] = []
        self._is_short = False
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and answer from now on; `address` has the real port then. Raises ConfigError (exit code 1)."""
        self._listener = listen(self.address)
        self._listener.setblocking(False)
        host = self.address.rpartition(":")[0]
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._leavers = Leavers(self._selector)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"http {self.address}", daemon=True)
        self._thread.start()
        log.info("serving pages", extra={ADDRESS: self.address, PATH: " ".join(self._pages)})

    def is_serving(self) -> bool:
        """Whether requests are taken; false before `start`, after `close`, and when something failed for good."""
        return self._thread is not None and self._thread.is_alive()

    def stop_accepting(self) -> None:
        """Listen no more, and drop who has not sent a whole request. Returns at once."""
        if self._thread is None:
            return
        with self._condition:
            if not self._closing.is_set():
                self._closing.set()
                self._wake_up()
        self._thread.join()

    def close(self) -> None:
        """Stop, and give the pages in the making a moment."""
        self.stop_accepting()
        with self._condition:
            self._condition.wait_for(lambda: not self._answering.total(), _CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._turn()
        finally:
            with self._condition:
                # From now on each page's thread closes its own connection.
                self._closing.set()
                ours = (self._listener, self._wake, self._woken)
                for open_socket in (*ours, *self._reading, *self._leavers, *self._answered):
                    open_socket.close()
            self._selector.close()
            self._reading.clear()

    def _wake_up(self) -> None:
        """End the selector's wait; one who has a full pipe of such calls to read needs no other."""
        with contextlib.suppress(BlockingIOError):
            self._wake.send(b"x")

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._seconds_to_wait()):
            if key.fileobj is self._listener:
                self._accept_some()
            elif key.fileobj is self._woken:
                self._take_over()
            elif reading := self._reading.get(key.fileobj):  # type: ignore[call-overload]
                self._read(reading)
            else:
                self._leavers.read(key.fileobj)  # type: ignore[arg-type]
        while self._reading and (oldest := self._oldest()).deadline <= time.monotonic():
            self._refuse(oldest, Page(408, "the request did not come in time\n"))
        self._leavers.drop_late()

    def _seconds_to_wait(self) -> float | None:
        seconds = self._leavers.seconds_left()
        if self._reading:
            left = max(self._oldest().deadline - time.monotonic(), 0.0)
            return left if seconds is None else min(left, seconds)
        return seconds

    def _take_over(self) -> None:
        """See to the connections that the pages' threads have answered."""
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        with self._condition:
            answered, self._answered = self._answered, []
        for connection in answered:
            self._leavers.add(connection)

    def _oldest(self) -> "_Reading":
        return next(iter(self._reading.values()))

    def _accept_some(self) -> None:
        """Take whoever waits; a crowd that fills the backlog would keep others out for a second each."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                self._is_short = False
                return
            except OSError as error:
                self._make_room(error)
                return
            self._welcome(connection)

    def _make_room(self, error: OSError) -> None:
        """No descriptors or no memory: whoever keeps us waiting longest goes first."""
        if not self._is_short:
            self._is_short = True
            log.warning("cannot accept a connection", extra={ADDRESS: self.address, REASON: error.strerror})
        if self._leavers:
            self._leavers.drop_oldest()
        elif self._reading:
            self._drop(self._oldest())
        else:
            self._closing.wait(0.1)

    def _welcome(self, connection: socket.socket) -> None:
        if len(self._reading) >= self._max_reading:
            self._drop(self._oldest())
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)
        self._reading[connection] = _Reading(connection, time.monotonic() + self._read_seconds)

    def _read(self, reading: "_Reading") -> None:
        try:
            data = reading.connection.recv(MAX_HEAD_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(reading)
            return
        reading.data += data
        end = head_end(reading.data)
        if end > MAX_HEAD_BYTES or (not end and len(reading.data) >= MAX_HEAD_BYTES):
            self._refuse(reading, Page(431, "the request is too large\n"))
        elif end:
            self._take(reading, bytes(reading.data[:end]))

    def _take(self, reading: "_Reading", head: bytes) -> None:
        try:
            request = parse_head(head)
        except ValueError as error:
            self._refuse(reading, Page(400, f"bad request: {error}\n"))
            return
        function = self._pages.get(request.path)
        if function is None:
            self._refuse(reading, Page(404, "404 page not found\n"), with_body=request.method != "HEAD")
            return
        with self._condition:
            has_room = self._answering[request.path] < self._max_answering
            self._answering[request.path] += has_room
        if not has_room:
            self._refuse(reading, Page(503, "too many requests at once\n"))
            return
        self._forget(reading)
        thread = threading.Thread(
            target=self._answer,
            args=(reading.connection, request, function),
            name="http-request",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # the machine gives no more threads
            self._ended(reading.connection, request, is_sent=False)

    def _answer(self, connection: socket.socket, request: Request, function: PageFunction) -> None:
        is_sent = False
        try:
            page = self._page(request, function)
            # Whoever hung up wants no answer.
            with contextlib.suppress(OSError):
                connection.settimeout(_SEND_SECONDS)
                connection.sendall(_encode(page, with_body=request.method != "HEAD"))
                is_sent = True
        finally:
            self._ended(connection, request, is_sent=is_sent)

    def _ended(self, connection: socket.socket, request: Request, *, is_sent: bool) -> None:
        with self._condition:
            if is_sent and request.has_body and not self._closing.is_set():
                self._answered.append(connection)
                self._wake_up()
            else:
                connection.close()
            self._answering[request.path] -= 1
            self._condition.notify_all()

    def _page(self, request: Request, function: PageFunction) -> Page:
        try:
            return function(request.query)
        except Exception:
            log.exception("a page failed", extra={PATH: request.path, ADDRESS: self.address})
            return Page(500, "internal error; the log of this program has the place\n")

    def _refuse(self, reading: "_Reading", page: Page, *, with_body: bool = True) -> None:
        """Answer without a thread: what fits the connection's buffer, or nothing."""
        self._forget(reading)
        with contextlib.suppress(OSError):
            reading.connection.send(_encode(page, with_body=with_body))
        self._leavers.add(reading.connection)

    def _drop(self, reading: "_Reading") -> None:
        self._forget(reading)
        reading.connection.close()

    def _forget(self, reading: "_Reading") -> None:
        self._selector.unregister(reading.connection)
        del self._reading[reading.connection]


class _Reading:
    """A connection whose request is not complete."""

    __slots__ = ("connection", "data", "deadline")

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.data = bytearray()


def _encode(page: Page, *, with_body: bool) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    return encode_answer(page, date=date, with_body=with_body)
