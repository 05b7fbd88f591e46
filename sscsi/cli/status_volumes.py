"""The volumes of the node: how many, and which of them no longer follow their source. Pure."""

import dataclasses
from collections.abc import Iterator, Mapping

from sscsi.cli.status_facts import count, moment
from sscsi.cli.status_observation import Observation, SeenVolume, SeenVolumes, Silence
from sscsi.cli.status_units import age_text, counted
from sscsi.core.lateness import is_late
from sscsi.core.run_files import NODE as NODE_SOCKET

# Kubelet comes by every 60 to 90 s: what waits for it is late by so much and nothing to see to.
_PATIENCE_SECONDS = 120.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeReport:
    """One volume. Ages are in seconds; None: it had no success or no attempt that this driver knows of."""

    namespace: str
    pod: str
    class_name: str
    provider: str
    target_path: str
    adopted: bool
    failing: bool
    """Its last refresh failed: the pod has the content of the last success."""
    last_success_seconds_ago: float | None
    last_attempt_seconds_ago: float | None
    last_error: str
    failure_reason: str
    """The error in one word (`core.failure_reason`); empty when the last refresh succeeded."""
    failing_since: float | None
    """Seconds since the epoch; None when the last refresh succeeded."""
    refresh_interval_seconds: float
    """0: whenever kubelet asks; -1: never."""
    due_seconds_ago: float | None
    """Negative while it is not due yet; None: nobody knows, or never."""
    due: bool
    late: bool
    """Due for more than a tenth of its interval and for more than 5 s."""
    waits_for: str
    """Why what is due waits; empty when it does not."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailedPublishReport:
    """The last try to publish a volume that is not there yet: its pod waits in ContainerCreating."""

    namespace: str
    pod: str
    class_name: str
    seconds_ago: float
    error: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumesReport:
    """All volumes. None: nobody told."""

    count: int | None
    adopted: int | None
    failing: int | None
    late: int | None
    """Volumes that are late, those that fail among them."""
    unknown: int | None
    """Mounts that may be volumes and of which the driver knows nothing until their next publish."""
    unpublished: int | None
    """Volumes whose publish failed in the last minutes, and that are not there yet. They are in no other number."""
    last_failed_publish: FailedPublishReport | None
    """The last of those tries; None also when there is none."""
    oldest_success_seconds_ago: float | None
    """None also when no volume has had a success that this driver knows of."""
    trouble: str
    """Why they could not be listed; empty when `items` are all of them."""
    items: tuple[VolumeReport, ...]
    """The failing ones first, the longest failing before the others; then the others, those due the longest first."""


def report_volumes(observation: Observation, facts: Mapping[str, str]) -> VolumesReport:
    """The list, or the node room's own `facts` about it where there is none."""
    seen = observation.volumes
    unpublished = count(facts.get("volumes_whose_publish_fails"))
    last_failed = _last_failed_publish(observation, facts)
    if not isinstance(seen, SeenVolumes):
        return VolumesReport(
            count=count(facts.get("volumes")),
            adopted=count(facts.get("volumes_adopted")),
            failing=count(facts.get("volumes_whose_last_refresh_failed")),
            late=count(facts.get("volumes_late")),
            unknown=None,
            unpublished=unpublished,
            last_failed_publish=last_failed,
            oldest_success_seconds_ago=None,
            trouble=_unlisted_because(seen, observation.timeout_seconds),
            items=(),
        )
    items = sorted(
        (_volume(volume, observation.time) for volume in seen.volumes),
        key=lambda item: (
            not item.failing,
            -(failing_seconds(item, observation.time) if item.failing else overdue_seconds(item)),
            -_age(item),
            item.namespace,
            item.pod,
            item.target_path,
        ),
    )
    successes = [item.last_success_seconds_ago for item in items]
    return VolumesReport(
        count=len(items),
        adopted=sum(item.adopted for item in items),
        failing=sum(item.failing for item in items),
        late=sum(item.late for item in items),
        unknown=seen.unknown,
        unpublished=unpublished,
        last_failed_publish=last_failed,
        oldest_success_seconds_ago=max((age for age in successes if age is not None), default=None),
        trouble="",
        items=tuple(items),
    )


def _last_failed_publish(observation: Observation, facts: Mapping[str, str]) -> FailedPublishReport | None:
    at = moment(facts.get("last_failed_publish_time"))
    if at is None:
        return None
    return FailedPublishReport(
        namespace=facts.get("last_failed_publish_namespace", ""),
        pod=facts.get("last_failed_publish_pod", ""),
        class_name=facts.get("last_failed_publish_class", ""),
        seconds_ago=observation.time - at,
        error=facts.get("last_failed_publish_error", ""),
    )


def _unlisted_because(silence: Silence, timeout_seconds: float) -> str:
    return {
        Silence.NO_SOCKET: f"there is no {NODE_SOCKET}",
        Silence.REFUSED: f"nobody listens on {NODE_SOCKET}",
        Silence.HANGING: f"no list within {timeout_seconds:g} s, it is busy or stuck",
        Silence.FORBIDDEN: "only root may list them",
    }[silence]


def _volume(volume: SeenVolume, now: float) -> VolumeReport:
    # Of an adopted one nobody knows how old it is: it is due since it was found.
    due_time = max(volume.due_time, volume.last_attempt_time) if volume.adopted else volume.due_time
    is_ever_due = volume.due_time > 0 and volume.refresh_interval >= 0
    return VolumeReport(
        namespace=volume.pod_namespace,
        pod=volume.pod_name,
        class_name=volume.class_name,
        provider=volume.provider,
        target_path=volume.target_path,
        adopted=volume.adopted,
        failing=bool(volume.last_error),
        last_success_seconds_ago=now - volume.last_success_time if volume.last_success_time else None,
        last_attempt_seconds_ago=now - volume.last_attempt_time if volume.last_attempt_time else None,
        last_error=volume.last_error,
        failure_reason=volume.failure_reason,
        failing_since=volume.failing_since or None,
        refresh_interval_seconds=max(volume.refresh_interval, -1.0),
        due_seconds_ago=now - due_time if is_ever_due else None,
        due=is_ever_due and now >= due_time,
        late=is_ever_due and is_late(due_time, interval=volume.refresh_interval, now=now),
        waits_for=volume.waits_for,
    )


def failing_seconds(item: VolumeReport, now: float) -> float:
    """For how long no refresh has succeeded; infinite when none ever did and nobody told since when."""
    return _age(item) if item.failing_since is None else now - item.failing_since


def overdue_seconds(item: VolumeReport) -> float:
    """For how long a late volume has been due; 0 for the others."""
    return item.due_seconds_ago or 0.0 if item.late else 0.0


def is_stuck(item: VolumeReport) -> bool:
    """Whether it is late by more than a whole interval, and by more than kubelet's next call explains."""
    return overdue_seconds(item) > max(item.refresh_interval_seconds, _PATIENCE_SECONDS)


def _age(item: VolumeReport) -> float:
    return float("inf") if item.last_success_seconds_ago is None else item.last_success_seconds_ago


def volume_reasons(observation: Observation, volumes: VolumesReport, *, node_is_well: bool) -> Iterator[str]:
    """What somebody has to see to."""
    if volumes.failing:
        longest = failing_seconds(volumes.items[0], observation.time) if volumes.items else float("inf")
        since = f", the longest for {age_text(longest)}" if longest < float("inf") else ""
        yield f"the last refresh of {volumes.failing} of {counted(volumes.count or 0, 'volume')} failed{since}"
    stuck = [item for item in volumes.items if not item.failing and is_stuck(item)]
    if stuck:
        why = f": it waits for {stuck[0].waits_for}" if stuck[0].waits_for else ""
        yield (
            f"the refresh of {len(stuck)} of {counted(volumes.count or 0, 'volume')} does not come, the oldest due for "
            f"{age_text(overdue_seconds(stuck[0]))}{why}"
        )
    # node's own count is as good for the verdict of one who may not list them.
    if volumes.trouble and node_is_well and observation.volumes is not Silence.FORBIDDEN:
        yield f"node does not list its volumes: {volumes.trouble}"
