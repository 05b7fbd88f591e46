"""What the benchmark says of refreshes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.refresh_burst import Starts, Together
from tests.bench.refresh_cost import PublishCost
from tests.bench.refresh_figures import Percentiles
from tests.bench.refresh_found import Load, Rest, Shared, Storm, Throttled
from tests.bench.refresh_lanes import REFUSED_SHARE

TITLE = "refreshes of content while pods run"
# Issue 6: a change is visible within the interval and a tenth; no content is two intervals old.
VISIBLE_RATIO, OLDEST_RATIO = 1.10, 2.0
# Calls come a little closer together than they were let through: a twentieth is the way's.
_BUCKET_RATIO = 1.05
NO_API = "no kube-apiserver here (set KUBEBUILDER_ASSETS): classes are of a directory, and API writes are not counted"
_NAME_WIDTH = 58
_WIDTH = 13


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTarget:
    """One ratio that has an aim."""

    what: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RefreshReport:
    """All that was found."""

    load: Load
    provider_seconds: float
    has_api: bool
    storm: Storm
    shared: Shared
    throttled: Throttled
    starts: Starts
    cost: PublishCost

    @property
    def errors(self) -> list[str]:
        return self.storm.errors + self.shared.errors + self.throttled.errors + self.cost.errors

    @property
    def targets(self) -> list[RefreshTarget]:
        interval, rate = self.load.interval, self.throttled.rate
        found = [
            RefreshTarget(
                what="change visible in the volume, p99, in intervals",
                value=self.storm.visible.p99 / interval,
                limit=VISIBLE_RATIO,
            ),
            RefreshTarget(
                what="provider refuses half: oldest content, in intervals",
                value=self.throttled.oldest / interval,
                limit=OLDEST_RATIO,
            ),
            RefreshTarget(
                what="provider refuses half: burst its calls took, of the bucket's",
                value=self.throttled.needed_burst / rate,
                limit=_BUCKET_RATIO,
            ),
            RefreshTarget(
                what="calls with kubelet's republishes, for one without",
                value=self.storm.republished.calls / self.load.volumes,
                limit=1.0,
            ),
            RefreshTarget(
                what="calls per class and interval, shared",
                value=self.shared.rest.calls_per_interval / self.load.classes,
                limit=1.0,
            ),
            RefreshTarget(
                what="pods that start together: calls, shared",
                value=self.starts.shared.calls,
                limit=1.0,
            ),
        ]
        if self.storm.rest.writes is not None:
            found.append(
                RefreshTarget(what="API writes at rest", value=float(self.storm.rest.writes), limit=0.0)
            )
        return found

    def document(self) -> dict[str, Any]:
        """Seconds, counts, and ratios to the interval."""
        return {
            "load": dataclasses.asdict(self.load),
            "provider_seconds": self.provider_seconds,
            "api_server": self.has_api,
            "targets": [
                {**dataclasses.asdict(target), "value": _number(target.value), "met": target.met}
                for target in self.targets
            ],
            "at_rest": _rest_document(self.storm.rest, self.load.interval),
            "at_rest_shared": _rest_document(self.shared.rest, self.load.interval),
            "visible": _percentiles(self.storm.visible, self.load.interval),
            "change_writes": self.storm.change_writes,
            "republished": {
                name: _number(value) for name, value in dataclasses.asdict(self.storm.republished).items()
            },
            "throttled": {
                **{k: v for k, v in dataclasses.asdict(self.throttled).items() if k != "errors"},
                "oldest_ratio": _number(self.throttled.oldest / self.load.interval),
            },
            "starts": {**dataclasses.asdict(self.starts), "ratio": _number(self.starts.ratio)},
            "publish_cost": {
                "audit_ratio": _number(self.cost.figures.ratios.publish_p50),
                "publish_p50_ms": _number(self.cost.figures.floor.publish_p50_ms),
                "audited_publish_p50_ms": _number(self.cost.figures.driver.publish_p50_ms),
                "counting_us": _number(1e6 * self.cost.counting_seconds),
                "counting_ratio": _number(self.cost.counting_ratio),
            },
        }

    def lines(self) -> list[str]:
        """For people."""
        load, rest, sharing = self.load, self.storm.rest, self.shared.rest
        return [
            f"{TITLE}: {load.volumes} volumes of {load.classes} classes, interval {load.interval:.0f} s",
            f"The provider answers in {1000 * self.provider_seconds:.0f} ms; {load.rounds} intervals at rest.",
            *([] if self.has_api else [NO_API]),
            "",
            _row("at rest, nothing changes", "each asks", "shared", "no volumes"),
            *(
                _row(f"CPU s per minute, {name}", *(f"{cpu[name]:.2f}" for cpu in self._cpu()))
                for name in rest.cpu_per_minute
            ),
            _row(
                "provider calls per interval",
                f"{rest.calls_per_interval:.0f}",
                f"{sharing.calls_per_interval:.1f}",
            ),
            _row("refreshes late by, s, p50", f"{rest.lateness.p50:.2f}", f"{sharing.lateness.p50:.2f}"),
            _row("refreshes late by, s, p99", f"{rest.lateness.p99:.2f}", f"{sharing.lateness.p99:.2f}"),
            _row("  that is, in intervals", _share(rest, load), _share(sharing, load)),
            _row("API writes", "-" if rest.writes is None else f"{rest.writes}", ""),
            "",
            *self._change_lines(),
            "",
            *self._throttled_lines(),
            "",
            *self._start_lines(),
            "",
            _row("publish, one in flight, p50 ms", "without", "with", "ratio"),
            _row(
                "audit log in a file",
                f"{self.cost.figures.floor.publish_p50_ms:.2f}",
                f"{self.cost.figures.driver.publish_p50_ms:.2f}",
                f"{self.cost.figures.ratios.publish_p50:.3f}",
            ),
            _row(
                "metrics: us to count one publish, and its part of p50",
                f"{1e6 * self.cost.counting_seconds:.1f}",
                "",
                f"{self.cost.counting_ratio:.4f}",
            ),
            "",
            *(
                f"target, at most {target.limit:g}: {target.what}: {target.value:.2f} "
                f"({'ok' if target.met else 'over'})"
                for target in self.targets
            ),
            "",
        ]

    def _change_lines(self) -> list[str]:
        visible, interval = self.storm.visible, self.load.interval
        again, writes = self.storm.republished, self.storm.change_writes
        return [
            _row("a change right after a round of refreshes", "p50", "p99", "longest"),
            _row("visible in the volume after, s", *(f"{value:.1f}" for value in _three(visible))),
            _row("  that is, in intervals", *(f"{value / interval:.2f}" for value in _three(visible))),
            _row(
                "  API writes for it, per volume",
                "-" if writes is None else f"{writes / self.load.volumes:.2f}",
            ),
            _row(
                f"kubelet republishes each volume once, in {again.seconds:.0f} s: calls per volume",
                f"{again.calls / self.load.volumes:.2f}",
            ),
            _row(
                "  shortest time between two calls of a volume, intervals",
                f"{again.shortest_gap / interval:.2f}",
            ),
        ]

    def _throttled_lines(self) -> list[str]:
        found, interval = self.throttled, self.load.interval
        return [
            f"provider refuses {100 * REFUSED_SHARE:.0f} % of all calls (RESOURCE_EXHAUSTED), for {found.seconds:.0f} s",
            _row("oldest content of any volume, in intervals", f"{found.oldest / interval:.2f}"),
            _row("calls, and of these succeeded", f"{found.calls}", f"{found.succeeded}"),
            _row(
                "calls per second, on average, and most in 10 s / 10",
                f"{found.calls / found.seconds:.1f}",
                f"{found.most / 10:.1f}",
            ),
            _row("bucket: calls a second", f"{found.rate:.0f}"),
            _row(
                "bucket: burst, and what the calls took of it",
                f"{found.rate:.0f}",
                f"{found.needed_burst:.0f}",
            ),
        ]

    def _start_lines(self) -> list[str]:
        return [
            _row(f"{self.starts.pods} pods of one Deployment at once", "each asks", "shared", "ratio"),
            _row("provider calls, median", *(f"{each.calls:.0f}" for each in self._starts())),
            _row("provider calls, most", *(f"{each.most_calls}" for each in self._starts())),
            _row(
                "all have their content after, s, median",
                *(f"{each.seconds:.2f}" for each in self._starts()),
                f"{self.starts.ratio:.2f}",
            ),
        ]

    def _cpu(self) -> Sequence[Mapping[str, float]]:
        """At rest, at rest with shared calls, and with nothing to do."""
        return (
            self.storm.rest.cpu_per_minute,
            self.shared.rest.cpu_per_minute,
            self.throttled.idle_cpu_per_minute,
        )

    def _starts(self) -> tuple[Together, Together]:
        return self.starts.apart, self.starts.shared


def _row(name: str, *cells: str) -> str:
    return f"{name:<{_NAME_WIDTH}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)


def _three(values: Percentiles) -> tuple[float, float, float]:
    return values.p50, values.p99, values.longest


def _share(rest: Rest, load: Load) -> str:
    return f"{rest.lateness.p99 / load.interval:.3f}"


def _rest_document(rest: Rest, interval: float) -> dict[str, Any]:
    return {
        "seconds": _number(rest.seconds),
        "cpu_seconds_per_minute": {name: _number(value) for name, value in rest.cpu_per_minute.items()},
        "calls_per_interval": _number(rest.calls_per_interval),
        "lateness": _percentiles(rest.lateness, interval),
        "api_writes": rest.writes,
    }


def _percentiles(values: Percentiles, interval: float) -> dict[str, Any]:
    return {
        **{name: _number(value) for name, value in dataclasses.asdict(values).items()},
        "p50_ratio": _number(values.p50 / interval),
        "p99_ratio": _number(values.p99 / interval),
    }


def _number(value: float) -> float | None:
    """None where nothing was measured: JSON has no NaN."""
    return round(value, 4) if math.isfinite(value) else None
