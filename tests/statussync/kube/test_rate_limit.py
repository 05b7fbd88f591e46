"""Requests are bounded in any stretch of time, nobody waits for ever, and who comes first goes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecars.statussync.kube.rate_limit import RateLimit

_RATES = st.floats(min_value=0.1, max_value=1000.0)
_BURSTS = st.integers(min_value=1, max_value=50)
_GAPS = st.lists(st.floats(min_value=0.0, max_value=20.0), max_size=80)
_LITTLE = 1e-6


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def reserved(limit: RateLimit, longest_seconds: float = 1e9) -> float:
    wait = limit.reserve(longest_seconds=longest_seconds)
    assert wait is not None
    return wait


@given(rate=_RATES, burst=_BURSTS, gaps=_GAPS)
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate(
    rate: float, burst: int, gaps: list[float]
) -> None:
    clock = Clock()
    limit = RateLimit(per_second=rate, burst=burst, clock=clock)
    moments: list[float] = []
    for gap in gaps:
        clock.now += gap
        moments.append(clock.now + reserved(limit))
    for first, begin in enumerate(moments):
        for last, end in enumerate(moments[first:], start=first):
            assert last - first + 1 <= burst + rate * (end - begin) + 1e-3


@given(rate=_RATES, burst=_BURSTS, gaps=_GAPS)
def test_who_comes_first_goes_first_and_no_later_than_the_rate_says(
    rate: float, burst: int, gaps: list[float]
) -> None:
    clock = Clock()
    limit = RateLimit(per_second=rate, burst=burst, clock=clock)
    last = 0.0
    for count, gap in enumerate(gaps):
        clock.now += gap
        moment = clock.now + reserved(limit)
        assert moment >= last - _LITTLE
        assert moment - clock.now <= max(0, count + 1 - burst) / rate + _LITTLE
        last = moment


@given(rate=_RATES, burst=_BURSTS, waits=st.lists(st.floats(min_value=0.0, max_value=0.01), max_size=50))
def test_who_does_not_wait_takes_no_turn(rate: float, burst: int, waits: list[float]) -> None:
    """Whatever others gave up, the next one has the turn that it would have had without them."""
    limits = [RateLimit(per_second=rate, burst=burst, clock=Clock()) for _ in range(2)]
    for limit in limits:
        for _ in range(burst):
            assert reserved(limit) < _LITTLE
    refused = [wait for wait in waits if wait < 1 / rate - _LITTLE]
    assert [limits[0].reserve(longest_seconds=wait) for wait in refused] == [None] * len(refused)
    assert reserved(limits[0]) == reserved(limits[1])


@given(
    rate=_RATES, burst=st.integers(min_value=2, max_value=50), rest=st.floats(min_value=0.0, max_value=100.0)
)
def test_who_gives_way_leaves_half_of_the_burst(rate: float, burst: int, rest: float) -> None:
    clock = Clock()
    limit = RateLimit(per_second=rate, burst=burst, clock=clock)
    clock.now += rest
    spare = 0
    while limit.reserve_spare():
        spare += 1
    assert 1 <= spare <= burst // 2 + 1
    assert [reserved(limit) for _ in range(burst - spare)] == pytest.approx(
        [0.0] * (burst - spare), abs=_LITTLE
    )


def test_a_burst_goes_at_once_and_the_rest_evenly() -> None:
    limit = RateLimit(per_second=10, burst=3, clock=Clock())
    assert [reserved(limit) for _ in range(6)] == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.2, 0.3])
