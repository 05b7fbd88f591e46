"""The volumes that this node has published: one table, one lock a target path, everyone told of changes."""

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sscsi.core import log_keys, log_levels
from sscsi.core.pod_event import PodEvent
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import RecordError, VolumeBusyError
from sscsi.node.failed_publishes import FailedPublish, FailedPublishes
from sscsi.node.notices import Notices
from sscsi.ports import RecordStore

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What a watcher is told: `record` is None when the volume at `target_path` is gone.

    `unknown_count` is how many mounts may be volumes that nobody knows, at that revision.
    """

    revision: int
    target_path: str
    record: VolumeRecord | None
    unknown_count: int


class Watcher:
    """One watcher's pending changes: of each volume only the last, so that there are never more than volumes."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._changes: dict[str, Change] = {}
        self._woken = False
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the room stops."""
        return self._ended

    def offer(self, change: Change) -> None:
        with self._condition:
            self._changes[change.target_path] = change
            self._condition.notify_all()

    def wake(self) -> None:
        """There is something else than changes to look for."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def end(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def take(self, timeout_seconds: float) -> list[Change]:
        """All pending changes, waiting for one; none after the time-out, at the end, or when woken without."""
        with self._condition:
            self._condition.wait_for(lambda: self._changes or self._woken or self._ended, timeout_seconds)
            changes, self._changes = list(self._changes.values()), {}
            self._woken = False
        return changes

    def rest(self, seconds: float) -> None:
        """Let changes gather for `seconds`, or until the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._ended, seconds)


class Volumes:
    """The table. Every change is in the record store before it is in the table, and in the table before any
    watcher hears of it.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._records: dict[str, VolumeRecord] = {}
        self._busy: set[str] = set()
        self._watchers: set[Watcher] = set()
        self._notices = Notices()
        self._failed = FailedPublishes()
        self._revision = 0
        self._ended = False
        # Volumes whose record is not where it belongs; each is changed under its own lock only.
        self._unsaved: set[str] = set()
        # Mounts that may be volumes and have no record; see `note_unknown`.
        self._unknown: set[str] = set()

    @contextlib.contextmanager
    def locked(
        self,
        target_path: str,
        *,
        wait_seconds: float = 0.0,
        waiting: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Iterator[None]:
        """Hold the volume for one call; `waiting` wraps the wait for another call that has it, if there is one.

        Raises VolumeBusyError when that does not end in time (CSI: ABORTED).
        """
        if not self._take(target_path, 0.0):
            with waiting():
                is_ours = bool(wait_seconds) and self._take(target_path, wait_seconds)
            if not is_ours:
                raise VolumeBusyError(
                    f"an operation on target path {target_path} is under way; try again later"
                )
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(target_path)
                self._freed.notify_all()

    def _take(self, target_path: str, wait_seconds: float) -> bool:
        with self._lock:
            is_free = self._freed.wait_for(lambda: target_path not in self._busy, wait_seconds)
            if is_free:
                self._busy.add(target_path)
            return is_free

    def get(self, target_path: str) -> VolumeRecord | None:
        with self._lock:
            return self._records.get(target_path)

    def put(self, record: VolumeRecord) -> None:
        """Record a volume. Content that is in place is not taken back because no record could be kept.

        A record that differs in its times alone is kept in memory: an unchanged refresh writes no file (design
        P3), and after a restart the volume is merely due a little early. One that found no room is written again.
        """
        path = record.target_path
        if path not in self._unsaved and _same_but_times(record, self.get(path)):
            self.restore(record)
            return
        is_news = path not in self._unsaved
        self._unsaved.add(path)
        try:
            if self._store.write(record):
                self._unsaved.discard(path)
        except RecordError as error:
            log.log(
                # It is tried again at each refresh.
                log_levels.ERROR if is_news else log_levels.DECISIONS,
                "a volume has no record; a restart will adopt it",
                extra={log_keys.TARGET_PATH: record.target_path, log_keys.ERROR: str(error)},
            )
        self.restore(record)

    def restore(self, record: VolumeRecord) -> None:
        """Take a record that the store has already."""
        with self._lock:
            self._records[record.target_path] = record
            self._unknown.discard(record.target_path)
            self._tell(record.target_path, record)

    def note_unknown(self, target_path: str) -> None:
        """A mount that may be a volume, with a pod on it, has no record until its next publish or unpublish: what
        the cluster holds for it must not be taken for unwanted meanwhile.
        """
        with self._lock:
            self._unknown.add(target_path)

    def remove(self, target_path: str) -> None:
        """Forget a volume. A record that can't be removed (a disk turned read-only) is left: it counts for nothing
        once the volume is gone, and a pod must not hang in Terminating for it.
        """
        try:
            self._store.delete(target_path)
        except RecordError as error:
            log.error(
                "the record of a volume that is gone remains; a restart drops it",
                extra={log_keys.TARGET_PATH: target_path, log_keys.ERROR: str(error)},
            )
        self._unsaved.discard(target_path)
        with self._lock:
            self._failed.forget(target_path)
            was_unknown = target_path in self._unknown
            self._unknown.discard(target_path)
            if self._records.pop(target_path, None) is not None or was_unknown:
                self._tell(target_path, None)

    def notify(self, target_path: str, notice: PodEvent) -> None:
        """Tell of something that went wrong with a volume, published or not."""
        with self._lock:
            self._notices.add(target_path, notice)
            for watcher in self._watchers:
                watcher.wake()

    def take_notices(self) -> list[PodEvent]:
        """The notices that nobody took yet."""
        with self._lock:
            return self._notices.take()

    def note_failed(self, failed: FailedPublish) -> None:
        """A publish failed; that counts until the volume is there, or gone."""
        with self._lock:
            self._failed.add(failed)

    def failed(self) -> list[FailedPublish]:
        """The publishes that failed, of volumes that are not there yet; the oldest first."""
        with self._lock:
            return [failed for failed in self._failed.all() if failed.target_path not in self._records]

    def all(self) -> list[VolumeRecord]:
        with self._lock:
            return list(self._records.values())

    def snapshot(self) -> tuple[int, list[VolumeRecord], int]:
        """The revision, and at that revision every record and how many mounts may be volumes that nobody knows."""
        with self._lock:
            return self._revision, list(self._records.values()), len(self._unknown)

    @contextlib.contextmanager
    def watching(self) -> Iterator[Watcher]:
        """A watcher that hears of every change from now on."""
        watcher = Watcher()
        with self._lock:
            self._watchers.add(watcher)
            if self._ended:
                watcher.end()
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers.discard(watcher)

    def end_watches(self) -> None:
        """End every watch, present and to come: the room stops."""
        with self._lock:
            self._ended = True
            for watcher in self._watchers:
                watcher.end()

    def _tell(self, target_path: str, record: VolumeRecord | None) -> None:
        self._revision += 1
        for watcher in self._watchers:
            watcher.offer(Change(self._revision, target_path, record, len(self._unknown)))


def _same_but_times(record: VolumeRecord, kept: VolumeRecord | None) -> bool:
    return kept is not None and record == dataclasses.replace(
        kept,
        attempt_time=record.attempt_time,
        success_time=record.success_time,
        success_boottime=record.success_boottime,
    )
