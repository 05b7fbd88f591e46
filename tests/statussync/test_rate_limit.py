"""Requests over time: a burst, then one by one, and those that give way only while half the burst is left."""

from sidecars.statussync.kube.rate_limit import RateLimit


def test_a_burst_goes_at_once_and_the_rest_one_by_one() -> None:
    limit = RateLimit(per_second=2.0, burst=3, clock=lambda: 100.0)
    assert [limit.reserve(longest_seconds=60.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 1.0]


def test_who_would_wait_too_long_reserves_nothing() -> None:
    limit = RateLimit(per_second=1.0, burst=1, clock=lambda: 0.0)
    assert limit.reserve(longest_seconds=0.5) == 0.0
    assert limit.reserve(longest_seconds=0.5) is None
    assert limit.reserve(longest_seconds=1.0) == 1.0


def test_who_gives_way_leaves_half_the_burst() -> None:
    now = 0.0
    limit = RateLimit(per_second=1.0, burst=11, clock=lambda: now)
    assert [limit.reserve_spare() for _ in range(10)] == [True] * 6 + [False] * 4
    assert [limit.reserve(longest_seconds=0.0) for _ in range(5)] == [0.0] * 5
    now = 5.0
    assert not limit.reserve_spare()
    now = 6.0
    assert limit.reserve_spare()


def test_without_a_burst_who_gives_way_has_its_turn_when_nobody_waits() -> None:
    limit = RateLimit(per_second=1.0, burst=1, clock=lambda: 0.0)
    assert [limit.reserve_spare(), limit.reserve_spare()] == [True, False]
