"""Writing to a descriptor without ever waiting for whoever reads it.

A pipe is opened anew with O_NONBLOCK, and that takes the old descriptor's place: other writers of this process (gRPC's
core has lines of its own) then never wait either, and the open file of the parent, which may be shared with anybody,
stays as it is. Where the pipe can't be opened anew (it is another user's), each write asks poll first and is
of PIPE_BUF bytes at most: it waits only when another writer takes the room in that very moment. Files and devices
are written plainly; a terminal that was stopped by its user (^S) does stop its programs.
"""

import ctypes
import errno
import functools
import os
import select
import stat
from collections.abc import Callable

# Of Linux, on every machine; the socket module costs memory in programs that need nothing else of it.
_MSG_DONTWAIT, _MSG_NOSIGNAL = 0x40, 0x4000

Writer = Callable[[bytes], int]
"""Writes some bytes, or their beginning, and tells how many. Raises BlockingIOError rather than wait, and OSError."""


def open_writer(descriptor: int) -> Writer:
    """How to write to `descriptor`, which stays the caller's; a pipe becomes one that does not block."""
    mode = _mode(descriptor)
    if stat.S_ISSOCK(mode):
        return functools.partial(_send, ctypes.CDLL(None, use_errno=True), descriptor)
    if stat.S_ISFIFO(mode) and not unblock(descriptor):
        return functools.partial(_write_where_room, _poll(descriptor), descriptor)
    return functools.partial(os.write, descriptor)


def unblock(descriptor: int) -> bool:
    """Let no writer to `descriptor` wait, if it is a pipe. Whether this is so now."""
    if not stat.S_ISFIFO(_mode(descriptor)):
        return False
    if not os.get_blocking(descriptor):
        return True
    try:
        anew = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND)
    except OSError:
        # EACCES: of another user. ENXIO: has no reader any more. Or there is no /proc.
        return False
    os.dup2(anew, descriptor, inheritable=os.get_inheritable(descriptor))
    os.close(anew)
    return True


def wait_for_room(descriptor: int, seconds: float) -> None:
    """Return when something can be written, or when it is clear that nothing can, or after `seconds`."""
    _poll(descriptor).poll(max(0.0, seconds) * 1000)


def _mode(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_mode
    except OSError:
        # Closed: to write will say so.
        return 0


def _poll(descriptor: int) -> select.poll:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return poll


def _write_where_room(poll: select.poll, descriptor: int, data: bytes) -> int:
    if not poll.poll(0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.write(descriptor, data[: select.PIPE_BUF])


def _send(libc: ctypes.CDLL, descriptor: int, data: bytes) -> int:
    # A socket object would close the descriptor with itself.
    sent = int(libc.send(descriptor, data, len(data), _MSG_DONTWAIT | _MSG_NOSIGNAL))
    if sent < 0:
        # No buffers is what a datagram socket says where a stream says EAGAIN.
        number = ctypes.get_errno() if ctypes.get_errno() != errno.ENOBUFS else errno.EAGAIN
        raise OSError(number, os.strerror(number))
    return sent
