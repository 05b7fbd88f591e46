"""What the benchmark says: a table to read and a JSON document to compare."""

import dataclasses
import datetime as dt
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench import whole_report
from tests.bench.api_report import ABSENT, ApiReport
from tests.bench.figures import TARGET_RATIO, CaseFigures, SideFigures, Target, targets
from tests.bench.memory import HeldVolumes, LargeAnswers
from tests.bench.refresh_report import RefreshReport
from tests.bench.volumes import Content
from tests.bench.whole_figures import WholeFigures

_MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DriverReport:
    """What was found of the driver beside the floor. `large` is by side; `stages` by content."""

    rounds: int
    names: tuple[str, str]
    cases: Sequence[CaseFigures]
    held: Mapping[str, HeldVolumes]
    after_rounds: Mapping[str, Mapping[str, int]]
    large_content: Content
    large: Mapping[str, LargeAnswers]
    stages: Mapping[str, Mapping[str, float]]
    errors: Sequence[str]

    def document(self) -> dict[str, Any]:
        """Milliseconds, bytes, and ratios to the floor."""
        return {
            "rounds": self.rounds,
            "cases": [_case_document(each, self.names) for each in self.cases],
            "targets": [
                {"what": each.what, "ratio": _round(each.ratio), "limit": TARGET_RATIO, "met": each.met}
                for each in targets(self.cases)
            ],
            "pss_bytes": {name: dataclasses.asdict(each) for name, each in self.held.items()},
            "pss_bytes_after_all_rounds": {name: dict(each) for name, each in self.after_rounds.items()},
            "large_answers": {
                "content": self.large_content.name,
                **{name: dataclasses.asdict(each) for name, each in self.large.items()},
            },
            "stage_ms": {
                content: {stage: _round(1000 * value) for stage, value in stages.items()}
                for content, stages in self.stages.items()
            },
        }

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"the driver beside the floor, {self.rounds} rounds",
            "A publish is three calls, each on a new connection; CPU is of the driver's processes, in ms.",
            "",
            *_case_lines(self.cases, self.names),
            "",
            *_target_lines(targets(self.cases)),
            "",
            *_stage_lines(self.stages),
            *_memory_lines(self.held, self.after_rounds),
            "",
            *_large_lines(self.large_content, self.large),
            "",
        ]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that one run found. `driver` is None, and `whole` empty, where that part was not asked for."""

    # One-minute load average before the run: what else the machine was doing.
    load: float
    driver: DriverReport | None
    whole: Mapping[str, WholeFigures]
    # None: not asked for, or the machine has no API server.
    api: ApiReport | None
    lacks_api: bool
    # None: not asked for.
    refresh: RefreshReport | None
    seconds: float

    @property
    def errors(self) -> list[str]:
        """Every call that failed."""
        found = list(self.driver.errors) if self.driver else []
        found += [text for each in self.whole.values() for text in each.memory.errors]
        found += self.api.errors if self.api else []
        return found + (self.refresh.errors if self.refresh else [])

    def document(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "machine": {**machine(), "load": self.load},
            "seconds": round(self.seconds, 1),
            **(self.driver.document() if self.driver else {}),
            **({"whole": whole_report.document(self.whole)} if self.whole else {}),
            **({"api": self.api.document()} if self.api else {}),
            **({"refresh": self.refresh.document()} if self.refresh else {}),
            "errors": self.errors,
        }

    def text(self) -> str:
        """The report for people."""
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        return "\n".join(
            [
                f"machine: {facts}; load before: {self.load:.1f}",
                "",
                *(self.driver.lines() if self.driver else []),
                *whole_report.lines(self.whole),
                *(self.api.lines() if self.api else [ABSENT, ""] if self.lacks_api else []),
                *(self.refresh.lines() if self.refresh else []),
                *_error_lines(self.errors),
                f"took {self.seconds:.0f} s",
            ]
        )


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpcio": importlib.metadata.version("grpcio"),
        "protobuf": importlib.metadata.version("protobuf"),
    }


def _case_lines(cases: Sequence[CaseFigures], names: tuple[str, str]) -> list[str]:
    header = (
        f"{'case':<24}{'side':<8}{'publish p50':>12}{'p99':>8}{'per s':>8}"
        f"{'unpublish p50':>15}{'p99':>8}{'per s':>8}{'CPU publish':>13}{'+ unpublish':>13}{'client CPU':>12}"
    )
    lines = [header]
    for each in cases:
        lines += [
            _side_line(each.case.name, names[0], each.floor),
            _side_line("", names[1], each.driver),
            _ratio_line(each),
        ]
    for each in cases:
        shares = ", ".join(
            f"{name} {value:.2f}" for name, value in each.driver.cpu_both_ms_by_process.items()
        )
        lines.append(f"CPU per publish + unpublish by process, {each.case.name}: {shares} ms")
    return lines


def _side_line(case: str, side: str, figures: SideFigures) -> str:
    return (
        f"{case:<24}{side:<8}{figures.publish_p50_ms:>12.1f}{figures.publish_p99_ms:>8.1f}"
        f"{figures.publishes_per_second:>8.0f}{figures.unpublish_p50_ms:>15.1f}{figures.unpublish_p99_ms:>8.1f}"
        f"{figures.unpublishes_per_second:>8.0f}{figures.cpu_publish_ms:>13.2f}{figures.cpu_both_ms:>13.2f}"
        f"{figures.client_cpu_publish_ms:>12.2f}"
    )


def _ratio_line(each: CaseFigures) -> str:
    ratios = each.ratios
    return (
        f"{'':<24}{'ratio':<8}{ratios.publish_p50:>12.2f}{ratios.publish_p99:>8.2f}{ratios.publish_rate:>8.2f}"
        f"{ratios.unpublish_p50:>15.2f}{ratios.unpublish_p99:>8.2f}{ratios.unpublish_rate:>8.2f}"
        f"{ratios.cpu_publish:>13.2f}{ratios.cpu_both:>13.2f}"
    )


def _target_lines(found: Sequence[Target]) -> list[str]:
    return [
        f"targets: at most {TARGET_RATIO} times the floor",
        *(f"  {'met    ' if each.met else 'not met'} {each.ratio:6.2f}  {each.what}" for each in found),
    ]


def _stage_lines(stages: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = []
    for content, seconds in stages.items():
        shares = ", ".join(f"{stage} {1000 * value:.2f}" for stage, value in seconds.items())
        lines.append(f"ms per stage of a publish, {content}: {shares or 'none in the log of the node'}")
    return [*lines, ""] if lines else []


def _memory_lines(
    held: Mapping[str, HeldVolumes], after_rounds: Mapping[str, Mapping[str, int]]
) -> list[str]:
    lines = [f"{'PSS, MiB':<24}{'idle':>10}{'volumes':>10}{'after all':>10}"]
    for side, each in held.items():
        lines += [
            f"{side + ' ' + process:<24}{idle / _MIB:>10.1f}{each.with_volumes[process] / _MIB:>10.1f}"
            f"{after_rounds[side][process] / _MIB:>10.1f}"
            for process, idle in each.idle.items()
        ]
    counts = ", ".join(sorted({str(each.volumes) for each in held.values()}))
    return [*lines, f"volumes: {counts} held; after all: none held, all rounds done"]


def _large_lines(content: Content, large: Mapping[str, LargeAnswers]) -> list[str]:
    lines = [
        f"{content.files * content.file_bytes / _MIB:.2f} MiB in each of "
        + ", ".join(sorted({str(each.volumes) for each in large.values()}))
        + " publishes at once, MiB (content in tmpfs is counted apart)",
        f"{'side':<24}{'PSS before':>12}{'peak PSS':>10}{'PSS after':>11}{'VmHWM':>8}{'tmpfs':>8}{'seconds':>9}",
    ]
    for side, each in large.items():
        lines.append(
            f"{side:<24}{each.pss_before / _MIB:>12.1f}{each.pss_peak / _MIB:>10.1f}{each.pss_after / _MIB:>11.1f}"
            f"{each.peak_rss / _MIB:>8.1f}{each.tmpfs / _MIB:>8.1f}{each.wall_seconds:>9.2f}"
        )
    return lines


def _error_lines(errors: Sequence[str]) -> list[str]:
    return [f"errors: {len(errors)}", *(f"  {text}" for text in errors[:10])]


def _case_document(each: CaseFigures, names: tuple[str, str]) -> dict[str, Any]:
    return {
        "content": each.case.content.name,
        "in_flight": each.case.in_flight,
        "volumes": each.case.volumes,
        names[0]: _rounded(dataclasses.asdict(each.floor)),
        names[1]: _rounded(dataclasses.asdict(each.driver)),
        "ratios": _rounded(dataclasses.asdict(each.ratios)),
    }


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _rounded(value) if isinstance(value, dict) else _round(value) for key, value in values.items()
    }


def _round(value: float) -> float | None:
    """None where nothing succeeded: JSON has no NaN."""
    return round(value, 3) if math.isfinite(value) else None
