"""Conditions are written on transition only, and keep their times in between."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

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


def test_a_failed_refresh_is_a_transition_once_whatever_its_words_are() -> None:
    before = status_of(make_volume())
    failed = status_of(make_volume(last_error="no route"), present=before, now=LATER)
    assert condition(failed, "Refreshed") == {
        "type": "Refreshed",
        "status": "False",
        "reason": "RefreshFailed",
        "message": "no route",
        "lastTransitionTime": "2026-01-01T13:00:00Z",
    }
    assert condition(failed, "Ready") == condition(before, "Ready")
    again = LATER + dt.timedelta(hours=1)
    assert status_of(make_volume(last_error="other words"), present=failed, now=again) == failed


def test_of_two_volumes_with_one_object_the_one_that_fails_is_told() -> None:
    volumes = [make_volume(target_path="/a"), make_volume(target_path="/b", last_error="refused")]
    assert refreshed(volumes).message == "refused"


def test_an_adopted_volume_is_neither_refreshed_nor_not() -> None:
    assert refreshed([make_volume(adopted=True)]).status == "Unknown"


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
