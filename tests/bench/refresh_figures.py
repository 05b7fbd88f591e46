"""Arithmetic of the part `refresh`: from the calls that a provider got to lateness, ages and what a bucket allows."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.bench.store import Call

Key = Callable[[Call], str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Of `count` values; NaN when there are none."""

    p50: float
    p99: float
    longest: float
    count: int


def percentiles(values: Iterable[float]) -> Percentiles:
    """The nearest-rank p99, as all figures of the benchmark have it."""
    found = sorted(values)
    if not found:
        return Percentiles(p50=math.nan, p99=math.nan, longest=math.nan, count=0)
    return Percentiles(
        p50=statistics.median(found),
        p99=found[math.ceil(0.99 * len(found)) - 1],
        longest=found[-1],
        count=len(found),
    )


def by_volume(call: Call) -> str:
    """The key of calls that are not shared."""
    return call.target_path


def by_class(call: Call) -> str:
    """The key of shared calls: each is made for one pod of its class and serves them all."""
    return call.class_name


def answers(calls: Iterable[Call], key: Key) -> dict[str, list[float]]:
    """When content was fetched, by key: the ends of calls that succeeded, in order."""
    found: dict[str, list[float]] = {}
    for call in calls:
        if call.succeeded:
            found.setdefault(key(call), []).append(call.ended)
    return {name: sorted(times) for name, times in found.items()}


def gaps(fetched: Mapping[str, Sequence[float]]) -> list[float]:
    """Seconds from each fetch to the next one of the same key."""
    return [later - earlier for times in fetched.values() for earlier, later in itertools.pairwise(times)]


def lateness(fetched: Mapping[str, Sequence[float]], interval: float) -> list[float]:
    """How long after its due time each fetch ended; due is the one before it and the interval."""
    return [gap - interval for gap in gaps(fetched)]


def oldest(fetched: Mapping[str, Sequence[float]], until: float) -> float:
    """The greatest age, in seconds, that any key's content had: before it was fetched again, or at the end, `until`."""
    return max((gap for times in fetched.values() for gap in gaps({"": [*times, until]})), default=math.nan)


def are_all_answered(
    calls: Iterable[Call], key: Key, names: Iterable[str], *, times: int, since: float
) -> bool:
    """Whether each of `names` was fetched so many times in calls that ended at `since` or later."""
    fetched = answers((call for call in calls if call.ended >= since), key)
    return all(len(fetched.get(name, ())) >= times for name in names)


def needed_burst(begins: Iterable[float], rate: float) -> float:
    """The smallest burst of a token bucket of that rate which would have let calls begin at these times."""
    level, needed, last = 0.0, 0.0, -math.inf
    for at in sorted(begins):
        level = max(level - (at - last) * rate, 0.0) + 1
        needed, last = max(needed, level), at
    return needed


def most_in(begins: Iterable[float], seconds: float) -> int:
    """The most calls that began within any so many seconds."""
    times = sorted(begins)
    first = most = 0
    for number, at in enumerate(times):
        while at - times[first] >= seconds:
            first += 1
        most = max(most, number - first + 1)
    return most
