"""From the lives of the whole appliance to figures: medians, the longest, and targets."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.bench.whole_memory import WholeMemory
from tests.bench.whole_times import KILLED, REGISTRAR, LifeTimes

_MIB = 1 << 20
# Issue 4, items 6 and 7, for configuration A: classes from a directory, file provider, watchdog, registered.
IDLE_MIB, WITH_VOLUMES_MIB = 88.0, 94.0
REGISTERED_SECONDS, NODE_SECONDS, REGISTRAR_SECONDS = 3.0, 2.0, 4.0
# What kubelet's containers of three Go programs take on a machine of the same kind: idle, and with 50 volumes.
UPSTREAM_MIB = (76.0, 86.0)

REGISTERED = "start to registered"
KUBELETS_PART = "kubelet's part"
BACK = {name: f"{name} killed, until back" for name in KILLED} | {
    "node": "node killed, until serving",
    REGISTRAR: "registrar killed, until registered",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Seconds, of several rounds."""

    median: float
    longest: float
    rounds: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WholeTarget:
    """One figure that has an aim, in MiB or seconds."""

    what: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WholeFigures:
    """The appliance in one form. `times` is by what was timed, in the order of the report."""

    memory: WholeMemory
    times: Mapping[str, Spread]


def whole_figures(memory: WholeMemory, lives: Sequence[LifeTimes]) -> WholeFigures:
    """The figures of one form from its lives."""

    def spread(value: Callable[[LifeTimes], float]) -> Spread:
        return _spread(value(life) for life in lives)

    times = {
        "start to csi.sock": spread(lambda life: life.start.csi),
        "start to all rooms": spread(lambda life: life.start.rooms),
        REGISTERED: spread(lambda life: life.start.registered),
        f"{REGISTERED}, {KUBELETS_PART}": spread(lambda life: life.start.kubelet),
    }
    for name in KILLED:
        times[BACK[name]] = _spread(life.recoveries[name].seconds for life in lives)
        if name == REGISTRAR:
            times[f"{BACK[name]}, {KUBELETS_PART}"] = _spread(life.recoveries[name].kubelet for life in lives)
    times["SIGTERM to the end"] = spread(lambda life: life.stop_seconds)
    return WholeFigures(memory=memory, times=times)


def whole_targets(figures: WholeFigures) -> list[WholeTarget]:
    """The aims of the project for the forked form, with what was reached: medians, and the larger sum of memory."""
    memory = figures.memory
    found = [
        WholeTarget(
            what=f"MiB {memory.idle_seconds:.0f} s after the start",
            value=mib(memory.idle.cost),
            limit=IDLE_MIB,
        ),
        WholeTarget(
            what=f"MiB with {memory.volumes} volumes",
            value=mib(memory.with_volumes.cost),
            limit=WITH_VOLUMES_MIB,
        ),
    ]
    limits = {
        REGISTERED: REGISTERED_SECONDS,
        BACK["node"]: NODE_SECONDS,
        BACK[REGISTRAR]: REGISTRAR_SECONDS,
    }
    return found + [
        WholeTarget(what=f"seconds from {what}", value=figures.times[what].median, limit=limit)
        for what, limit in limits.items()
    ]


def mib(count: int) -> float:
    return count / _MIB


def _spread(values: Iterable[float]) -> Spread:
    seconds = list(values)
    return Spread(median=statistics.median(seconds), longest=max(seconds), rounds=len(seconds))
