"""What a test run leaves behind: processes and mounts."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

import psutil

from sscsi.core import mount_info
from tests.support.waiting import wait_until

_PR_SET_CHILD_SUBREAPER = 36
_MNT_DETACH = 2


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned descendants, so that none gets out of sight (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextlib.contextmanager
def orphans_left_alone() -> Iterator[None]:
    """Whoever becomes an orphan in here is none of ours: for a command that starts a daemon for the machine."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        yield
    finally:
        adopt_orphans()


def mount_points() -> set[tuple[int, str]]:
    """(mount id, mount point) of every mount in this namespace."""
    with open("/proc/self/mountinfo", "rb") as file:
        return {(entry.mount_id, entry.mount_point) for entry in mount_info.parse(file.read())}


def remove(mounts_before: set[tuple[int, str]]) -> list[str]:
    """End and unmount what is left of the tests; what it was, one line each."""
    found = [f"process {process.pid}: {' '.join(_command(process))}" for process in _remaining_children()]
    for process in _living_children():
        process.kill()
    libc = ctypes.CDLL(None)
    for mount_id, path in sorted(mount_points() - mounts_before, reverse=True):
        found.append(f"mount {mount_id}: {path}")
        libc.umount2(os.fsencode(path), _MNT_DETACH)
    return found


def _remaining_children(seconds: float = 5.0) -> list[psutil.Process]:
    """The children that do not end by themselves within `seconds`."""
    try:
        wait_until(lambda: not _living_children(), "all children ended", seconds=seconds)
    except AssertionError:
        return _living_children()
    return []


def _living_children() -> list[psutil.Process]:
    # A zombie is an orphan that nobody waits for; it has ended.
    return [child for child in psutil.Process().children(recursive=True) if _lives(child)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ["(gone)"]
