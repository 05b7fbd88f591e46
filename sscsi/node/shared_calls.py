"""One call to a provider for everybody who asks the same at the same moment (`core.fetch_identity` says who does).

No answer outlives its moment: a call that begins after another has ended asks anew. For starting pods the moment is that
of the call; a group of volumes that is refreshed together is one moment by itself (`Moment`).
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sscsi.core.failure_reason import CANCELLED, DEADLINE_EXCEEDED
from sscsi.errors import ProviderCallError, SscsiError
from sscsi.ports import ProviderAnswer

GATHER_SECONDS = 0.5
QUIET_SECONDS = 0.05
_STEP_SECONDS = 0.002
# Calls of kubelet's before a publish.
_ANNOUNCEMENTS = 2
_NEVER = threading.Event()

Ask = Callable[[], ProviderAnswer]


_OWN_TIME = frozenset({CANCELLED, DEADLINE_EXCEEDED})


class _Call:
    """A call that is under way or, in a Moment, was made. An answer, or an error, when `ended` is set."""

    __slots__ = ("answer", "ended", "error")

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.answer: ProviderAnswer | None = None
        self.error: Exception | None = None

    def holds_for_equals(self) -> bool:
        """Whether the end of the call says as much to others who have as much time for it.

        An answer without files and without an error does not: that provider wrote into the caller's own volume.
        """
        if self.answer is not None:
            return bool(self.answer.files or self.answer.error_code)
        return isinstance(self.error, SscsiError)

    def holds_for_others(self) -> bool:
        """As `holds_for_equals`, and it did not end because the caller's own time was over."""
        own_time = isinstance(self.error, ProviderCallError) and self.error.code in _OWN_TIME
        return self.holds_for_equals() and not own_time


class Approaches:
    """How many publishes have begun and not come to their call yet, or are announced: perhaps they are about to ask the same.

    Kubelet asks for the capabilities twice before each publish (sidecars reference, C7). `clock` is monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        self._announced = 0
        self._announced_at = float("-inf")

    @property
    def count(self) -> int:
        """Those on the way; of those announced, the ones that are due any moment."""
        with self._lock:
            announced = self._announced if self._is_fresh() else 0
            return self._count + announced // _ANNOUNCEMENTS

    def announce(self) -> None:
        """Kubelet asked for the capabilities: a publish follows, or nothing, where it was for statistics."""
        with self._lock:
            self._announced = (self._announced if self._is_fresh() else 0) + 1
            self._announced_at = self._clock()

    def begin(self) -> "Approach":
        """One more; until its `end`."""
        with self._lock:
            self._count += 1
            self._announced = max(self._announced - _ANNOUNCEMENTS, 0)
        return Approach(self._end)

    def _is_fresh(self) -> bool:
        return self._clock() - self._announced_at < QUIET_SECONDS

    def _end(self) -> None:
        with self._lock:
            self._count -= 1


class Approach:
    """One publish on its way. Used by one thread."""

    __slots__ = ("_end",)

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Callable[[], None] | None = end

    def end(self) -> None:
        """It has come to its call, or to its own end; the second time means nothing."""
        end, self._end = self._end, None
        if end is not None:
            end()


class Gathering:
    """Lets those come who are about to ask the same, before a call that may be shared is made.

    With nobody on the way it takes no time. Of many that start together not every one is on the way at any moment: then
    it takes until nobody came for a little while. `waiting` wraps the wait.
    """

    def __init__(
        self,
        is_anybody_coming: Callable[[], bool],
        *,
        waiting: Callable[[], AbstractContextManager[None]],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = _NEVER.wait,
    ) -> None:
        self._is_anybody_coming = is_anybody_coming
        self._waiting = waiting
        self._clock = clock
        self._pause = pause

    def wait(self) -> None:
        """Return when nobody is on the way, or too much time has gone by."""
        now = self._clock()
        end, quiet_at = now + GATHER_SECONDS, now
        with self._waiting():
            while now < end:
                if self._is_anybody_coming():
                    quiet_at = now + QUIET_SECONDS
                elif now >= quiet_at:
                    return
                self._pause(_STEP_SECONDS)
                now = self._clock()


class Moment:
    """The calls of one group of volumes, refreshed one after the other by one thread, each with the same time for it."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self.made = 0
        """How many calls there were."""

    def call(self, identity: str, ask: Ask) -> tuple[ProviderAnswer, bool]:
        """The answer, and whether it is that of a call made for another volume. Raises what `ask` raises."""
        call = self._calls.get(identity)
        if call is not None and call.holds_for_equals():
            return _end_of(call), True
        self.made += 1
        call = self._calls[identity] = _Call()
        _make(call, ask)
        return _end_of(call), False


class SharedCalls:
    """The calls that are under way. `gather` is waited for before a call is made: others may be about to ask the same.

    `waiting` wraps every wait for somebody else's call.
    """

    def __init__(
        self, *, gather: Callable[[], None], waiting: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._gather = gather
        self._waiting = waiting
        self._lock = threading.Lock()
        self._calls: dict[str, _Call] = {}

    def call(self, identity: str, ask: Ask, *, timeout_seconds: float) -> tuple[ProviderAnswer, bool]:
        """The answer, and whether another asked for it. Raises what `ask` raises.

        One whose time is over before the other's call ends, or to whom that says nothing, asks for itself.
        """
        with self._lock:
            call = self._calls.get(identity)
            is_mine = call is None
            if call is None:
                call = self._calls[identity] = _Call()
        if is_mine:
            try:
                self._gather()
                _make(call, ask)
            finally:
                with self._lock:
                    del self._calls[identity]
                call.ended.set()
            return _end_of(call), False
        with self._waiting():
            call.ended.wait(timeout_seconds)
        if call.ended.is_set() and call.holds_for_others():
            return _end_of(call), True
        return ask(), False


def _make(call: _Call, ask: Ask) -> None:
    try:
        call.answer = ask()
    except Exception as error:  # noqa: BLE001 - raised again by _end_of, to everybody
        call.error = error


def _end_of(call: _Call) -> ProviderAnswer:
    if call.answer is not None:
        return call.answer
    raise call.error or AssertionError("a call that has not ended")
