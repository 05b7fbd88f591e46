"""The log's lines of failing refreshes are bounded by the causes, not by the volumes."""

import pytest

from sscsi.core import failure_reason as reasons
from sscsi.core.volume_record import VolumeRecord
from sscsi.node.failure_lines import CLASS_SECONDS, PROVIDER_SECONDS, FailureLines
from tests.support.hand_clock import HandClock
from tests.support.one_record import make_record


def records(count: int, provider: str = "vault", class_name: str = "app") -> list[VolumeRecord]:
    return [
        make_record(f"/pods/{provider}-{class_name}-{number}/mount", provider=provider, class_name=class_name)
        for number in range(count)
    ]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def lines(clock: HandClock) -> FailureLines:
    return FailureLines(clock)


class TestFailures:
    def test_an_hour_of_a_provider_that_is_away_is_a_line_a_minute(
        self, lines: FailureLines, clock: HandClock
    ) -> None:
        volumes, told = records(500), []
        for _ in range(60):
            for volume in volumes:
                told.append(lines.failed(volume, reasons.PROVIDER_UNAVAILABLE))
            clock.advance(PROVIDER_SECONDS)
        counts = [count for count in told if count is not None]
        assert counts == [1, *[500] * 59]

    def test_another_provider_and_another_reason_are_told_at_once(self, lines: FailureLines) -> None:
        (vault,), (aws,) = records(1), records(1, "aws")
        assert lines.failed(vault, reasons.PROVIDER_UNAVAILABLE) == 1
        assert lines.failed(aws, reasons.PROVIDER_UNAVAILABLE) == 1
        assert lines.failed(vault, reasons.PROVIDER_TIMED_OUT) == 1
        assert lines.failed(aws, reasons.PROVIDER_UNAVAILABLE) is None

    def test_what_is_wrong_with_one_class_hides_no_other(self, lines: FailureLines, clock: HandClock) -> None:
        first, second = records(20, class_name="first"), records(20, class_name="second")
        for volumes in (first, second):
            told = [lines.failed(volume, reasons.PROVIDER_DENIED) for volume in volumes]
            assert told == [1, *[None] * 19]
        clock.advance(PROVIDER_SECONDS)
        assert lines.failed(first[0], reasons.PROVIDER_DENIED) is None
        clock.advance(CLASS_SECONDS)
        assert lines.failed(first[0], reasons.PROVIDER_DENIED) == 20

    def test_a_volume_counts_for_its_last_cause_and_only_while_it_is_there(
        self, lines: FailureLines, clock: HandClock
    ) -> None:
        volumes = records(5)
        for volume in volumes:
            lines.failed(volume, reasons.PROVIDER_UNAVAILABLE)
        lines.failed(volumes[1], reasons.PROVIDER_TIMED_OUT)
        lines.forget(volumes[2].target_path)
        lines.recovered(volumes[3])
        clock.advance(PROVIDER_SECONDS)
        assert lines.failed(volumes[0], reasons.PROVIDER_UNAVAILABLE) == 2

    def test_a_volume_that_fails_every_other_time_is_no_news_each_time(
        self, lines: FailureLines, clock: HandClock
    ) -> None:
        """A provider that answers 429 to half of the calls."""
        told = 0
        for _ in range(10):
            for volume in records(50):
                told += lines.failed(volume, reasons.PROVIDER_THROTTLED) is not None
                told += lines.recovered(volume) is not None
            clock.advance(PROVIDER_SECONDS / 10)
        assert told == 2

    def test_only_what_is_recent_is_kept(self, lines: FailureLines, clock: HandClock) -> None:
        for number in range(1000):
            (volume,) = records(1, f"p{number}")
            lines.failed(volume, reasons.PROVIDER_UNAVAILABLE)
            lines.recovered(volume)
            clock.advance(CLASS_SECONDS / 10)
        assert sum(len(kept) for kept in vars(lines).values() if isinstance(kept, dict)) < 30


class TestRecoveries:
    def test_the_first_and_the_last_are_told_and_one_a_minute(
        self, lines: FailureLines, clock: HandClock
    ) -> None:
        volumes = records(100)
        for volume in volumes:
            lines.failed(volume, reasons.PROVIDER_UNAVAILABLE)
        told = [lines.recovered(volume) for volume in volumes[:50]]
        clock.advance(PROVIDER_SECONDS)
        told += [lines.recovered(volume) for volume in volumes[50:]]
        assert [count for count in told if count is not None] == [99, 49, 0]

    def test_one_volume_alone_is_told_once(self, lines: FailureLines) -> None:
        (volume,) = records(1)
        lines.failed(volume, reasons.PROVIDER_DENIED)
        assert lines.recovered(volume) == 0

    def test_a_failure_of_before_a_restart_recovers_with_a_line(self, lines: FailureLines) -> None:
        assert lines.recovered(records(1)[0]) == 0
