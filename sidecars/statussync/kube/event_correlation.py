"""Events made fewer, as client-go does it: equal ones are counted, similar ones put together, and each pod has a limit.

The numbers are client-go's (tools/record/events_correlator.go): whoever watches Events knows them from every other component.
"""

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from sscsi.core.pod_event import PodEvent
from sscsi.core.redaction import clean_message

COMBINED = "(combined from similar events): "
WINDOW_SECONDS = 600.0
MAX_SIMILAR = 10
BURST = 25
SECONDS_PER_EVENT = 300.0
_MAX_REMEMBERED = 1000
# With the time and a number behind it an object's name may be 253 characters long.
_MAX_NAME = 220

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclasses.dataclass(slots=True, kw_only=True)
class Occurrence:
    """Equal events, which are one object of the API. Times `*_at` are seconds since the epoch, `seen` is monotonic.

    `is_written` says that the API has, or had, the object `name`.
    """

    name: str
    message: str
    first_at: float
    last_at: float
    seen: float
    count: int = 0
    is_written: bool = False


@dataclasses.dataclass(slots=True)
class _Similar:
    """Hashes of the messages that one pod had for one reason."""

    messages: set[int]
    seen: float


class Correlator:
    """Remembers what was told of the last thousand pods, reasons and messages. For one thread; `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._similar: _Recent[tuple[str, str], _Similar] = _Recent()
        self._occurrences: _Recent[tuple[str, str, int], Occurrence] = _Recent()
        # By pod: how many Events it may have now, and when that was so.
        self._allowed: _Recent[str, tuple[float, float]] = _Recent()

    def take_in(self, event: PodEvent, at: float) -> Occurrence | None:
        """What the API shall have now, with this event counted; None when the pod has had enough for now."""
        now = self._clock()
        message, key = self._combined(event, now)
        occurrence = self._occurrences.get(key)
        if occurrence is None or now - occurrence.seen > WINDOW_SECONDS:
            occurrence = Occurrence(
                name=f"{event.pod_name[:_MAX_NAME].rstrip('-.')}.{int(at * 1e6):x}{next(self._numbers):x}",
                message=message,
                first_at=at,
                last_at=at,
                seen=now,
            )
        occurrence.message, occurrence.last_at, occurrence.seen = message, at, now
        occurrence.count += 1
        self._occurrences.put(key, occurrence)
        return occurrence if self._is_allowed(event.pod_uid, now) else None

    def _combined(self, event: PodEvent, now: float) -> tuple[str, tuple[str, str, int]]:
        """The message, and what events are equal by."""
        group, digest = (event.pod_uid, event.reason), hash(event.message)
        similar = self._similar.get(group)
        if similar is None or now - similar.seen > WINDOW_SECONDS:
            similar = _Similar(set(), now)
        similar.seen = now
        self._similar.put(group, similar)
        if digest in similar.messages or len(similar.messages) < MAX_SIMILAR:
            similar.messages.add(digest)
            return event.message, (*group, digest)
        return clean_message(COMBINED + event.message, ()), (*group, hash(COMBINED))

    def _is_allowed(self, pod_uid: str, now: float) -> bool:
        allowed, then = self._allowed.get(pod_uid) or (float(BURST), now)
        allowed = min(allowed + (now - then) / SECONDS_PER_EVENT, float(BURST))
        is_allowed = allowed >= 1.0
        self._allowed.put(pod_uid, (allowed - 1.0 if is_allowed else allowed, now))
        return is_allowed


class _Recent(Generic[K, V]):
    """A dictionary that forgets what was put longest ago."""

    def __init__(self) -> None:
        self._entries: collections.OrderedDict[K, V] = collections.OrderedDict()

    def get(self, key: K) -> V | None:
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > _MAX_REMEMBERED:
            self._entries.popitem(last=False)
