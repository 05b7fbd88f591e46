"""A connection to a gRPC server on a unix socket, as far as HTTP/2's first frame.

It tells a server that is not there, or has stopped, from one that is slow to answer, which a channel's error does not.
A channel is opened only where this has worked: one that is closed before its handshake ends keeps the connection
until its own time-out of 20 s.
"""

import socket
import threading
import time
from collections.abc import Callable

_FULL_BACKLOG_SECONDS = 0.02
# HTTP/2's connection preface and an empty SETTINGS frame (RFC 9113, 3.4). A server's first frame is SETTINGS, too:
# three bytes of length, then the type, 4.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_FRAME_HEAD_BYTES = 9
_SETTINGS = 4


class HandshakeError(OSError):
    """What listens at the socket does not speak HTTP/2."""


def reach(path: str, *, deadline: float) -> None:
    """Connect to a gRPC server and hang up. `deadline` is monotonic. Raises OSError, TimeoutError among them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        connect(connection, path, deadline=deadline, pause=threading.Event().wait)
        shake_hands(connection, deadline=deadline)


def connect(
    connection: socket.socket, path: str, *, deadline: float, pause: Callable[[float], object]
) -> None:
    """Connect the socket, which must not block. Raises OSError, TimeoutError among them.

    `pause` waits for so many seconds; what it raises ends the wait for a place in the listener's backlog.
    """
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            # The listener's backlog is full, and the kernel lets nobody wait for room in it without blocking.
            if time.monotonic() > deadline:
                raise TimeoutError from None
            pause(_FULL_BACKLOG_SECONDS)
        else:
            return


def shake_hands(connection: socket.socket, *, deadline: float) -> None:
    """Wait for the first frame of an HTTP/2 server. Raises HandshakeError, TimeoutError and others of OSError."""
    try:
        connection.sendall(_PREFACE)
        head = b""
        while len(head) < _FRAME_HEAD_BYTES:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            data = connection.recv(_FRAME_HEAD_BYTES - len(head))
            if not data:
                raise HandshakeError("it hung up at once")
            head += data
    except ConnectionError as error:
        raise HandshakeError("it hung up at once") from error
    if head[3] != _SETTINGS:
        raise HandshakeError("what answers there is no gRPC server")
