"""From passes to figures: medians of rounds, ratios of what ran side by side, and targets."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence

from tests.bench.passes import Case, Operation, Pass

TARGET_RATIO = 1.3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SideFigures:
    """One side in one case. Medians of rounds, but p99: that is of all operations of all rounds together."""

    publish_p50_ms: float
    publish_p99_ms: float
    publishes_per_second: float
    unpublish_p50_ms: float
    unpublish_p99_ms: float
    unpublishes_per_second: float
    cpu_publish_ms: float
    cpu_both_ms: float
    cpu_both_ms_by_process: dict[str, float]
    client_cpu_publish_ms: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """How much the driver costs for 1 of the floor's; below 1.3 is the aim, for rates too. Medians of rounds."""

    publish_p50: float
    publish_p99: float
    publish_rate: float
    unpublish_p50: float
    unpublish_p99: float
    unpublish_rate: float
    cpu_publish: float
    cpu_both: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CaseFigures:
    """One case."""

    case: Case
    floor: SideFigures
    driver: SideFigures
    ratios: Ratios


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One ratio that has an aim."""

    what: str
    ratio: float

    @property
    def met(self) -> bool:
        return self.ratio <= TARGET_RATIO


def case_figures(case: Case, pairs: Sequence[tuple[Pass, Pass]]) -> CaseFigures:
    """The figures of a case from its (floor, driver) pairs."""
    floor = _side_figures([pair[0] for pair in pairs])
    driver = _side_figures([pair[1] for pair in pairs])

    def ratio(value: Callable[[Pass], float]) -> float:
        return statistics.median(value(ours) / value(theirs) for theirs, ours in pairs)

    return CaseFigures(
        case=case,
        floor=floor,
        driver=driver,
        ratios=Ratios(
            publish_p50=ratio(lambda each: _p50_ms(each.publish)),
            publish_p99=driver.publish_p99_ms / floor.publish_p99_ms,
            publish_rate=ratio(lambda each: 1 / _rate(each.publish)),
            unpublish_p50=ratio(lambda each: _p50_ms(each.unpublish)),
            unpublish_p99=driver.unpublish_p99_ms / floor.unpublish_p99_ms,
            unpublish_rate=ratio(lambda each: 1 / _rate(each.unpublish)),
            cpu_publish=ratio(lambda each: _cpu_ms(each.publish)),
            cpu_both=ratio(lambda each: _cpu_ms(each.publish) + _cpu_ms(each.unpublish)),
        ),
    )


def targets(figures: Sequence[CaseFigures]) -> list[Target]:
    """The aims of the project, with what was reached."""
    found = []
    for each in figures:
        if each.case.in_flight == 1:
            found += [
                Target(what=f"publish p50, {each.case.name}", ratio=each.ratios.publish_p50),
                Target(what=f"unpublish p50, {each.case.name}", ratio=each.ratios.unpublish_p50),
            ]
        if each.case.in_flight == 100:
            found.append(Target(what=f"publishes/s, {each.case.name}", ratio=each.ratios.publish_rate))
        found.append(
            Target(what=f"CPU per publish + unpublish, {each.case.name}", ratio=each.ratios.cpu_both)
        )
    return sorted(found, key=lambda target: target.what.partition(",")[0])


def _side_figures(passes: Sequence[Pass]) -> SideFigures:
    def median(value: Callable[[Pass], float]) -> float:
        return statistics.median(value(each) for each in passes)

    def cpu_of(name: str) -> float:
        return median(
            lambda each: (
                1000
                * (each.publish.cpu_seconds[name] + each.unpublish.cpu_seconds[name])
                / each.publish.volumes
            )
        )

    return SideFigures(
        publish_p50_ms=median(lambda each: _p50_ms(each.publish)),
        publish_p99_ms=_p99_ms([each.publish for each in passes]),
        publishes_per_second=median(lambda each: _rate(each.publish)),
        unpublish_p50_ms=median(lambda each: _p50_ms(each.unpublish)),
        unpublish_p99_ms=_p99_ms([each.unpublish for each in passes]),
        unpublishes_per_second=median(lambda each: _rate(each.unpublish)),
        cpu_publish_ms=median(lambda each: _cpu_ms(each.publish)),
        cpu_both_ms=median(lambda each: _cpu_ms(each.publish) + _cpu_ms(each.unpublish)),
        cpu_both_ms_by_process={name: cpu_of(name) for name in passes[0].publish.cpu_seconds},
        client_cpu_publish_ms=median(
            lambda each: 1000 * each.publish.timings.client_cpu_seconds / each.publish.volumes
        ),
    )


def _p50_ms(operation: Operation) -> float:
    """NaN when nothing succeeded."""
    return 1000 * statistics.median(operation.timings.seconds or [math.nan])


def _p99_ms(operations: Sequence[Operation]) -> float:
    seconds = sorted(value for operation in operations for value in operation.timings.seconds)
    return 1000 * seconds[min(len(seconds) - 1, math.ceil(len(seconds) * 0.99) - 1)] if seconds else math.nan


def _rate(operation: Operation) -> float:
    return len(operation.timings.seconds) / operation.timings.wall_seconds or math.nan


def _cpu_ms(operation: Operation) -> float:
    return 1000 * sum(operation.cpu_seconds.values()) / operation.volumes
