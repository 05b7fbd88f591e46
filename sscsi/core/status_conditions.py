"""Conditions of a status object, in the form of Kubernetes' own (metav1.Condition), written on transition only.

Upstream's objects have none. An object is compared with the one that the cluster holds: a condition whose status and
reason are the same stays as it is there, message and time too, so that a refresh which fails again for the same
reason, in other words perhaps, is no write (design P3). One that tells itself since when it is so (`since`) is another when
that is later than what the cluster holds: it was over meanwhile, and nobody was there to write it.
"""

import dataclasses
import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sscsi.core.published_volume import PublishedVolume

READY = "Ready"
REFRESHED = "Refreshed"
SYNCED = "Synced"
# For a failure that a record of before the words of `failure_reason` tells of.
REFRESH_FAILED = "RefreshFailed"
_TRUE, _FALSE, _UNKNOWN = "True", "False", "Unknown"
# metav1.Condition has room for 32 KiB; what anybody reads is in the first lines.
_MAX_MESSAGE = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition as it is wanted; when it came about is the cluster's object to tell, where `since` is 0.

    `since` is in seconds since the epoch; `ending` is put behind the message, and never cut.
    """

    type: str
    status: str
    reason: str
    message: str = ""
    ending: str = ""
    since: float = 0.0

    def document(self) -> dict[str, str]:
        document = {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message[: _MAX_MESSAGE - len(self.ending)] + self.ending,
        }
        return {**document, "lastTransitionTime": stamp(self.since)} if self.since > 0 else document


def ready() -> Condition:
    """Content is in place: there is no record of a volume without."""
    return Condition(type=READY, status=_TRUE, reason="ContentInPlace")


def refreshed(volumes: Iterable[PublishedVolume]) -> Condition:
    """Whether the last attempt to fetch went well, for every volume that shares the object.

    Of several that fail the one is told that has failed for longest.
    """
    by_path = sorted(volumes, key=lambda volume: volume.target_path)
    failing = [volume for volume in by_path if volume.last_error]
    if failing:
        return _failed(min(failing, key=lambda volume: volume.failing_since or math.inf))
    if any(volume.adopted for volume in by_path):
        message = "the volume was found mounted, with the versions that were told before, if any; the next refresh tells"
        return Condition(type=REFRESHED, status=_UNKNOWN, reason="Adopted", message=message)
    return Condition(type=REFRESHED, status=_TRUE, reason="LastFetchSucceeded")


def _failed(volume: PublishedVolume) -> Condition:
    """None of the times changes while attempts go on to fail."""
    ending = ""
    if volume.last_success_time > 0:
        ending += f"; the content is of {stamp(volume.last_success_time)}"
    if volume.failing_since > 0:
        ending += f"; failing since {stamp(volume.failing_since)}"
    return Condition(
        type=REFRESHED,
        status=_FALSE,
        reason=volume.failure_reason or REFRESH_FAILED,
        message=volume.last_error,
        ending=ending,
        since=volume.failing_since,
    )


def synced(problems: Sequence[str]) -> Condition:
    """Whether the Secrets of the class are in place; `problems` says why not, a line each."""
    if problems:
        return Condition(type=SYNCED, status=_FALSE, reason="SyncFailed", message="; ".join(problems))
    return Condition(type=SYNCED, status=_TRUE, reason="SecretsInPlace")


def with_history(
    manifest: Mapping[str, Any],
    present: Mapping[str, Any] | None,
    *,
    kept: AbstractSet[str],
    now: dt.datetime,
) -> dict[str, Any]:
    """The manifest with what only the object in the cluster knows; `present` is its status, None when there is none.

    Adds the times of transitions, the conditions of the types in `kept`, and `lastChangeTime` where the manifest does
    not tell it: that of `present` while the objects are the same, else `now`. A volume that was adopted, whose versions are not
    known, keeps those that upstream's driver, or we before our records were lost, told of the same target path.
    """
    before = present or {}
    known = {entry.get("type"): entry for entry in before.get("conditions") or () if isinstance(entry, dict)}
    status = dict(manifest["status"])
    conditions = [
        _dated(wanted, known.get(wanted["type"]), _stamp(now)) for wanted in status.get("conditions") or ()
    ]
    conditions += [known[kind] for kind in sorted(kept) if kind in known]
    status["conditions"] = conditions
    if not status.get("objects") and before.get("targetPath") == status.get("targetPath"):
        status["objects"] = before.get("objects") or []
    if "lastChangeTime" not in status:
        same = present is not None and (before.get("objects") or []) == (status.get("objects") or [])
        status["lastChangeTime"] = (before.get("lastChangeTime") if same else None) or _stamp(now)
    return {**manifest, "status": status}


def stamp(seconds: float) -> str:
    """Seconds since the epoch as the API writes times (RFC 3339, to the second)."""
    return _stamp(dt.datetime.fromtimestamp(seconds, dt.UTC))


def _stamp(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _dated(wanted: Mapping[str, Any], known: Mapping[str, Any] | None, now: str) -> dict[str, Any]:
    since = wanted.get("lastTransitionTime", "")
    if known is None or known.get("status") != wanted["status"]:
        return {**wanted, "lastTransitionTime": since or now}
    # Times as they are written here sort as text.
    before = str(known.get("lastTransitionTime") or "")
    if known.get("reason") == wanted["reason"] and since <= before:
        return dict(known)
    return {**wanted, "lastTransitionTime": max(since, before) or now}
