"""What the benchmark says of the appliance on the Kubernetes API."""

import dataclasses
import math
import statistics
from collections.abc import Mapping
from typing import Any

from tests.bench import whole_report
from tests.bench.api_burst import Burst
from tests.bench.api_requests import ApiRequests
from tests.bench.whole import FORKED
from tests.bench.whole_figures import WholeTarget, mib
from tests.bench.whole_memory import WholeMemory

TITLE = "the appliance on the Kubernetes API, without the file provider"
ABSENT = f"{TITLE}: left out, this machine has no kube-apiserver (set KUBEBUILDER_ASSETS)"
# Issue 4, item 6, for configuration B.
IDLE_MIB = 100.0
_NAME_WIDTH = 44
_ALL_RIGHT = "all status objects right after"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ApiReport:
    """Memory by form; the rest is of the forked one."""

    memory: Mapping[str, WholeMemory]
    requests: ApiRequests
    with_api: Burst
    without_api: Burst

    @property
    def errors(self) -> list[str]:
        found = [text for each in self.memory.values() for text in each.errors]
        return found + self.requests.errors + self.with_api.errors + self.without_api.errors

    @property
    def target(self) -> WholeTarget:
        memory = self.memory[FORKED]
        return WholeTarget(
            what=f"MiB {memory.idle_seconds:.0f} s after the start",
            value=mib(memory.idle.cost),
            limit=IDLE_MIB,
        )

    def document(self) -> dict[str, Any]:
        """Bytes, seconds, and counts of requests."""
        return {
            "targets": [{**dataclasses.asdict(self.target), "met": self.target.met}],
            "memory": {form: whole_report.memory_document(each) for form, each in self.memory.items()},
            "requests_per_volume": {
                name: dataclasses.asdict(each) for name, each in self.requests.steps.items()
            },
            "at_once": {
                "with_api_server": _burst_document(self.with_api),
                "without_api_server": _burst_document(self.without_api),
            },
        }

    def lines(self) -> list[str]:
        """For people."""
        return [
            TITLE,
            *whole_report.memory_lines(self.memory),
            *whole_report.target_lines([self.target]),
            "",
            f"{'API requests per volume, class in use':<{_NAME_WIDTH}}{'all':>10}{'writes':>10}",
            *(
                f"{name:<{_NAME_WIDTH}}{each.requests:>10.2f}{each.writes:>10.2f}"
                for name, each in self.requests.steps.items()
            ),
            "",
            _line(f"{self.with_api.volumes} publishes at once, seconds", "p50", "p99", _ALL_RIGHT),
            _burst_line("with API server", self.with_api),
            _burst_line("without; all right after it is ready again", self.without_api),
            "",
        ]


def _line(name: str, p50: str, p99: str, right: str) -> str:
    return f"{name:<{_NAME_WIDTH}}{p50:>10}{p99:>10}{right:>{len(_ALL_RIGHT) + 4}}"


def _burst_line(name: str, burst: Burst) -> str:
    p50, p99 = _percentiles(burst)
    return _line(name, f"{p50:.2f}", f"{p99:.2f}", f"{burst.right_seconds:.1f}")


def _burst_document(burst: Burst) -> dict[str, Any]:
    p50, p99 = _percentiles(burst)
    return {"volumes": burst.volumes, "p50": p50, "p99": p99, "right_seconds": burst.right_seconds}


def _percentiles(burst: Burst) -> tuple[float, float]:
    if not burst.answers:
        return 0.0, 0.0
    return statistics.median(burst.answers), sorted(burst.answers)[math.ceil(0.99 * len(burst.answers)) - 1]
