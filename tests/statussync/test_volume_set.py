"""The set of volumes follows the watch, and tells whose objects may have to change."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from sidecars.statussync.volume_set import VolumeSet
from sscsi.core.published_volume import PublishedVolume, VolumeChange
from tests.statussync.making import make_volume


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def snapshot(*volumes: PublishedVolume) -> VolumeChange:
    return VolumeChange(snapshot=True, volumes=volumes, removed_target_paths=())


def update(*volumes: PublishedVolume, removed: tuple[str, ...] = ()) -> VolumeChange:
    return VolumeChange(snapshot=False, volumes=volumes, removed_target_paths=removed)


ONE = make_volume(pod_uid="1")
TWO = make_volume(pod_uid="2", pod_namespace="other")


def test_a_snapshot_is_everything_there_is() -> None:
    volumes = VolumeSet(Clock())
    assert not volumes.is_complete
    volumes.apply(update(ONE))
    assert not volumes.is_complete
    assert volumes.apply(snapshot(TWO)) == [ONE, TWO]
    assert volumes.is_complete
    assert volumes.all() == [TWO]
    assert volumes.in_namespace("default") == []
    assert volumes.in_namespace("other") == [TWO]
    assert volumes.classes_in_use() == {("other", "app")}


def test_a_change_affects_the_volume_as_it_was_and_as_it_is() -> None:
    volumes = VolumeSet(Clock())
    volumes.apply(snapshot(ONE, TWO))
    moved = dataclasses.replace(ONE, class_name="new")
    assert volumes.apply(update(moved)) == [ONE, moved]
    assert volumes.apply(update(removed=(moved.target_path,))) == [moved]
    assert volumes.all() == [TWO]


def test_a_removed_volume_that_was_not_known_affects_nothing() -> None:
    volumes = VolumeSet(Clock())
    assert volumes.apply(update(removed=("/none",))) == []


def test_a_refresh_without_news_affects_nothing_and_is_remembered() -> None:
    volumes = VolumeSet(Clock())
    volumes.apply(snapshot(ONE))
    later = dataclasses.replace(ONE, last_attempt_time=2000.0, last_success_time=2000.0)
    assert volumes.apply(update(later)) == []
    assert volumes.all() == [later]


def test_a_refresh_that_fails_again_for_the_same_reason_affects_nothing() -> None:
    volumes = VolumeSet(Clock())
    failing = dataclasses.replace(
        ONE, last_error="one", failure_reason="ProviderFailed", failing_since=1500.0, last_attempt_time=1500.0
    )
    volumes.apply(snapshot(ONE))
    assert volumes.apply(update(failing)) == [ONE, failing]
    again = dataclasses.replace(failing, last_error="other words", last_attempt_time=1600.0)
    assert volumes.apply(update(again)) == []
    for changes in ({"failure_reason": "ProviderDenied"}, {"failing_since": 1700.0}, {"last_error": ""}):
        other = dataclasses.replace(again, **changes)
        assert volumes.apply(update(other)) == [again, other]
        volumes.apply(update(again))


def test_a_volume_known_before_the_watch_outlives_a_snapshot_that_was_on_its_way() -> None:
    clock = Clock()
    volumes = VolumeSet(clock)
    volumes.merge(ONE)
    volumes.apply(snapshot(TWO))
    assert set(volumes.all()) == {ONE, TWO}
    clock.now = 31.0
    volumes.apply(snapshot(TWO))
    assert volumes.all() == [TWO]


def test_a_volume_that_the_watch_removes_is_gone_at_once() -> None:
    volumes = VolumeSet(Clock())
    volumes.merge(ONE)
    volumes.apply(update(removed=(ONE.target_path,)))
    volumes.apply(snapshot())
    assert volumes.all() == []


def test_a_volume_once_in_a_snapshot_lives_by_snapshots() -> None:
    volumes = VolumeSet(Clock())
    volumes.merge(ONE)
    volumes.apply(snapshot(ONE))
    volumes.apply(snapshot())
    assert volumes.all() == []


def test_a_merge_never_goes_back_in_time() -> None:
    volumes = VolumeSet(Clock())
    newer = dataclasses.replace(ONE, last_attempt_time=2000.0, data_directory="..new")
    volumes.apply(snapshot(newer))
    volumes.merge(ONE)
    assert volumes.all() == [newer]


CHANGES = st.lists(
    st.tuples(
        st.booleans(),
        st.sets(st.sampled_from("123"), max_size=3),
        st.sets(st.sampled_from("123"), max_size=2),
    ),
    max_size=8,
)


@given(CHANGES)
def test_after_a_snapshot_the_set_is_what_the_watch_said(
    changes: list[tuple[bool, set[str], set[str]]],
) -> None:
    volumes, expected = VolumeSet(Clock()), set[str]()
    for is_snapshot, present, removed in changes:
        named = [make_volume(pod_uid=uid) for uid in sorted(present)]
        gone = () if is_snapshot else tuple(make_volume(pod_uid=uid).target_path for uid in removed)
        volumes.apply(VolumeChange(snapshot=is_snapshot, volumes=tuple(named), removed_target_paths=gone))
        expected = set(present) if is_snapshot else (expected | present) - removed
        assert {volume.pod_uid for volume in volumes.all()} == expected
