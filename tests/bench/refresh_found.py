"""What the nodes under refreshes are given, and what is found of them."""

import dataclasses

from tests.bench.refresh_figures import Percentiles


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What each lane is given: `volumes` of `classes`, an interval in seconds, and how many rounds are measured."""

    volumes: int
    classes: int
    interval: float
    rounds: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """A node whose content does not change. CPU is seconds per minute, by process; lateness is in seconds.

    `writes` is None where there is no API server.
    """

    seconds: float
    cpu_per_minute: dict[str, float]
    calls_per_interval: float
    lateness: Percentiles
    writes: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Republished:
    """Calls of `seconds` in which kubelet republished each volume once. `shortest_gap` is between two of one volume."""

    seconds: float
    republished: int
    calls: int
    shortest_gap: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """`visible` is seconds from the change until each volume showed it."""

    rest: Rest
    visible: Percentiles
    change_writes: int | None
    republished: Republished
    errors: list[str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The same with shared calls."""

    rest: Rest
    errors: list[str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """With a provider that refuses half. Ages are in seconds; `most` is of any 10 s; CPU as of Rest, before any volume."""

    seconds: float
    oldest: float
    calls: int
    succeeded: int
    rate: float
    needed_burst: float
    most: int
    idle_cpu_per_minute: dict[str, float]
    errors: list[str]
