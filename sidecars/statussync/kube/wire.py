"""Connections to the API server on which no answer takes longer than it may, and which any thread may break off.

A socket's time-out bounds the wait for one piece of an answer: whoever sends a byte a second could go on for ever. And a
thread that waits for a piece is woken by nothing but the end of the connection: shutdown(2) does that for TLS, too.
"""

import contextlib
import functools
import http.client
import io
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_PIECE_BYTES = 16384


class _Incoming(io.RawIOBase):
    """What comes from a socket, until a moment: all of it has the time that the socket had for one piece."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self.deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer whose head and body come in time, or not at all."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.incoming = _Incoming(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.incoming)


class _Breakable:
    """What is added to urllib3's connections."""

    sock: socket.socket | None
    # A connection that is to end with its answer gives its socket away to it.
    answering: socket.socket | None = None
    answer: _Answer

    def response_class(self, sock: socket.socket, *arguments: Any, **options: Any) -> _Answer:
        self.answering = sock
        self.answer = _Answer(sock, *arguments, **options)
        return self.answer

    def break_off(self) -> None:
        """Have whoever waits for the answer find that the connection has ended."""
        for sock in {self.sock, self.answering}:
            if sock is not None:
                # It may have ended already. Of TLS, ssl's own shutdown would leave the reader without TLS.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _PlainConnection(_Breakable, HTTPConnection):  # type: ignore[misc] # a method stands for the class of answers
    pass


class _TlsConnection(_Breakable, HTTPSConnection):  # type: ignore[misc] # as above
    pass


class Wires:
    """The connections of a pool manager. Threads may share it."""

    def __init__(self, manager: urllib3.PoolManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[_Breakable] = weakref.WeakSet()
        pools: dict[str, Any] = {
            "http": functools.partial(self._pool, HTTPConnectionPool, _PlainConnection),
            "https": functools.partial(self._pool, HTTPSConnectionPool, _TlsConnection),
        }
        manager.pool_classes_by_scheme = pools

    def close(self) -> None:
        """Break off what is under way, and close the rest."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.break_off()
        self._manager.clear()

    def close_unused(self) -> None:
        """Close the connections that nobody uses just now."""
        self._manager.clear()

    def _pool(
        self,
        kind: Callable[..., HTTPConnectionPool],
        connection: type[_Breakable],
        /,
        *args: Any,
        **options: Any,
    ) -> HTTPConnectionPool:
        pool: Any = kind(*args, **options)
        pool.ConnectionCls = functools.partial(self._connection, connection)
        made: HTTPConnectionPool = pool
        return made

    def _connection(self, kind: type[_Breakable], /, *arguments: Any, **options: Any) -> _Breakable:
        made = kind(*arguments, **options)
        with self._lock:
            self._connections.add(made)
        return made


class Stream:
    """An answer that comes in pieces, for one reader; any thread may break it off. Its connection ends with it."""

    def __init__(self, response: urllib3.BaseHTTPResponse, *, seconds: float) -> None:
        self._response = response
        connection: Any = response.connection
        self._connection: _Breakable = connection
        self._answer = self._connection.answer
        self._answer.incoming.deadline = time.monotonic() + seconds

    def read(self) -> bytes:
        """What there is, as soon as there is something; empty at the end. Raises urllib3.exceptions.HTTPError."""
        try:
            # urllib3 would wait for many pieces where they have no chunks; before 2.1 it has no other way.
            piece: bytes = self._answer.read1(_PIECE_BYTES)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise urllib3.exceptions.ProtocolError(type(error).__name__) from error
        return piece

    def break_off(self) -> None:
        """End a `read`, in whatever thread."""
        self._connection.break_off()

    def close(self) -> None:
        """For the reader, when it has enough."""
        self._response.close()
