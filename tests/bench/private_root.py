"""A directory that nobody else sees: a tmpfs in a mount namespace of our own.

Whatever a run mounts below it dies with the namespace, that is with the last of its processes; the machine
keeps no mount, even after kill -9.
"""

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator

from sscsi.edges.namespaces import enter_private_mounts
from tests.bench.errors import BenchError

_MS_NOSUID_NODEV = 0x2 | 0x4
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def private_root() -> Iterator[str]:
    """Move this process into a mount namespace of its own and give it an empty tmpfs directory.

    Call before any thread is started. Raises ConfigError where the machine does not allow it, BenchError.
    """
    root = tempfile.mkdtemp(prefix="sscsi-bench-", dir="/tmp")  # short: a socket's path has 107 bytes
    try:
        enter_private_mounts()
        with hidden(root):
            yield root
    finally:
        os.rmdir(root)


@contextlib.contextmanager
def hidden(directory: str) -> Iterator[None]:
    """An empty tmpfs is at `directory` in here, for the processes of this mount namespace. Raises BenchError."""
    path = os.fsencode(directory)
    if _libc.mount(b"bench", path, b"tmpfs", ctypes.c_ulong(_MS_NOSUID_NODEV), b"mode=0755"):
        raise BenchError(f"cannot mount a tmpfs at {directory!r}: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        _libc.umount2(path, _MNT_DETACH)
