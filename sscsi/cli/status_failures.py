"""The end of the screen: the volumes that have an error, those with the same one together."""

from collections.abc import Iterator, Sequence

from sscsi.cli.status_layout import DETAILED, wrap
from sscsi.cli.status_units import age_text, counted
from sscsi.cli.status_volumes import VolumeReport, VolumesReport

# `--json` has all of them.
SHOWN_ERRORS = 8
_SHOWN_PODS = 3


def failing_volumes(volumes: VolumesReport) -> Iterator[str]:
    """Each error of a last refresh, that of the volume that fails the longest first."""
    groups: dict[str, list[VolumeReport]] = {}
    for item in volumes.items:
        if item.failing:
            groups.setdefault(item.last_error, []).append(item)
    if not groups:
        return
    yield "Volumes whose last refresh failed; their pods have the content of the last success:"
    for rank, (error, items) in enumerate(list(groups.items())[:SHOWN_ERRORS]):
        if rank < DETAILED:
            yield from wrap("  ", _one(items[0]) if len(items) == 1 else _several(items), rank=rank)
            yield from wrap("      ", error, rank=rank)
        else:
            more = f" and {len(items) - 1} more" if len(items) > 1 else ""
            yield from wrap("  ", f"{_pod(items[0])}, class {items[0].class_name}{more}: {error}", rank=rank)
    hidden = sum(map(len, list(groups.values())[SHOWN_ERRORS:]))
    if hidden:
        yield f"  and {counted(hidden, 'volume')} more (--json has all)"


def _one(item: VolumeReport) -> str:
    age = item.last_success_seconds_ago
    success = "no success yet" if age is None else f"last success {age_text(age)} ago"
    tried = item.last_attempt_seconds_ago
    attempt = "" if tried is None else f", last tried {age_text(tried)} ago"
    return f"{_pod(item)}, class {item.class_name}: {success}{attempt}"


def _several(items: Sequence[VolumeReport]) -> str:
    age = items[0].last_success_seconds_ago
    success = "the first without a success yet" if age is None else f"the oldest success {age_text(age)} ago"
    more = len(items) - _SHOWN_PODS
    pods = ", ".join(map(_pod, items[:_SHOWN_PODS])) + (f" and {more} more" if more > 0 else "")
    return f"{counted(len(items), 'volume')}, {success}: {pods}"


def _pod(item: VolumeReport) -> str:
    return f"{item.namespace}/{item.pod}"


def failed_publishes(volumes: VolumesReport) -> Iterator[str]:
    """Why a pod waits in ContainerCreating: the last try that failed, and how many others there are."""
    last = volumes.last_failed_publish
    if last is None:
        return
    yield "Volumes that can't be published; kubelet tries again, and tells it on the pod:"
    yield from wrap(
        "  ", f"{last.namespace}/{last.pod}, class {last.class_name}: tried {age_text(last.seconds_ago)} ago"
    )
    yield from wrap("      ", last.error, rank=0)
    if volumes.unpublished and volumes.unpublished > 1:
        yield f"  and {counted(volumes.unpublished - 1, 'volume')} more"
