"""Connections that were answered before all that their clients send has come.

What is unread when a connection closes makes the kernel reset it, and the answer may be lost on its way. So the rest
is read away: a little of it, for a moment, by the thread that has the selector, and no client's turn is taken for it.
"""

import contextlib
import selectors
import socket
import time
from collections.abc import Iterator

_READ_BYTES = 16 * 1024
_MAX_BYTES = 64 * 1024
_SECONDS = 1.0
_MAX_LEAVERS = 64


class Leavers:
    """Those on one selector. When there are too many, whoever came first is closed. One thread uses it."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._leavers: dict[socket.socket, _Leaver] = {}

    def __len__(self) -> int:
        return len(self._leavers)

    def __iter__(self) -> Iterator[socket.socket]:
        return iter(self._leavers)

    def add(self, connection: socket.socket) -> None:
        """See to an answered connection, until it is closed."""
        if len(self._leavers) >= _MAX_LEAVERS:
            self.drop_oldest()
        try:
            connection.setblocking(False)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # the client is gone
            connection.close()
            return
        self._selector.register(connection, selectors.EVENT_READ)
        self._leavers[connection] = _Leaver(time.monotonic() + _SECONDS)

    def read(self, connection: socket.socket) -> None:
        """Read what has come, if the connection is one of these."""
        leaver = self._leavers.get(connection)
        if leaver is None:
            return
        data = b""
        with contextlib.suppress(BlockingIOError, InterruptedError, ConnectionError):
            data = connection.recv(_READ_BYTES)
        leaver.left_bytes -= len(data)
        if not data or leaver.left_bytes <= 0:
            self._drop(connection)

    def drop_late(self) -> None:
        """Close those whose time is over."""
        while self._leavers and self._oldest_deadline() <= time.monotonic():
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Close the one that came first; there must be one."""
        self._drop(next(iter(self._leavers)))

    def seconds_left(self) -> float | None:
        """Until the next one's time is over; None when there is none."""
        return max(self._oldest_deadline() - time.monotonic(), 0.0) if self._leavers else None

    def _oldest_deadline(self) -> float:
        return next(iter(self._leavers.values())).deadline

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._leavers[connection]
        connection.close()


class _Leaver:
    """What one may still send, and until when."""

    __slots__ = ("deadline", "left_bytes")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.left_bytes = _MAX_BYTES
