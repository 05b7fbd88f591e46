"""Timed passes: publish a number of volumes, unpublish them, and say what it took."""

import dataclasses
from collections.abc import Sequence

from tests.bench.kubelet_client import Timings
from tests.bench.processes import Process, settle
from tests.bench.sides import Side
from tests.bench.volumes import Content, Volume, make_volumes, remove_directories


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the report. `volumes` are published in one pass."""

    content: Content
    in_flight: int
    volumes: int

    @property
    def name(self) -> str:
        return f"{self.content.name}, {self.in_flight} in flight"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Publishing, or unpublishing, all volumes of a pass.

    `cpu_seconds` is by process of the driver, and includes what it did after its last answer.
    """

    timings: Timings
    cpu_seconds: dict[str, float]
    volumes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass of one case on one side."""

    publish: Operation
    unpublish: Operation

    @property
    def errors(self) -> list[str]:
        return self.publish.timings.errors + self.unpublish.timings.errors


def run_pass(side: Side, case: Case) -> Pass:
    """Publish and unpublish once. The driver is at rest before, and again after."""
    volumes = make_volumes(side.kubelet_root, case.content, case.volumes)
    publish = _measure(side, volumes, case, publishing=True)
    unpublish = _measure(side, volumes, case, publishing=False)
    if not unpublish.timings.errors:
        remove_directories(volumes)
    return Pass(publish=publish, unpublish=unpublish)


def run_rounds(
    sides: tuple[Side, Side], cases: Sequence[Case], rounds: int
) -> dict[Case, list[tuple[Pass, Pass]]]:
    """All cases, round after round; the sides take turns in going first.

    Each pair of passes ran within the same seconds, so that a noisy machine is as noisy for both.
    """
    results: dict[Case, list[tuple[Pass, Pass]]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in cases:
            first, second = sides if number % 2 == 0 else sides[::-1]
            pair = run_pass(first, case), run_pass(second, case)
            results[case].append(pair if number % 2 == 0 else pair[::-1])
    return results


def _measure(side: Side, volumes: Sequence[Volume], case: Case, *, publishing: bool) -> Operation:
    before = _cpu(side.processes)
    operation = side.kubelet.publish if publishing else side.kubelet.unpublish
    timings = operation(volumes, in_flight=case.in_flight)
    settle(side.processes)
    after = _cpu(side.processes)
    return Operation(
        timings=timings,
        cpu_seconds={name: after[name] - before[name] for name in after},
        volumes=len(volumes),
    )


def _cpu(processes: Sequence[Process]) -> dict[str, float]:
    return {process.name: process.cpu_seconds() for process in processes}
