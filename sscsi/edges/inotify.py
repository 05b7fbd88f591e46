"""inotify(7): what happens in directories, told by the kernel as it happens.

The standard library has no binding; this is the part of it that a watch of sockets needs.
"""

import ctypes
import enum
import os
import struct
from dataclasses import dataclass

_IN_MOVED_FROM = 0x40
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_DELETE_SELF = 0x400
_IN_MOVE_SELF = 0x800
_IN_UNMOUNT = 0x2000
_IN_Q_OVERFLOW = 0x4000
_IN_IGNORED = 0x8000
_IN_ONLYDIR = 0x1000000
_IN_ISDIR = 0x40000000
_MASK = (
    _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_ONLYDIR
)

_HEADER = struct.Struct("iIII")
# Room for sixteen changes of names of the greatest length.
_BUFFER_BYTES = 16 * (_HEADER.size + 256)


class Kind(enum.Enum):
    """What happened."""

    CREATED = "created"
    """The name is there now: made, or renamed to this."""
    DELETED = "deleted"
    MOVED_AWAY = "moved away"
    ENDED = "ended"
    """The directory itself was removed, renamed or unmounted; what comes after it may go untold."""
    LOST = "lost"
    """Changes came faster than they were read: anything may have happened, in any directory."""


_KINDS = (
    (_IN_Q_OVERFLOW, Kind.LOST),
    (_IN_DELETE_SELF | _IN_MOVE_SELF | _IN_UNMOUNT | _IN_IGNORED, Kind.ENDED),
    (_IN_CREATE | _IN_MOVED_TO, Kind.CREATED),
    (_IN_DELETE, Kind.DELETED),
    (_IN_MOVED_FROM, Kind.MOVED_AWAY),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `watch` is the number that `add` gave (-1 for LOST); `name` is empty for the directory itself."""

    watch: int
    kind: Kind
    name: str
    is_directory: bool


class Inotify:
    """One queue of changes, in any number of directories. Not for several threads at once."""

    def __init__(self) -> None:
        """Raises OSError: EMFILE when the user has fs.inotify.max_user_instances of them."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = _checked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify")

    def add(self, path: str) -> int:
        """Watch a directory; its number. Raises OSError: ENOENT, ENOTDIR, ENOSPC (fs.inotify.max_user_watches)."""
        return _checked(self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), _MASK), path)

    def fileno(self) -> int:
        """The descriptor, readable when there are changes."""
        return self._descriptor

    def read(self) -> list[Change]:
        """The changes since the last read, oldest first; none when there are none. Never waits."""
        changes: list[Change] = []
        while True:
            try:
                data = os.read(self._descriptor, _BUFFER_BYTES)
            except BlockingIOError:
                return changes
            changes += _parse(data)

    def close(self) -> None:
        os.close(self._descriptor)


def _parse(data: bytes) -> list[Change]:
    changes = []
    position = 0
    while position < len(data):
        watch, mask, _cookie, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        name = data[position : position + length].rstrip(b"\0")
        position += length
        kind = next((kind for bits, kind in _KINDS if mask & bits), None)
        if kind is not None:
            changes.append(Change(watch, kind, os.fsdecode(name), bool(mask & _IN_ISDIR)))
    return changes


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
