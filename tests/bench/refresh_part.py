"""Refreshes: what they cost at rest, how late they are, and what a change, a throttle and a start of many pods do."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence

from sscsi.core.annotations import SHARED_CALLS
from tests.bench.api_appliance import BenchApi, bench_api
from tests.bench.refresh_burst import start_together
from tests.bench.refresh_cost import measure_cost
from tests.bench.refresh_found import Load, Shared, Storm, Throttled
from tests.bench.refresh_lanes import Node, bucket_rate, carry_on, shared, storm, throttled
from tests.bench.refresh_report import RefreshReport
from tests.bench.sides import appliance
from tests.bench.store import running_store
from tests.bench.volumes import Content, Volume

PROVIDER_SECONDS = 0.05
_SHARE = ((SHARED_CALLS, "true"),)
_READS = frozenset({"get", "list", "watch"})
# What a process of its own is started with, and not one of a pod.
_NODE = "bench"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RefreshPlan:
    """How much is done: the lanes' load, pods of one Deployment and how often, and volumes and rounds of the cost."""

    load: Load
    pods: int
    starts: int
    cost_volumes: int
    cost_rounds: int


class _ApiWrites:
    """`Writes` of a real API server."""

    def __init__(self, api: BenchApi) -> None:
        self._api = api

    def since(self, at: float) -> int:
        return sum(request.verb not in _READS for request in self._api.requests(at))

    def has(self, volumes: Sequence[Volume]) -> bool:
        return self._api.has(volumes)


def run_refresh(
    root: str, providers: str, content: Content, plan: RefreshPlan, *, binaries: str
) -> RefreshReport:
    """Measure all of it; `binaries` is where an API server's program is, empty without one. Raises BenchError."""
    home = f"{root}/refresh"
    os.mkdir(home)
    storm_found, shared_found, throttled_found = _run_lanes(home, content, plan.load, binaries)
    apart, one = _series(content, ("apart",)), _series(content, ("one",), _SHARE)
    with _node(home, "starts", [*apart, *one]) as node:
        starts = start_together(node.side, node.store, apart[0], one[0], pods=plan.pods, rounds=plan.starts)
    return RefreshReport(
        load=plan.load,
        provider_seconds=PROVIDER_SECONDS,
        has_api=bool(binaries),
        storm=storm_found,
        shared=shared_found,
        throttled=throttled_found,
        starts=starts,
        cost=measure_cost(home, providers, content, volumes=plan.cost_volumes, rounds=plan.cost_rounds),
    )


def _run_lanes(home: str, content: Content, load: Load, binaries: str) -> tuple[Storm, Shared, Throttled]:
    names = [str(number) for number in range(load.classes)]
    plain, sharing = _series(content, names), _series(content, names, _SHARE)
    interval = f"--rotation-poll-interval={load.interval:.0f}s"
    rotation = ("--enable-secret-rotation", interval)
    limit = f"--max-refreshes-per-second={bucket_rate(load)}"
    with contextlib.ExitStack() as held:
        api = held.enter_context(bench_api(binaries, plain)) if binaries else None
        nodes = [
            held.enter_context(_node(home, "storm", plain, rotation, _cluster(api))),
            held.enter_context(_node(home, "shared", sharing, rotation)),
            held.enter_context(_node(home, "throttled", plain, (*rotation, limit))),
        ]
        found = carry_on(
            [
                storm(nodes[0], load, writes=_ApiWrites(api) if api else None, delay=0.0),
                shared(nodes[1], load, delay=load.interval / 3),
                throttled(nodes[2], load, delay=2 * load.interval / 3),
            ],
            [process for node in nodes for process in node.side.processes],
        )
    one, two, three = found
    assert isinstance(one, Storm)
    assert isinstance(two, Shared)
    assert isinstance(three, Throttled)
    return one, two, three


def _series(
    content: Content, names: Sequence[str], annotations: tuple[tuple[str, str], ...] = ()
) -> list[Content]:
    return [dataclasses.replace(content, series=name, annotations=annotations) for name in names]


def _cluster(api: BenchApi | None) -> Sequence[str]:
    """Status-sync's arguments for the API server; none: its directory of class files."""
    if api is None:
        return ()
    return ("--cluster=kubernetes", f"--kubeconfig={api.kubeconfig()}", f"--nodeid={_NODE}")


@contextlib.contextmanager
def _node(
    home: str,
    name: str,
    contents: Sequence[Content],
    node_arguments: Sequence[str] = (),
    cluster: Sequence[str] = (),
) -> Iterator[Node]:
    with (
        running_store(f"{home}/{name}-store", seconds=PROVIDER_SECONDS) as store,
        appliance(name, home, store.directory, contents, node_arguments, cluster=cluster) as side,
    ):
        yield Node(side=side, store=store, contents=contents)
