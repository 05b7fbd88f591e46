"""The end of the screen: the volumes that have an error, those with the same one together, and those that are late."""

from collections.abc import Iterator, Sequence

from sscsi.cli.status_layout import DETAILED, wrap
from sscsi.cli.status_units import age_text, counted
from sscsi.cli.status_volumes import VolumeReport, VolumesReport, overdue_seconds
from sscsi.core.go_values import format_duration

# `--json` has all of them.
SHOWN_ERRORS = 8
_SHOWN_PODS = 3
_SHOWN_LATE = 5


def failing_volumes(volumes: VolumesReport, now: float) -> Iterator[str]:
    """Each error of a last refresh, that of the volume that fails the longest first; `now` as in the report."""
    groups: dict[str, list[VolumeReport]] = {}
    for item in volumes.items:
        if item.failing:
            groups.setdefault(item.last_error, []).append(item)
    if not groups:
        return
    yield "Volumes whose last refresh failed; their pods have the content of the last success:"
    for rank, (error, items) in enumerate(list(groups.items())[:SHOWN_ERRORS]):
        if rank < DETAILED:
            yield from wrap("  ", _one(items[0], now) if len(items) == 1 else _several(items, now), rank=rank)
            yield from wrap("      ", error, rank=rank)
        else:
            more = f" and {len(items) - 1} more" if len(items) > 1 else ""
            yield from wrap("  ", f"{_pod(items[0])}, class {items[0].class_name}{more}: {error}", rank=rank)
    hidden = sum(map(len, list(groups.values())[SHOWN_ERRORS:]))
    if hidden:
        yield f"  and {counted(hidden, 'volume')} more (--json has all)"


def _one(item: VolumeReport, now: float) -> str:
    age = item.last_success_seconds_ago
    success = "no success yet" if age is None else f"last success {age_text(age)} ago"
    tried = item.last_attempt_seconds_ago
    attempt = "" if tried is None else f", last tried {age_text(tried)} ago"
    return f"{_pod(item)}, class {item.class_name}: {_failing(item, now)}{success}{attempt}"


def _several(items: Sequence[VolumeReport], now: float) -> str:
    ages = [item.last_success_seconds_ago for item in items]
    known = [age for age in ages if age is not None]
    some = f"the oldest success {age_text(max(known))} ago" if known else "no success yet"
    success = f"{len(ages) - len(known)} without a success yet" if known and len(known) < len(ages) else some
    failing = _failing(items[0], now)
    longest = f"the longest {failing}" if items[0].failing_since is not None else failing
    more = len(items) - _SHOWN_PODS
    pods = ", ".join(map(_pod, items[:_SHOWN_PODS])) + (f" and {more} more" if more > 0 else "")
    return f"{counted(len(items), 'volume')}, {longest}{success}: {pods}"


def _failing(item: VolumeReport, now: float) -> str:
    """Since when, and why in one word, as far as it is known."""
    reason = f" ({item.failure_reason})" if item.failure_reason else ""
    if item.failing_since is None:
        return f"failing{reason}, " if reason else ""
    return f"failing for {age_text(now - item.failing_since)}{reason}, "


def late_volumes(volumes: VolumesReport) -> Iterator[str]:
    """Volumes that are late without a failure, those due the longest first, and what they wait for."""
    items = [item for item in volumes.items if item.late and not item.failing]
    if not items:
        return
    yield "Volumes whose refresh is late; nothing failed:"
    for item in items[:_SHOWN_LATE]:
        waits = f"; it waits for {item.waits_for}" if item.waits_for else ""
        interval = format_duration(item.refresh_interval_seconds)
        text = f"{_pod(item)}, class {item.class_name}: due for {age_text(overdue_seconds(item))}, every {interval}{waits}"
        yield from wrap("  ", text, rank=0)
    if len(items) > _SHOWN_LATE:
        yield f"  and {counted(len(items) - _SHOWN_LATE, 'volume')} more (--json has all)"


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
