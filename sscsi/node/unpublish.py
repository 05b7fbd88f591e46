"""NodeUnpublishVolume: unmount until no mount is left, remove the directory, forget the record last.

Kubelet repeats this call until it succeeds and the pod hangs in Terminating meanwhile, so nothing here fails
because something is gone already; but what can't be seen is not gone. Nothing outside the target path is ever
touched (CVE-2026-3865 was such a clean-up): what is unmounted may be ours (`ownership`), and a directory is emptied
only where its path has kubelet's exact shape, by descriptor.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from sscsi.core import log_keys
from sscsi.core.target_path import clean_target_path, kubelet_volume
from sscsi.errors import InvalidRequestError, MountError, PropagationError, SscsiError, TargetPathError
from sscsi.node.ownership import check_may_unmount
from sscsi.node.volumes import Volumes
from sscsi.pb import csi_pb2
from sscsi.ports import FileTrees, Mounter

log = logging.getLogger(__name__)

# More than this many mounts on one path is not a race but a mount table gone wrong (users.md: 49,153).
_MAX_STACKED = 100_000
# For a refresh by our own clock that has the volume in hand: it swaps files, which takes milliseconds.
_LOCK_SECONDS = 1.0


class Unpublisher:
    """Takes volumes away; `forget` is told which. `waiting` wraps the wait for whoever has the volume in hand."""

    def __init__(
        self,
        *,
        mounter: Mounter,
        trees: FileTrees,
        volumes: Volumes,
        forget: Callable[[str], None],
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._mounter = mounter
        self._trees = trees
        self._volumes = volumes
        self._forget = forget
        self._waiting = waiting

    def unpublish(self, request: csi_pb2.NodeUnpublishVolumeRequest) -> None:
        """Make the volume be gone; no error when it is. Raises InvalidRequestError, TargetPathError."""
        if not request.volume_id:
            raise InvalidRequestError("Volume ID missing in request")
        if not request.target_path:
            raise InvalidRequestError("Target path missing in request")
        path = clean_target_path(request.target_path)
        with self._volumes.locked(path, wait_seconds=self._patience(path), waiting=self._waiting):
            try:
                # Else a success would be a lie: the pod's mount stays on the host, and nobody asks again.
                self._mounter.check_sees_host(path)
                mounts = self._unmount_all(path)
                self._remove_directory(path)
                self._volumes.remove(path)
                self._forget(path)
            except (MountError, PropagationError, TargetPathError) as error:
                raise TargetPathError(
                    f"failed to clean and unmount target path {path}, err: {error}"
                ) from error
        log.info(
            "unpublished",
            extra={log_keys.VOLUME_ID: request.volume_id, log_keys.TARGET_PATH: path, log_keys.COUNT: mounts},
        )

    def _patience(self, path: str) -> float:
        """Seconds to wait for whoever has the volume in hand: none where that may be a provider, which writes there."""
        record = self._volumes.get(path)
        return _LOCK_SECONDS if record is None or not record.files else 0.0

    def _unmount_all(self, path: str) -> int:
        recorded = self._volumes.get(path) is not None
        for count in range(_MAX_STACKED):
            state = self._mounter.look(path)
            if not state.is_mount_point:
                return count
            check_may_unmount(path, state, self._trees, recorded=recorded)
            try:
                self._mounter.unmount(path)
            except MountError:
                # Somebody else may have been quicker: what counts is that nothing is mounted any more.
                if self._mounter.look(path).is_mount_point:
                    raise
        raise MountError(f"{_MAX_STACKED} mounts were taken off {path} and there are more")

    def _remove_directory(self, path: str) -> None:
        try:
            self._mounter.remove_directory(path)
        except SscsiError:
            if kubelet_volume(path) is None:
                raise
            log.warning(
                "the target path was a directory with files in it, and is emptied",
                extra={log_keys.TARGET_PATH: path},
            )
            self._trees.empty_plain_directory(path)
            self._mounter.remove_directory(path)
