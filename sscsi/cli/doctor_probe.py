"""A mount that is made to see what becomes of it, and always taken away again."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator

from sscsi.core.mount_info import MountEntry
from sscsi.edges.linux_mounts import LinuxMounter, own_mounts

PREFIX = ".sscsi-doctor-"
_BYTES, _INODES = 4096, 2
# What a doctor that was killed left behind is older than any that runs.
_LEFT_SECONDS = 60.0


@contextlib.contextmanager
def probe_mount(directory: str) -> Iterator[MountEntry]:
    """A tmpfs in a directory of its own below `directory`, as volumes are. Raises OSError, MountError."""
    mounter = LinuxMounter(require_shared=False)
    _remove_left(directory, mounter)
    path = tempfile.mkdtemp(prefix=PREFIX, dir=directory)
    try:
        mounter.mount_tmpfs(path, size_bytes=_BYTES, max_inodes=_INODES, gid=None)
        try:
            mount_id = mounter.look(path).mount_id
            yield next(entry for entry in own_mounts() if entry.mount_id == mount_id)
        finally:
            mounter.unmount(path)
    finally:
        os.rmdir(path)


def _remove_left(directory: str, mounter: LinuxMounter) -> None:
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name.startswith(PREFIX) and time.time() - os.lstat(path).st_mtime > _LEFT_SECONDS:
            if mounter.look(path).is_mount_point:
                mounter.unmount(path)
            os.rmdir(path)
