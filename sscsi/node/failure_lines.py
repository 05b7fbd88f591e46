"""How often the log tells of refreshes that fail: as often as there are causes, however many volumes have them.

A provider that is away takes hundreds of volumes with it. Each is told by its record, by the metrics and on its pod; the
log has a line for the first at once and then one a minute, with the number of those that fail.
"""

import dataclasses
import threading
import time
from collections.abc import Callable

from sscsi.core.failure_reason import PASSING
from sscsi.core.volume_record import VolumeRecord

PROVIDER_SECONDS = 60.0
"""Between two lines of one provider, for a reason that is the same for all its volumes."""
CLASS_SECONDS = 300.0
"""Between two lines of one class, for any other reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Cause:
    provider: str
    reason: str
    class_name: str
    """With its namespace; empty for a reason that is the provider's."""


class FailureLines:
    """Tells when a line is due, and what to count in it. Threads may share it; `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: dict[str, _Cause] = {}
        self._told: dict[_Cause, float] = {}
        self._recoveries_told: dict[str, tuple[float, int]] = {}

    def failed(self, record: VolumeRecord, reason: str) -> int | None:
        """The volume could not be refreshed: how many fail for the same cause now, or None when no line is due."""
        is_provider = reason in PASSING
        class_name = "" if is_provider else f"{record.pod_namespace}/{record.class_name}"
        cause = _Cause(record.provider, reason, class_name)
        with self._lock:
            self._failing[record.target_path] = cause
            now = self._clock()
            pause = PROVIDER_SECONDS if is_provider else CLASS_SECONDS
            if now - self._told.get(cause, float("-inf")) < pause:
                return None
            self._told = {told: at for told, at in self._told.items() if now - at < CLASS_SECONDS}
            self._told[cause] = now
            return sum(other == cause for other in self._failing.values())

    def recovered(self, record: VolumeRecord) -> int | None:
        """The volume was refreshed after failures: how many of its provider still fail, or None when no line is due.

        The first is told, then one a minute, and the last.
        """
        provider = record.provider
        with self._lock:
            self._failing.pop(record.target_path, None)
            left = sum(cause.provider == provider for cause in self._failing.values())
            now = self._clock()
            told_at, told_left = self._recoveries_told.get(provider, (float("-inf"), 0))
            if now - told_at < PROVIDER_SECONDS and (left or not told_left):
                return None
            recent = {
                name: told for name, told in self._recoveries_told.items() if now - told[0] < PROVIDER_SECONDS
            }
            self._recoveries_told = {**recent, provider: (now, left)}
            return left

    def forget(self, target_path: str) -> None:
        """The volume is gone."""
        with self._lock:
            self._failing.pop(target_path, None)
