"""Nodes under refreshes, beside each other: each lane is one node with its status-sync and its provider.

A lane is a generator that gives way while it waits, so that one thread carries all of them on. They begin a part of the
interval apart: the rounds of refreshes of one fall into the rest of the others.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from tests.bench.errors import BenchError
from tests.bench.kubelet_client import Timings
from tests.bench.processes import Process, pause
from tests.bench.refresh_figures import (
    Key,
    answers,
    are_all_answered,
    by_class,
    by_volume,
    gaps,
    lateness,
    most_in,
    needed_burst,
    oldest,
    percentiles,
)
from tests.bench.refresh_found import Load, Republished, Rest, Shared, Storm, Throttled
from tests.bench.sides import Side
from tests.bench.store import Store
from tests.bench.volumes import Content, Volume, make_volumes

Wait = Generator[None, None, None]

REFUSED_SHARE = 0.5
RATE_HEADROOM = 6
"""The bucket of the throttled lane lets so many times the calls through that are needed when none fails."""
_IN_FLIGHT = 8
_LOOK_SECONDS = 0.1
_SETTLED_SECONDS = 1.0
# Kubelet goes over its volumes in 60 to 90 s: 75, for an interval of 60.
_REPUBLISH_INTERVALS = 1.25
_WINDOW_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node with its status-sync, and the provider that it asks for the volumes of `contents`."""

    side: Side
    store: Store
    contents: Sequence[Content]


class Writes(Protocol):
    """What status-sync wrote to the API, as the API server has it."""

    def since(self, at: float) -> int:
        """Writes that came at `at` (time.time()) or later."""

    def has(self, volumes: Sequence[Volume]) -> bool:
        """Whether there are status objects of these volumes, and no others."""


def storm(node: Node, load: Load, *, writes: Writes | None, delay: float) -> Generator[None, None, Storm]:
    """Rest, then a change right after a round, the worst moment, and then kubelet's republishes."""
    yield from _wait(delay)
    volumes, timings = _publish(node, load)
    rest = yield from _rest(node, volumes, load, by_volume, writes)
    paths = [volume.target_path for volume in volumes]
    yield from _round(node.store, by_volume, paths, load)
    visible, changed_at = yield from _change(node.store, paths, load)
    republished, errors = yield from _republish(node, volumes, load)
    return Storm(
        rest=rest,
        visible=percentiles(visible),
        change_writes=None if writes is None else writes.since(changed_at),
        republished=republished,
        errors=timings.errors + errors,
    )


def shared(node: Node, load: Load, *, delay: float) -> Generator[None, None, Shared]:
    """Rest, of classes that share their calls; one round more, since lateness is told from the second on."""
    yield from _wait(delay)
    volumes, timings = _publish(node, load)
    longer = dataclasses.replace(load, rounds=load.rounds + 1)
    rest = yield from _rest(node, volumes, longer, by_class, None)
    return Shared(rest=rest, errors=timings.errors)


def throttled(node: Node, load: Load, *, delay: float) -> Generator[None, None, Throttled]:
    """Half of all calls are refused, from right after the publishes on."""
    idle = yield from _cpu_per_minute(node.side, delay)
    volumes, timings = _publish(node, load)
    paths = {volume.target_path for volume in volumes}
    node.store.refuse(REFUSED_SHARE)
    begun = time.monotonic()
    yield from _wait((load.rounds + 1) * load.interval)
    ended = time.monotonic()
    calls = [call for call in node.store.calls() if call.target_path in paths]
    later = [call.begun for call in calls if call.begun >= begun]
    return Throttled(
        seconds=ended - begun,
        oldest=oldest(answers(calls, by_volume), ended),
        calls=len(later),
        succeeded=sum(call.succeeded for call in calls if call.begun >= begun),
        rate=bucket_rate(load),
        needed_burst=needed_burst(later, bucket_rate(load)),
        most=most_in(later, _WINDOW_SECONDS),
        idle_cpu_per_minute=idle,
        errors=timings.errors,
    )


def bucket_rate(load: Load) -> int:
    """--max-refreshes-per-second of the throttled lane."""
    return round(RATE_HEADROOM * load.volumes / load.interval)


def carry_on(lanes: Sequence[Generator[None, None, object]], processes: Sequence[Process]) -> list[object]:
    """Carry all lanes on to their ends; their results, in their order. Raises BenchError when a process ends."""
    results: dict[int, object] = {}
    while len(results) < len(lanes):
        for number, lane in enumerate(lanes):
            if number not in results:
                try:
                    next(lane)
                except StopIteration as end:
                    results[number] = end.value
        for process in processes:
            process.check_alive()
        pause(_LOOK_SECONDS / 2)
    return [results[number] for number in range(len(lanes))]


def _publish(node: Node, load: Load) -> tuple[list[Volume], Timings]:
    """All volumes, class by class, as kubelet does when a node comes up. Raises BenchError when one is not there."""
    side, each = node.side, load.volumes // len(node.contents)
    volumes = [
        volume for content in node.contents for volume in make_volumes(side.kubelet_root, content, each)
    ]
    timings = side.kubelet.publish(volumes, in_flight=_IN_FLIGHT)
    if timings.errors:
        raise BenchError(f"{side.name} cannot publish: {timings.errors[:3]}")
    return volumes, timings


def _rest(
    node: Node, volumes: Sequence[Volume], load: Load, key: Key, writes: Writes | None
) -> Generator[None, None, Rest]:
    """Whole intervals, which begin between two rounds."""
    published = time.monotonic()
    if writes is not None:
        yield from _until("the status objects", lambda: writes.has(volumes), load, every=_SETTLED_SECONDS)
    yield from _wait(published + load.interval / 2 - time.monotonic())
    begun, at = time.monotonic(), time.time()
    cpu = yield from _cpu_per_minute(node.side, load.rounds * load.interval)
    ended = time.monotonic()
    written = None if writes is None else writes.since(at)
    calls = node.store.calls()
    # Of shared calls the publishes' own are left out: each of them served a few.
    counted = calls if key is by_volume else [call for call in calls if call.begun >= begun]
    return Rest(
        seconds=ended - begun,
        cpu_per_minute=cpu,
        calls_per_interval=load.interval
        * sum(begun <= call.begun < ended for call in calls)
        / (ended - begun),
        lateness=percentiles(lateness(answers(counted, key), load.interval)),
        writes=written,
    )


def _round(store: Store, key: Key, names: Sequence[str], load: Load) -> Wait:
    """Until each has been fetched once more, that is to the end of the coming round."""
    since = time.monotonic()
    yield from _until(
        "a round of refreshes",
        lambda: are_all_answered(store.calls(), key, names, times=1, since=since),
        load,
    )


def _change(
    store: Store, paths: Sequence[str], load: Load
) -> Generator[None, None, tuple[list[float], float]]:
    """How long after the change each volume showed it, and when it was (time.time())."""
    at = time.time()
    changed = store.change()
    waiting, seen = list(paths), list[float]()

    def all_show() -> bool:
        shown = [path for path in waiting if store.shows_change(path)]
        seen.extend([time.monotonic() - changed] * len(shown))
        waiting[:] = [path for path in waiting if path not in set(shown)]
        return not waiting

    yield from _until("the change in every volume", all_show, load, every=_LOOK_SECONDS)
    return seen, at


def _republish(
    node: Node, volumes: Sequence[Volume], load: Load
) -> Generator[None, None, tuple[Republished, list[str]]]:
    """Each volume once, evenly over kubelet's own time."""
    begun, errors = time.monotonic(), list[str]()
    seconds = _REPUBLISH_INTERVALS * load.interval
    for number, volume in enumerate(volumes):
        yield from _wait(begun + seconds * number / len(volumes) - time.monotonic())
        errors += node.side.kubelet.publish([volume], in_flight=1).errors
    yield from _wait(begun + seconds - time.monotonic())
    calls = node.store.calls()
    lately = [call for call in calls if call.ended >= begun - load.interval]
    return Republished(
        seconds=time.monotonic() - begun,
        republished=len(volumes),
        calls=sum(call.begun >= begun for call in calls),
        shortest_gap=min(gaps(answers(lately, by_volume)), default=math.nan),
    ), errors


def _until(what: str, fact: Callable[[], bool], load: Load, *, every: float = _LOOK_SECONDS) -> Wait:
    """Look so often. Raises BenchError when it does not come true in some intervals."""
    deadline = time.monotonic() + 4 * load.interval + 60
    while not fact():
        if time.monotonic() > deadline:
            raise BenchError(f"not in time: {what}")
        yield from _wait(every)


def _wait(seconds: float) -> Wait:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def _cpu_per_minute(side: Side, seconds: float) -> Generator[None, None, dict[str, float]]:
    """CPU seconds of each process in `seconds` from now on, per minute."""
    before, begun = _cpu(side), time.monotonic()
    yield from _wait(seconds)
    minutes = (time.monotonic() - begun) / 60
    return {name: (value - before[name]) / minutes for name, value in _cpu(side).items()}


def _cpu(side: Side) -> dict[str, float]:
    return {process.name: process.cpu_seconds() for process in side.processes}
