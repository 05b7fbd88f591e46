"""docs/metrics.md as data, and every family that the code can emit."""

import dataclasses
import os
import re
import time

from sidecars.livenessprobe.appliance_metrics import room_families, watchdog_families
from sidecars.livenessprobe.call_metrics import CallMetrics
from sidecars.registrar.metrics import registration_families
from sidecars.registrar.standing import Standing
from sidecars.statussync.metrics import SyncMetrics
from sscsi.core.prometheus import Family
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import ContainerMemory, ProgramState, WatchdogState
from sscsi.node.metrics import NodeMetrics
from sscsi.node.volume_figures import (
    VolumeFigures,
    circuit_families,
    health_families,
    unpublished_family,
    volume_families,
)
from tests.support.checkout import ROOT

_ROW = re.compile(r"\| `([a-z0-9_]+)` \| (counter|gauge|histogram) \|(.*?)\| .* \| (\w+) \|")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One metric as documented, or as the code has it."""

    kind: str
    labels: frozenset[str]
    room: str


def documented() -> dict[str, Row]:
    """The rows of docs/metrics.md, by the metric's name."""
    with open(os.path.join(ROOT, "docs", "metrics.md"), encoding="utf-8") as file:
        matches = [match for line in file if (match := _ROW.match(line))]
    rows = {}
    for match in matches:
        name, kind, labels, room = match.groups()
        assert name not in rows, f"{name} is there twice"
        rows[name] = Row(kind, frozenset(_label_names(labels)), room)
    return rows


def of_the_code() -> dict[str, Row]:
    """Every family of every room, by its name; each with all that it can have."""
    node = NodeMetrics()
    node.publish_succeeded("vault", 0.1)
    now = time.time()
    volume = VolumeFigures(
        namespace="n",
        class_name="c",
        provider="vault",
        success_time=now,
        interval_seconds=60.0,
        due_time=now,
        is_failing=False,
    )
    calls = CallMetrics()
    calls.observe("/csi.v1.Identity/Probe", "OK", 0.1)
    registered = RoomStatus(state="registered")
    by_room: dict[str, list[Family]] = {
        "node": [
            *node.families(),
            *volume_families([volume], now),
            *circuit_families({"vault": False}),
            unpublished_family(0),
            *health_families({"vault": True}),
        ],
        "statussync": SyncMetrics().families(queue_depth=0, problems=0),
        "registrar": registration_families(Standing(endpoint="/csi.sock")),
        "livenessprobe": [
            *calls.families(),
            *room_families({"registrar": registered}),
            *watchdog_families(_watchdog_state(now), now),
        ],
    }
    rows = {
        family.name: Row(family.kind, _labels(family), room)
        for room, families in by_room.items()
        for family in families
    }
    # Made where the page is.
    rows["process_start_time_seconds"] = Row("gauge", frozenset(), "livenessprobe")
    return rows


def _labels(family: Family) -> frozenset[str]:
    assert family.samples, family.name
    return frozenset(family.samples[0].labels) - {"le"}


def _label_names(cell: str) -> list[str]:
    """The names in a cell like "`kind`: `A`, `B`; `verb`: `c`" or "`provider`, `os_type`"."""
    names = []
    for part in cell.split("; "):
        before, _, values = part.partition(":")
        # With values, the last name before the colon is theirs; without, every word is a name.
        names += re.findall("`([a-z_]+)`", before if values else part)
    return names


def _watchdog_state(now: float) -> WatchdogState:
    program = ProgramState(
        state="RUNNING",
        pid=2,
        start_time=now,
        restarts=0,
        rss_bytes=1,
        pss_bytes=1,
        cpu_seconds=1.0,
        memory_budget_bytes=1,
        over_budget_restarts=0,
        last_exit_time=0.0,
    )
    return WatchdogState(
        time=now,
        pid=2,
        supervisor_pid=1,
        programs={"node": program},
        container=ContainerMemory(current_bytes=1, max_bytes=2),
    )
