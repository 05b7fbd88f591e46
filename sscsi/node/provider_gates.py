"""How fast refreshes may go to each provider: so many at once, so many a second, and hardly any while it fails.

Starting pods never wait here (they have their own places, `admission`), but how their calls end counts: a provider
that answers a publish is well again.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping

# So many calls in a row that found the provider away or over its limit open the circuit. Of a provider that refuses
# every other call, a run so long comes once in a million calls.
OPEN_AFTER = 20
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0
# Until a place is free: it is asked for again this much later.
_PLACE_SECONDS = 0.05
MAX_PROVIDERS = 64

# Of a token: what floating point may leave undone when exactly the time that a refusal named has passed.
_ROUNDING = 1e-6

RATE = "rate"
CONCURRENCY = "concurrency"
CIRCUIT = "circuit"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No refresh now: why, in one word of this module, and when to ask again, in seconds."""

    reason: str
    retry_seconds: float


class _Gate:
    """One provider's. The lock is that of ProviderGates; times are the clock's."""

    def __init__(self, burst: float, now: float) -> None:
        self.tokens = burst
        self.filled_at = now
        self.under_way = 0
        self.failures = 0
        self.closed_until = 0.0
        self.pause = 0.0
        self.is_trying = False
        self.last_error = ""


class ProviderGates:
    """The gates of all providers. Threads may share it; `clock` is monotonic, in seconds.

    `calls_per_second` and `burst` are those of a token bucket, `places` is how many refreshes may be with one provider
    at once.
    """

    def __init__(
        self,
        *,
        calls_per_second: float,
        burst: int,
        places: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = calls_per_second
        self._burst = float(burst)
        self._places = places
        self._clock = clock
        self._lock = threading.Lock()
        self._gates: dict[str, _Gate] = {}

    def enter(self, provider: str, *, is_forced: bool = False) -> Refusal | None:
        """Take a place and a token for one refresh; why not, otherwise. Each entry is followed by one `leave`.

        `is_forced` goes through an open circuit: an operator asked.
        """
        with self._lock:
            now = self._clock()
            gate = self._gate(provider, now)
            if gate.pause and not is_forced:
                if now < gate.closed_until:
                    return Refusal(reason=CIRCUIT, retry_seconds=gate.closed_until - now)
                if gate.is_trying:
                    return Refusal(reason=CIRCUIT, retry_seconds=_FIRST_PAUSE_SECONDS)
            if gate.under_way >= self._places:
                return Refusal(reason=CONCURRENCY, retry_seconds=_PLACE_SECONDS)
            self._fill(gate, now)
            if gate.tokens < 1 - _ROUNDING:
                return Refusal(reason=RATE, retry_seconds=(1 - gate.tokens) / self._rate)
            gate.tokens -= 1
            gate.under_way += 1
            gate.is_trying = bool(gate.pause)
            return None

    def leave(self, provider: str) -> None:
        """The refresh is over, however it ended."""
        with self._lock:
            gate = self._gate(provider, self._clock())
            gate.under_way -= 1
            gate.is_trying = False

    def charge(self, provider: str) -> None:
        """A refresh that is under way makes one call more."""
        with self._lock:
            now = self._clock()
            gate = self._gate(provider, now)
            self._fill(gate, now)
            gate.tokens -= 1

    def answered(self, provider: str) -> None:
        """The provider answered a call, of a publish or a refresh, be it with a refusal of what was asked for."""
        with self._lock:
            gate = self._gate(provider, self._clock())
            gate.failures, gate.pause, gate.last_error = 0, 0.0, ""

    def was_away(self, provider: str, error: str) -> None:
        """The provider did not answer a call, or said that it is called too often."""
        with self._lock:
            now = self._clock()
            gate = self._gate(provider, now)
            gate.failures += 1
            gate.last_error = error
            if gate.failures < OPEN_AFTER or now < gate.closed_until:
                return
            gate.pause = min(max(2 * gate.pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            gate.closed_until = now + gate.pause

    def trouble(self, provider: str) -> str:
        """What the provider's last call ended with, while its circuit is open; else empty."""
        with self._lock:
            gate = self._gates.get(provider)
            return gate.last_error if gate is not None and gate.pause else ""

    def circuits(self) -> Mapping[str, bool]:
        """By provider that was called: whether its circuit is open."""
        with self._lock:
            return {provider: bool(gate.pause) for provider, gate in self._gates.items()}

    def _fill(self, gate: _Gate, now: float) -> None:
        gate.tokens = min(self._burst, gate.tokens + (now - gate.filled_at) * self._rate)
        gate.filled_at = now

    def _gate(self, provider: str, now: float) -> _Gate:
        gate = self._gates.get(provider)
        if gate is None:
            if len(self._gates) >= MAX_PROVIDERS:
                idle = next((name for name, known in self._gates.items() if not known.under_way), None)
                if idle is not None:
                    del self._gates[idle]
            gate = self._gates[provider] = _Gate(self._burst, now)
        return gate
