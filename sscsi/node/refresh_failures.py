"""Refreshes that fail, told as often as it helps: in the record at once, in Events when there is news, in the log by cause."""

import dataclasses
import logging
import time
from collections.abc import Callable

from sscsi.core import log_keys, log_levels
from sscsi.core.failure_reason import failure_reason
from sscsi.core.pod_event import FAILED_REFRESH
from sscsi.core.volume_record import ContentFile, VolumeRecord
from sscsi.errors import SscsiError, VolumeBusyError
from sscsi.node.content import rewritten_files
from sscsi.node.failure_lines import FailureLines
from sscsi.node.notices import make_notice
from sscsi.node.refresh_pass import Lock
from sscsi.node.volumes import Volumes
from sscsi.ports import FileTrees

log = logging.getLogger(__name__)

# A pod is told the same reason this often, also when its refreshes work in between; the record tells it all the time.
TELL_AGAIN_SECONDS = 300.0

# A failure that may pass, and is tried again in moments, is told when it has lasted so long.
LASTING_SECONDS = 10.0


class RefreshFailures:
    """Notes failures. Of one volume never called by two threads at once; `clock` is monotonic, in seconds."""

    def __init__(
        self, *, volumes: Volumes, trees: FileTrees, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._volumes = volumes
        self._trees = trees
        self._clock = clock
        self._told: dict[str, tuple[str, float]] = {}
        # Since when a failure goes on that nobody was told of: by the clock, and of the calendar.
        self._began: dict[str, tuple[float, float]] = {}
        self._lines = FailureLines(clock)

    def note(self, record: VolumeRecord, error: SscsiError, lock: Lock, *, is_retried: bool = False) -> bool:
        """The volume of `record` could not be refreshed; `lock` is its lock.

        `is_retried`: the failure may pass, and the next try comes in moments. Then it is told only if it lasts: a provider
        that refuses every other call would have the API written to without end.

        False, and nothing is noted, when the volume has gone or was published anew, or just is.
        """
        reason = failure_reason(error)
        # Nothing is kept of a volume that has gone: nobody would forget it any more.
        is_there = self._volumes.get(record.target_path) is record
        if is_retried and is_there and not record.last_error and not self._is_lasting(record.target_path):
            _log(record, error, None)
            return True
        try:
            with lock():
                if self._volumes.get(record.target_path) is not record:
                    return False
                self._put(record, error)
                failing = self._lines.failed(record, reason)
                is_news = self._is_news(record.target_path, reason)
        except VolumeBusyError:
            return False
        _log(record, error, failing)
        if is_news:
            self._volumes.notify(record.target_path, make_notice(record, FAILED_REFRESH, error))
        return True

    def _is_lasting(self, target_path: str) -> bool:
        began, _ = self._began.setdefault(target_path, (self._clock(), time.time()))
        return self._clock() - began >= LASTING_SECONDS

    def recovered(self, before: VolumeRecord, record: VolumeRecord) -> None:
        """The volume was refreshed; `before` is its record of until then."""
        self._began.pop(record.target_path, None)
        if before.failing_since:
            failing = self._lines.recovered(record)
            log.log(
                log_levels.DECISIONS if failing is None else log_levels.INFO,
                "refreshed again, after failures",
                extra={
                    **_about(record, failing),
                    log_keys.SECONDS: round(time.time() - before.failing_since, 3),
                },
            )

    def forget(self, target_path: str) -> None:
        """The volume is gone."""
        self._told.pop(target_path, None)
        self._began.pop(target_path, None)
        self._lines.forget(target_path)

    def _put(self, record: VolumeRecord, error: SscsiError) -> None:
        now = time.time()
        _, began = self._began.pop(record.target_path, (0.0, now))
        self._volumes.put(
            dataclasses.replace(
                record,
                attempt_time=now,
                last_error=str(error),
                failure_reason=failure_reason(error),
                failing_since=record.failing_since or began,
                files=self._files_now(record),
            )
        )

    def _is_news(self, target_path: str, reason: str) -> bool:
        now = self._clock()
        told_reason, told_at = self._told.get(target_path, ("", float("-inf")))
        if reason == told_reason and now - told_at < TELL_AGAIN_SECONDS:
            return False
        self._told[target_path] = (reason, now)
        return True

    def _files_now(self, record: VolumeRecord) -> tuple[ContentFile, ...]:
        """The files of the record as they are now: a provider that writes them itself may have replaced some
        before it failed, and the running pod keeps what is there.
        """
        if not record.files:
            return ()
        try:
            with self._trees.open(record.target_path) as tree:
                return rewritten_files(tree, record.files) or record.files
        except SscsiError:
            return record.files


def _log(record: VolumeRecord, error: SscsiError, failing: int | None) -> None:
    """The line of a failure, at ERROR with how many fail so; where none is due, at DECISIONS."""
    log.log(
        log_levels.DECISIONS if failing is None else log_levels.ERROR,
        "refresh failed, the content stays",
        extra={
            **_about(record, failing),
            log_keys.REASON: failure_reason(error),
            log_keys.ERROR: str(error),
        },
    )


def _about(record: VolumeRecord, failing: int | None) -> dict[str, object]:
    return {
        **({} if failing is None else {log_keys.COUNT: failing}),
        log_keys.VOLUME_ID: record.volume_id,
        log_keys.POD: f"{record.pod_namespace}/{record.pod_name}",
        log_keys.CLASS: record.class_name,
        log_keys.TARGET_PATH: record.target_path,
        log_keys.PROVIDER: record.provider,
    }
