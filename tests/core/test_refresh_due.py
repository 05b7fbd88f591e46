"""When content is due: the interval, certificates, jitter, and pauses after failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.refresh_due import Renewal, due_at, jitter_seconds, pause_seconds

HOUR = 3600.0
INTERVALS = st.floats(0.01, 1e6)
CHANCES = st.floats(0, 1)


class TestDue:
    @pytest.mark.parametrize(
        ("renewal", "due"),
        [
            (None, HOUR),
            (Renewal(renew_at=2 * HOUR, end_at=3 * HOUR), HOUR),
            (Renewal(renew_at=0.5 * HOUR, end_at=HOUR), 0.5 * HOUR),
            (Renewal(renew_at=1.0, end_at=HOUR), 10.0),
            # Two thirds were over already when it was fetched: a tenth of what is left, again and again.
            (Renewal(renew_at=-HOUR, end_at=0.5 * HOUR), 180.0),
            (Renewal(renew_at=-HOUR, end_at=20.0), 10.0),
            (Renewal(renew_at=-HOUR, end_at=100 * HOUR), HOUR),
            # It has ended: no hurry helps any more.
            (Renewal(renew_at=-HOUR, end_at=-1.0), HOUR),
        ],
        ids=["none", "later", "earlier", "floor", "past", "nearly over", "long", "ended"],
    )
    def test_a_certificate_brings_it_forward(self, renewal: Renewal | None, due: float) -> None:
        assert due_at(0.0, interval=HOUR, floor=10.0, renewal=renewal) == due

    @given(INTERVALS, st.floats(0, 1e4), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
    def test_never_after_the_interval_and_never_below_the_floor(
        self, interval: float, floor: float, renew: float, end: float
    ) -> None:
        due = due_at(0.0, interval=interval, floor=floor, renewal=Renewal(renew_at=renew, end_at=end))
        assert min(interval, floor) <= due <= interval


class TestSpread:
    @given(INTERVALS, CHANCES)
    def test_jitter_comes_after_the_interval_and_stays_within_a_twentieth(
        self, interval: float, chance: float
    ) -> None:
        assert 0 <= jitter_seconds(interval, chance) <= min(interval / 20, 60.0)

    @given(st.integers(1, 1000), INTERVALS, CHANCES)
    def test_pauses_grow_to_a_sixteenth_of_the_interval(
        self, failures: int, interval: float, chance: float
    ) -> None:
        pause = pause_seconds(failures, interval, chance)
        assert 0 < pause <= min(interval / 16, 60.0)
        assert pause <= pause_seconds(failures + 1, interval, chance)

    def test_the_first_pauses(self) -> None:
        assert [pause_seconds(n, HOUR, 1.0) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert pause_seconds(1, HOUR, 0.0) == 0.5
        assert pause_seconds(99, 0.0, 1.0) == 60.0
