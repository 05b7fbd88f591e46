"""Failures of refreshes: told when they last, and nothing is kept of a volume that has gone."""

import contextlib

import pytest

from sscsi.core import log_keys, log_levels
from sscsi.errors import ProviderCallError
from sscsi.node.refresh_failures import LASTING_SECONDS, RefreshFailures
from sscsi.node.volumes import Volumes
from tests.fakes.fake_disk import FakeDisk
from tests.fakes.fake_records import FakeRecords
from tests.fakes.fake_trees import FakeTrees
from tests.support.hand_clock import HandClock
from tests.support.one_record import make_record

AWAY = ProviderCallError("the provider is away", code=14)


class Place:
    """One volume, whose refreshes fail, and a clock that stands."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.volumes = Volumes(FakeRecords())
        self.record = make_record()
        self._failures = RefreshFailures(volumes=self.volumes, trees=FakeTrees(FakeDisk()), clock=self.clock)

    def fail(self, *, is_retried: bool = True) -> bool:
        return self._failures.note(self.record, AWAY, contextlib.nullcontext, is_retried=is_retried)

    @property
    def told(self) -> str:
        record = self.volumes.get(self.record.target_path)
        return record.last_error if record is not None else ""


@pytest.fixture
def place() -> Place:
    return Place()


def test_what_is_tried_again_in_moments_is_told_when_it_lasts(place: Place) -> None:
    place.volumes.put(place.record)
    assert place.fail()
    place.clock.advance(LASTING_SECONDS - 1)
    assert place.fail()
    assert place.told == ""
    place.clock.advance(1)
    assert place.fail()
    assert place.told == str(AWAY)


def test_what_is_not_told_is_in_the_log_at_verbosity_4(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.volumes.put(place.record)
    with caplog.at_level(log_levels.DECISIONS):
        place.fail()
        place.clock.advance(LASTING_SECONDS)
        place.fail()
    lines = [(line.levelno, getattr(line, log_keys.ERROR)) for line in caplog.records]
    assert lines == [(log_levels.DECISIONS, str(AWAY)), (log_levels.ERROR, str(AWAY))]


def test_what_is_not_tried_again_soon_is_told_at_once(place: Place) -> None:
    place.volumes.put(place.record)
    assert place.fail(is_retried=False)
    assert place.told == str(AWAY)


def test_nothing_is_kept_of_a_volume_that_has_gone(place: Place) -> None:
    assert not place.fail()
    place.clock.advance(LASTING_SECONDS)
    place.volumes.put(place.record)
    assert place.fail()
    assert place.told == ""
