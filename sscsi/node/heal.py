"""At start: what a crash left is healed or reported, before kubelet is served."""

import logging
from collections.abc import Callable, Iterable

from sscsi.core import log_keys
from sscsi.core.mount_info import MountEntry
from sscsi.core.target_path import kubelet_volume
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import SscsiError
from sscsi.node.content import look_content, tidy_quietly
from sscsi.node.volumes import Volumes
from sscsi.ports import FileTrees, Mounter, RecordStore

log = logging.getLogger(__name__)


class Healer:
    """Checks the records against the mounts, once.

    `driver_of` tells from a target path which driver kubelet mounted it with, empty when that is not known.
    """

    def __init__(
        self,
        *,
        mounter: Mounter,
        trees: FileTrees,
        store: RecordStore,
        volumes: Volumes,
        boot_id: str,
        driver_name: str,
        driver_of: Callable[[str], str],
    ) -> None:
        self._driver_name = driver_name
        self._driver_of = driver_of
        self._mounter = mounter
        self._trees = trees
        self._store = store
        self._volumes = volumes
        self._boot_id = boot_id

    def heal(self, mounts: Iterable[MountEntry]) -> None:
        """Load every record that agrees with its volume; drop those that do not; name mounts without one.

        A recorded volume without proven content keeps its mount (a pod may be about to start on it); the next
        publish fills it. `mounts` is this process's mount table.
        """
        for record in self._store.load_all():
            self._check(record)
        known = {record.target_path for record in self._volumes.all()}
        for path in sorted({mount.mount_point for mount in mounts if mount.filesystem == "tmpfs"} - known):
            if kubelet_volume(path) is not None:
                self._report_unknown(path)

    def _check(self, record: VolumeRecord) -> None:
        about = {log_keys.TARGET_PATH: record.target_path, log_keys.VOLUME_ID: record.volume_id}
        try:
            reason = self._why_not(record)
        except SscsiError as error:
            reason = str(error)
        if reason:
            log.warning("a record is dropped", extra={**about, log_keys.REASON: reason})
            self._volumes.remove(record.target_path)
        else:
            self._volumes.restore(record)

    def _why_not(self, record: VolumeRecord) -> str:
        if record.boot_id != self._boot_id:
            return "the machine was restarted since"
        state = self._mounter.look(record.target_path)
        if not state.is_mount_point:
            return "nothing is mounted there"
        if not state.is_tmpfs or state.device != record.device:
            return "another file system is mounted there"
        with self._trees.open(record.target_path) as tree:
            tidy_quietly(tree)
            content = look_content(tree, record)
        if content is None:
            return "the content is not whole; the next publish fetches it again"
        if content.data_directory != record.data_directory:
            return "the content was replaced since; the next publish adopts it"
        return ""

    def _report_unknown(self, path: str) -> None:
        """A tmpfs of kubelet's inline CSI shape and no record: upstream's volume or a crash's, unless kubelet wrote
        beside it that it is another driver's.
        """
        if self._driver_of(path) not in {"", self._driver_name}:
            return
        self._volumes.note_unknown(path)
        try:
            with self._trees.open(path) as tree:
                content = look_content(tree, None)
        except SscsiError as error:
            log.warning(
                "a mounted volume cannot be looked at",
                extra={log_keys.TARGET_PATH: path, log_keys.REASON: str(error)},
            )
            return
        reason = "its next publish fills it" if content is None else "its next publish adopts it"
        log.info(
            "a mounted volume has no record", extra={log_keys.TARGET_PATH: path, log_keys.REASON: reason}
        )
