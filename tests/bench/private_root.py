"""A directory that nobody else sees: a tmpfs in a mount namespace of our own.

Whatever a run mounts below it dies with the namespace, that is with the last of its processes; the machine
keeps nothing, even after kill -9.
"""

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator

from tests.bench.errors import BenchError

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_NOSUID_NODEV = 0x2 | 0x4
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def private_root() -> Iterator[str]:
    """Move this process into a mount namespace of its own and give it an empty tmpfs directory.

    Call before any thread is started. Without root a user namespace comes with it. Raises BenchError.
    """
    uid, gid = os.getuid(), os.getgid()
    root = tempfile.mkdtemp(prefix="sscsi-bench-", dir="/tmp")  # short: a socket's path has 107 bytes
    try:
        _unshare(uid, gid)
        _mount("none", "/", "", _MS_REC_PRIVATE, "")
        _mount("bench", root, "tmpfs", _MS_NOSUID_NODEV, "mode=0755")
        try:
            yield root
        finally:
            _libc.umount2(os.fsencode(root), _MNT_DETACH)
    finally:
        os.rmdir(root)


def _unshare(uid: int, gid: int) -> None:
    flags = _CLONE_NEWNS if uid == 0 else _CLONE_NEWNS | _CLONE_NEWUSER
    if _libc.unshare(flags):
        raise BenchError(
            f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}; run as root with CAP_SYS_ADMIN,"
            " or where user namespaces are allowed"
        )
    if flags & _CLONE_NEWUSER:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()):
        raise BenchError(f"cannot mount at {target!r}: {os.strerror(ctypes.get_errno())}")
