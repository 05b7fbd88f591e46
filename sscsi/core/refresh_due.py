"""When content is to be fetched again, and when after a failure. Times are seconds of any one clock. Pure."""

import dataclasses

# A thousand volumes that came at the same moment do not go on asking at the same moment. After the interval and not
# before it: a provider is asked once an interval, no more.
JITTER = 0.05
LONGEST_JITTER_SECONDS = 60.0
# Of what is left of a certificate's life: between two looks whether there is a new one.
RENEWAL_PART = 10
# Tries after a failure that passes: so many fit into an interval, and no more than this apart.
_TRIES = 16
_LONGEST_PAUSE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0
WITHOUT_INTERVAL_SECONDS = 300.0
"""Between two tries of what somebody asked for and has to mend first, where the volume has no interval."""
# For the class under which a wish is honoured: the room's copy is a moment old, or as old as the API is away.
_ASK_AGAIN_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """When a certificate in the content is to be renewed and when it ends, on the same clock as the rest."""

    renew_at: float
    end_at: float


def due_at(success_at: float, *, interval: float, floor: float, renewal: Renewal | None) -> float:
    """When content that was fetched at `success_at` is due; `interval` is more than 0.

    After the interval, or earlier when two thirds of a certificate's life are over. Where they were over already when it
    was fetched, the store has no new one yet: it is asked again in steps that fit what is left, never below the floor.
    """
    due = success_at + interval
    if renewal is None:
        return due
    if renewal.renew_at > success_at:
        return min(due, max(renewal.renew_at, success_at + floor))
    left = renewal.end_at - success_at
    return min(due, success_at + max(left / RENEWAL_PART, floor)) if left > 0 else due


def jitter_seconds(ahead: float, chance: float) -> float:
    """How long after its due time, which is so far `ahead`, the content is fetched; `chance` is of 0 to 1."""
    return min(ahead * JITTER, LONGEST_JITTER_SECONDS) * chance


def pause_seconds(failures: int, interval: float, chance: float) -> float:
    """How long to wait after so many failures in a row (1 and up) of a kind that passes; `chance` is of 0 to 1.

    Grows to a sixteenth of the interval, so that half of all calls may fail and no content is two intervals old.
    """
    longest = min(interval / _TRIES, _LONGEST_PAUSE_SECONDS) if interval > 0 else _LONGEST_PAUSE_SECONDS
    return _doubled(_FIRST_PAUSE_SECONDS, failures - 1, longest) * (1 + chance) / 2


def ask_again_seconds(unheard: int) -> float:
    """How long a wish waits that so many refreshes in a row (1 and up) did not honour."""
    return _doubled(_ASK_AGAIN_SECONDS, unheard - 1, _LONGEST_PAUSE_SECONDS)


def _doubled(first: float, times: int, longest: float) -> float:
    # Beyond 16 the longest is reached anyway, and no power is too large for a float.
    return min(first * 2.0 ** min(times, 16), longest)
