"""The mount of one volume: attach it, see that it is what the path shows, take it back."""

import contextlib
import logging
from collections.abc import Iterator

from sscsi.core import log_keys
from sscsi.core.file_plan import MAX_ENTRIES
from sscsi.errors import ContentNotProvenError, SscsiError, TargetPathError
from sscsi.ports import Mounter, PathState

log = logging.getLogger(__name__)

# Files, their visible links, and the old version beside the new one.
_INODES_PER_ENTRY = 4


class VolumeMounts:
    """Attaches tmpfs volumes that hold `content_limit_bytes` twice: old and new are both there during a swap."""

    def __init__(self, mounter: Mounter, *, content_limit_bytes: int) -> None:
        self._mounter = mounter
        self._size_bytes = 2 * content_limit_bytes

    def attach(self, path: str, before: PathState, gid: int | None) -> int:
        """Mount an empty tmpfs on `path`; the device number of it. Nothing remains on failure.

        `before` is what was at the path. Raises PropagationError, TargetPathError, MountError.
        """
        self._mounter.check_reaches_host(path)
        if before.exists and not before.is_directory:
            raise TargetPathError(f"target path {path} is in the way: it is not a directory; remove it")
        self._mounter.make_directory(path)
        try:
            self._mounter.mount_tmpfs(
                path, size_bytes=self._size_bytes, max_inodes=_INODES_PER_ENTRY * MAX_ENTRIES, gid=gid
            )
        except SscsiError:
            with _best_effort(path):
                self._remove_directory(path, before)
            raise
        try:
            return self._mounter.look(path).device
        except SscsiError:
            with _best_effort(path):
                self._mounter.unmount(path)
                self._remove_directory(path, before)
            raise

    def check_shown(self, path: str, device: int) -> None:
        """Raise ContentNotProvenError unless `path` shows the mount of `device`: nobody unmounted or covered it."""
        state = self._mounter.look(path)
        if not state.is_mount_point or state.device != device:
            raise ContentNotProvenError(f"target path {path} no longer shows the volume that was written")

    def take_back(self, path: str, before: PathState, device: int) -> None:
        """Unmount the mount of `device`, if it is what `path` shows, and nothing else; leave the path as it was.

        Never raises: the caller has a better error to report.
        """
        with _best_effort(path):
            state = self._mounter.look(path)
            if state.is_mount_point and state.device == device:
                self._mounter.unmount(path)
            self._remove_directory(path, before)

    def _remove_directory(self, path: str, before: PathState) -> None:
        if not before.exists:
            self._mounter.remove_directory(path)


@contextlib.contextmanager
def _best_effort(path: str) -> Iterator[None]:
    """Undo what a failed publish did at `path`; a failure of that is logged, as there is a better error to report."""
    try:
        yield
    except SscsiError as error:
        log.error(
            "a failed publish left a directory or a mount",
            extra={log_keys.TARGET_PATH: path, log_keys.ERROR: str(error)},
        )
