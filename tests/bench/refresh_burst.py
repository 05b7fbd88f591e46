"""The pods of one Deployment that start together: calls to the provider, and how long until all have their content."""

import dataclasses
import statistics
from collections.abc import Sequence

from tests.bench.errors import BenchError
from tests.bench.sides import Side
from tests.bench.store import Store
from tests.bench.volumes import Content, make_volumes, remove_directories


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Of one class, medians of rounds: calls to the provider, and seconds until all pods have answers."""

    calls: float
    most_calls: int
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """The same pods without and with shared calls."""

    pods: int
    apart: Together
    shared: Together

    @property
    def ratio(self) -> float:
        """Time with sharing for 1 without."""
        return self.shared.seconds / self.apart.seconds


def start_together(
    side: Side, store: Store, apart: Content, shared: Content, *, pods: int, rounds: int
) -> Starts:
    """Publish `pods` volumes at once, of the one class and of the other in turns. Raises BenchError."""
    found: dict[Content, list[tuple[int, float]]] = {apart: [], shared: []}
    for number in range(rounds):
        for content in (apart, shared) if number % 2 == 0 else (shared, apart):
            found[content].append(_start(side, store, content, pods))
    return Starts(pods=pods, apart=_together(found[apart]), shared=_together(found[shared]))


def _start(side: Side, store: Store, content: Content, pods: int) -> tuple[int, float]:
    volumes = make_volumes(side.kubelet_root, content, pods)
    before = len(store.calls())
    timings = side.kubelet.publish(volumes, in_flight=pods)
    calls = len(store.calls()) - before
    errors = timings.errors + side.kubelet.unpublish(volumes, in_flight=8).errors
    if errors:
        raise BenchError(f"pods of one Deployment: {errors[:3]}")
    remove_directories(volumes)
    return calls, timings.wall_seconds


def _together(rounds: Sequence[tuple[int, float]]) -> Together:
    return Together(
        calls=statistics.median(calls for calls, _ in rounds),
        most_calls=max(calls for calls, _ in rounds),
        seconds=statistics.median(seconds for _, seconds in rounds),
    )
