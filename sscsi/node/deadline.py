"""How long one call may take: the caller's deadline, and what is left of it for others."""

import time

import grpc

# Kubelet's client gives a call two minutes. What this driver asks of others ends this much earlier, so that
# the answer, and what it says, still reaches kubelet.
_MARGIN_SECONDS = 5.0
# A caller without a deadline is given kubelet's.
_DEFAULT_SECONDS = 120.0


class Deadline:
    """The end of one call, in monotonic time."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @classmethod
    def of(cls, context: grpc.ServicerContext, *, longest_seconds: float = _DEFAULT_SECONDS) -> "Deadline":
        """The caller's deadline, no later than `longest_seconds` from now."""
        remaining: float | None = context.time_remaining()
        return cls(longest_seconds if remaining is None else min(remaining, longest_seconds))

    def for_others(self, limit_seconds: float) -> float:
        """Seconds that a call to somebody else may take: `limit_seconds`, or what the caller's deadline leaves."""
        remaining = max(self._end - time.monotonic(), 0.0)
        return min(limit_seconds, max(remaining - _MARGIN_SECONDS, remaining / 2))
