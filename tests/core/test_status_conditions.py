"""Conditions are written on transition only, and keep their times in between."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest

from sscsi.core import status_conditions
from sscsi.core.pod_status import build_status
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.status_conditions import SYNCED, Condition, refreshed, synced, with_history
from tests.statussync.making import make_volume

FIRST = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
LATER = dt.datetime(2026, 1, 1, 13, tzinfo=dt.UTC)


def status_of(
    *volumes: PublishedVolume,
    present: Mapping[str, Any] | None = None,
    now: dt.datetime = FIRST,
    sync: Condition | None = None,
    kept: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    manifest = build_status(volumes, node_id="n", synced=sync)
    found: dict[str, Any] = with_history(manifest, present, kept=kept, now=now)["status"]
    return found


def condition(status: Mapping[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [entry for entry in status["conditions"] if entry["type"] == kind]
    return dict(found)


def test_a_new_object_has_its_conditions_since_now() -> None:
    status = status_of(make_volume())
    assert condition(status, "Ready") == {
        "type": "Ready",
        "status": "True",
        "reason": "ContentInPlace",
        "message": "",
        "lastTransitionTime": "2026-01-01T12:00:00Z",
    }
    assert condition(status, "Refreshed")["status"] == "True"
    assert [entry["type"] for entry in status["conditions"]] == ["Ready", "Refreshed"]


def test_what_stays_as_it_was_is_the_same_to_the_letter() -> None:
    before = status_of(make_volume())
    assert status_of(make_volume(last_attempt_time=2000.0), present=before, now=LATER) == before


def failing(**changes: Any) -> PublishedVolume:
    """A volume that was fetched at 11:00 and failed at 12:30 for the first time."""
    values = {
        "last_error": "no route",
        "failure_reason": "ProviderUnavailable",
        "last_success_time": (FIRST - dt.timedelta(hours=1)).timestamp(),
        "failing_since": (FIRST + dt.timedelta(minutes=30)).timestamp(),
    }
    return make_volume(**{**values, **changes})


def test_a_failed_refresh_is_a_transition_once_whatever_its_words_are() -> None:
    before = status_of(make_volume())
    failed = status_of(failing(), present=before, now=LATER)
    assert condition(failed, "Refreshed") == {
        "type": "Refreshed",
        "status": "False",
        "reason": "ProviderUnavailable",
        "message": "no route; the content is of 2026-01-01T11:00:00Z; failing since 2026-01-01T12:30:00Z",
        "lastTransitionTime": "2026-01-01T12:30:00Z",
    }
    assert condition(failed, "Ready") == condition(before, "Ready")
    again = LATER + dt.timedelta(hours=1)
    other = failing(last_error="other words", last_attempt_time=again.timestamp())
    assert status_of(other, present=failed, now=again) == failed


def test_another_reason_to_fail_is_told_and_the_time_stays() -> None:
    failed = status_of(failing(), present=status_of(make_volume()))
    denied = failing(failure_reason="ProviderDenied", last_error="no")
    after = condition(status_of(denied, present=failed, now=LATER), "Refreshed")
    assert after["reason"] == "ProviderDenied"
    assert after["message"].startswith("no; the content is of ")
    assert after["lastTransitionTime"] == "2026-01-01T12:30:00Z"


def test_a_refresh_that_succeeds_again_is_a_transition_of_now() -> None:
    failed = status_of(failing(), present=status_of(make_volume()))
    after = condition(status_of(make_volume(), present=failed, now=LATER), "Refreshed")
    assert after == {
        "type": "Refreshed",
        "status": "True",
        "reason": "LastFetchSucceeded",
        "message": "",
        "lastTransitionTime": "2026-01-01T13:00:00Z",
    }


def test_a_recovery_that_nobody_wrote_is_seen_by_when_it_began_to_fail_again() -> None:
    failed = status_of(failing(), present=status_of(make_volume()))
    success, since = FIRST + dt.timedelta(minutes=40), FIRST + dt.timedelta(minutes=50)
    anew = failing(last_success_time=success.timestamp(), failing_since=since.timestamp())
    after = condition(status_of(anew, present=failed, now=LATER), "Refreshed")
    assert after["lastTransitionTime"] == "2026-01-01T12:50:00Z"
    assert after["message"].endswith(
        "of 2026-01-01T12:40:00Z; failing since 2026-01-01T12:50:00Z",
    )


def test_what_a_record_of_before_does_not_know_is_left_out() -> None:
    old = failing(failure_reason="", failing_since=0.0, last_success_time=0.0)
    after = condition(status_of(old, present=status_of(make_volume()), now=LATER), "Refreshed")
    assert (after["reason"], after["message"]) == ("RefreshFailed", "no route")
    assert after["lastTransitionTime"] == "2026-01-01T13:00:00Z"


def test_a_long_error_leaves_room_for_since_when() -> None:
    message = refreshed([failing(last_error="x" * 5000)]).document()["message"]
    assert len(message) == 1024
    assert message.endswith("xx; the content is of 2026-01-01T11:00:00Z; failing since 2026-01-01T12:30:00Z")


@pytest.mark.parametrize("first_path", ["/a", "/c"])
def test_of_two_volumes_that_fail_the_one_that_fails_for_longer_is_told(first_path: str) -> None:
    for_long = failing(target_path=first_path, last_error="long ago")
    lately = failing(target_path="/b", last_error="lately", failing_since=LATER.timestamp())
    unknown = failing(target_path="/0", last_error="unknown", failing_since=0.0)
    assert refreshed([lately, for_long, unknown]).message == "long ago"


def test_of_two_volumes_with_one_object_the_one_that_fails_is_told() -> None:
    volumes = [make_volume(target_path="/a"), make_volume(target_path="/b", last_error="refused")]
    assert refreshed(volumes).message == "refused"
    assert refreshed(volumes).status == "False"


def test_an_adopted_volume_is_neither_refreshed_nor_not() -> None:
    assert refreshed([make_volume(adopted=True)]).status == "Unknown"


def test_an_adopted_volume_keeps_the_versions_that_were_told_of_its_path() -> None:
    """Upstream's object of the very volume: the versions are those that it fetched."""
    before = {key: status_of(make_volume())[key] for key in ("podName", "targetPath", "objects", "mounted")}
    assert before["objects"]
    adopted = make_volume(adopted=True, object_versions=())
    assert status_of(adopted, present=before)["objects"] == before["objects"]
    failed = make_volume(adopted=True, object_versions=(), last_error="no route")
    assert status_of(failed, present=before)["objects"] == before["objects"]
    assert status_of(adopted)["objects"] == []
    of_another_pod = {**before, "targetPath": "/another"}
    assert status_of(adopted, present=of_another_pod)["objects"] == []
    refreshed_since = make_volume(object_versions=(("password", "v9"),))
    assert status_of(refreshed_since, present=before)["objects"] == [{"id": "password", "version": "v9"}]


def test_a_message_is_cut() -> None:
    assert len(synced(["x" * 5000]).document()["message"]) == 1024


def test_a_condition_that_is_kept_stays_as_the_cluster_has_it() -> None:
    before = status_of(make_volume(), sync=synced(["no rights"]))
    kept = status_of(make_volume(), present=before, now=LATER, kept=frozenset({SYNCED}))
    assert condition(kept, SYNCED) == condition(before, SYNCED)
    dropped = status_of(make_volume(), present=before, now=LATER)
    assert [entry["type"] for entry in dropped["conditions"]] == ["Ready", "Refreshed"]


def test_another_reason_with_the_same_status_is_told_and_no_transition() -> None:
    before = status_of(make_volume(), sync=synced([]))
    present = {**before, "conditions": [{**entry, "reason": "Old"} for entry in before["conditions"]]}
    after = status_of(make_volume(), present=present, now=LATER, sync=synced([]))
    assert after == before


def test_the_change_is_when_the_content_was_written() -> None:
    assert (
        status_of(make_volume(data_directory="..2025_11_24_01_02_03.7"))["lastChangeTime"]
        == "2025-11-24T01:02:03Z"
    )


def test_of_plain_files_the_change_is_when_other_versions_were_seen() -> None:
    one = make_volume(data_directory="", object_versions=(("a", "1"),))
    before = status_of(one)
    assert before["lastChangeTime"] == "2026-01-01T12:00:00Z"
    assert status_of(one, present=before, now=LATER) == before
    two = make_volume(data_directory="", object_versions=(("a", "2"),))
    assert status_of(two, present=before, now=LATER)["lastChangeTime"] == "2026-01-01T13:00:00Z"


def test_an_object_of_upstreams_without_conditions_gets_them() -> None:
    upstreams = {"podName": "web", "mounted": True, "objects": [{"id": "password", "version": "v1"}]}
    assert condition(status_of(make_volume(), present=upstreams), "Ready")["status"] == "True"


def test_times_are_in_the_apis_form() -> None:
    assert status_conditions.stamp(0) == "1970-01-01T00:00:00Z"
