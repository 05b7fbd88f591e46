"""The volumes of the node: how many, and which of them no longer follow their source. Pure."""

import dataclasses
from collections.abc import Iterator, Mapping

from sscsi.cli.status_facts import count, moment
from sscsi.cli.status_observation import Observation, SeenVolume, SeenVolumes, Silence
from sscsi.cli.status_units import age_text, counted
from sscsi.core.run_files import NODE as NODE_SOCKET


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
    unknown: int | None
    """Mounts that may be volumes and of which the driver knows nothing until their next publish."""
    unpublished: int | None
    """Volumes whose publish failed in the last minutes, and that are not there yet. They are in no other number."""
    last_failed_publish: FailedPublishReport | None
    """The last of those tries; None also when there is none."""
    trouble: str
    """Why they could not be listed; empty when `items` are all of them."""
    items: tuple[VolumeReport, ...]
    """The failing ones first, the longest without a success before the others."""


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
            unknown=None,
            unpublished=unpublished,
            last_failed_publish=last_failed,
            trouble=_unlisted_because(seen, observation.timeout_seconds),
            items=(),
        )
    items = sorted(
        (_volume(volume, observation.time) for volume in seen.volumes),
        key=lambda item: (not item.failing, -_age(item), item.namespace, item.pod, item.target_path),
    )
    return VolumesReport(
        count=len(items),
        adopted=sum(item.adopted for item in items),
        failing=sum(item.failing for item in items),
        unknown=seen.unknown,
        unpublished=unpublished,
        last_failed_publish=last_failed,
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
    )


def _age(item: VolumeReport) -> float:
    return float("inf") if item.last_success_seconds_ago is None else item.last_success_seconds_ago


def volume_reasons(observation: Observation, volumes: VolumesReport, *, node_is_well: bool) -> Iterator[str]:
    """What somebody has to see to."""
    if volumes.failing:
        oldest = volumes.items[0].last_success_seconds_ago if volumes.items else None
        since = f", the longest for {age_text(oldest)}" if oldest is not None else ""
        yield f"the last refresh of {volumes.failing} of {counted(volumes.count or 0, 'volume')} failed{since}"
    # node's own count is as good for the verdict of one who may not list them.
    if volumes.trouble and node_is_well and observation.volumes is not Silence.FORBIDDEN:
        yield f"node does not list its volumes: {volumes.trouble}"
