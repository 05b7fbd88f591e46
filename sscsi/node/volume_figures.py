"""What the metrics page tells of the volumes that are there, counted anew for each page.

Label values are those of volumes that are present: a namespace or a class that no volume has any more is not shown.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from sscsi.core import lateness
from sscsi.core.prometheus import Family, gauge

ClassKey = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFigures:
    """One volume. Times in seconds since the epoch, 0 where they are unknown.

    `interval_seconds`: 0 for "whenever kubelet asks", negative for "never again". `due_time`: 0 for never.
    """

    namespace: str
    class_name: str
    provider: str
    success_time: float
    interval_seconds: float
    due_time: float
    is_failing: bool


def is_due(volume: VolumeFigures, now: float) -> bool:
    """Whether its content is to be fetched again."""
    return volume.due_time > 0 and now >= volume.due_time


def is_late(volume: VolumeFigures, now: float) -> bool:
    """Whether it has been due for so long that somebody should look."""
    return lateness.is_late(volume.due_time, interval=volume.interval_seconds, now=now)


def volume_families(volumes: Sequence[VolumeFigures], now: float) -> list[Family]:
    """The gauges. `now` in seconds since the epoch; an age is at least 0, also when the clock was set back."""
    oldest: dict[ClassKey, float] = {}
    smallest: dict[ClassKey, float] = {}
    failing: dict[ClassKey, int] = {}
    for volume in volumes:
        key = (volume.namespace, volume.class_name)
        failing[key] = failing.get(key, 0) + volume.is_failing
        if volume.success_time > 0:
            oldest[key] = min(oldest.get(key, now), volume.success_time)
        if volume.interval_seconds > 0:
            smallest[key] = min(smallest.get(key, volume.interval_seconds), volume.interval_seconds)
    by_provider = Counter(volume.provider for volume in volumes)
    return [
        gauge("sscsi_volumes", "Published volumes on the node.", [({}, len(volumes))]),
        gauge(
            "sscsi_provider_volumes",
            "Published volumes on the node, by provider.",
            [({"provider": provider}, count) for provider, count in sorted(by_provider.items())],
        ),
        gauge(
            "sscsi_volumes_due",
            "Volumes whose content is to be fetched again by now.",
            [({}, sum(is_due(volume, now) for volume in volumes))],
        ),
        gauge(
            "sscsi_volumes_late",
            "Volumes that have been due for more than a tenth of their interval, and for more than 5 s.",
            [({}, sum(is_late(volume, now) for volume in volumes))],
        ),
        gauge(
            "sscsi_volumes_failing",
            "Volumes whose last attempt to fetch the content failed; they keep the content they have.",
            [({}, sum(volume.is_failing for volume in volumes))],
        ),
        _by_class(
            "sscsi_oldest_content_age_seconds",
            "How long ago the content of the class's volumes was last known to be the provider's: the oldest of them.",
            {key: now - time for key, time in oldest.items()},
        ),
        _by_class(
            "sscsi_refresh_interval_seconds",
            "How often the content of the class's volumes is fetched: the shortest interval of them.",
            smallest,
        ),
        _by_class(
            "sscsi_class_failing_volumes",
            "Volumes of the class whose last attempt to fetch the content failed.",
            failing,
        ),
    ]


def unpublished_family(count: int) -> Family:
    """How many volumes can't be published: unlike a count of failed calls, it is over when the pods have what they need."""
    return gauge(
        "sscsi_volumes_unpublished",
        "Volumes whose last publish failed, in the last five minutes, and that are not there: their pods wait.",
        [({}, count)],
    )


def circuit_families(states: Mapping[str, bool]) -> list[Family]:
    """Whether a provider is asked only now and then because it failed so often, by its name."""
    return [
        gauge(
            "sscsi_provider_circuit_open",
            "Whether the provider failed so often that it is asked only now and then.",
            [({"provider": provider}, float(is_open)) for provider, is_open in sorted(states.items())],
        )
    ]


def health_families(states: Mapping[str, bool]) -> list[Family]:
    """What --provider-health-check found, by the provider's name; nothing without it."""
    return [
        gauge(
            "sscsi_provider_healthy",
            "Whether the provider answered when it was last asked for its version (--provider-health-check).",
            [({"provider": provider}, float(answers)) for provider, answers in sorted(states.items())],
        )
    ]


def _by_class(name: str, about: str, values: Mapping[ClassKey, float]) -> Family:
    return gauge(
        name,
        about,
        [
            ({"namespace": namespace, "class": class_name}, value)
            for (namespace, class_name), value in sorted(values.items())
        ],
    )
