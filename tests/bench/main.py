"""The benchmark from its flags to its exit code."""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence

from sscsi.errors import ConfigError
from tests.bench.api_part import run_api
from tests.bench.errors import BenchError
from tests.bench.figures import CaseFigures, case_figures
from tests.bench.lives import run_lives
from tests.bench.memory import HeldVolumes, LargeAnswers, hold_volumes, pss, publish_large
from tests.bench.passes import Case, run_rounds
from tests.bench.private_root import private_root
from tests.bench.refresh_found import Load
from tests.bench.refresh_part import RefreshPlan, run_refresh
from tests.bench.report import DriverReport, Report
from tests.bench.sides import APPLIANCE, FLOOR, Side, appliance, bench_provider, floor
from tests.bench.stages import NODE_ARGUMENTS, measure_stages
from tests.bench.volumes import Content
from tests.support.require import find_kube_apiserver

SMALL = Content(files=3, file_bytes=64)
MANY = Content(files=50, file_bytes=4096)
# Slightly under 4 MiB: the driver's limit is on the whole message.
LARGE = Content(files=4, file_bytes=(1 << 20) - (1 << 10))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done. `volumes` is by number in flight, for one pass.

    Those from `lives` to `at_once` are about the whole appliance: how often it is started, how long after its start its memory is
    read, with how many volumes then, and how many are published at once on the Kubernetes API.
    """

    rounds: int
    volumes: dict[int, int]
    held: int
    large: int
    staged: int
    lives: int
    idle_seconds: float
    whole_volumes: int
    at_once: int
    refresh: RefreshPlan

    @property
    def cases(self) -> list[Case]:
        return [
            Case(content=content, in_flight=in_flight, volumes=count)
            for content in (SMALL, MANY)
            for in_flight, count in self.volumes.items()
        ]


FULL = Plan(
    rounds=8,
    volumes={1: 40, 8: 80, 100: 200},
    held=100,
    large=100,
    staged=50,
    lives=4,
    idle_seconds=60,
    whole_volumes=100,
    at_once=500,
    refresh=RefreshPlan(
        load=Load(volumes=500, classes=5, interval=60.0, rounds=2),
        pods=100,
        starts=5,
        cost_volumes=40,
        cost_rounds=8,
    ),
)
QUICK = Plan(
    rounds=1,
    volumes={1: 15, 100: 100},
    held=20,
    large=10,
    staged=10,
    lives=1,
    idle_seconds=10,
    whole_volumes=100,
    at_once=50,
    refresh=RefreshPlan(
        load=Load(volumes=100, classes=5, interval=10.0, rounds=1),
        pods=100,
        starts=1,
        cost_volumes=15,
        cost_rounds=2,
    ),
)
DRIVER, WHOLE, API, REFRESH = PARTS = ("driver", "whole", "api", "refresh")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """What the timed part found."""

    cases: list[CaseFigures]
    held: dict[str, HeldVolumes]
    after: dict[str, dict[str, int]]
    errors: list[str]


def main(argv: Sequence[str]) -> int:
    """Run; 0 when every call succeeded, 1 otherwise. Targets that are not met are figures, not failures."""
    options = _options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        report = _run(QUICK if options.quick else FULL, _parts(options), noise=options.noise)
    except (BenchError, ConfigError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    print(report.text())
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report.document(), file, indent=2)
            file.write("\n")
    return 1 if report.errors else 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/bench/run.py",
        description="Publish and unpublish as kubelet does, beside a bare gRPC server that does only what must be done.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test of a few minutes; its figures are rough"
    )
    parser.add_argument("--json", metavar="FILE", help="write the report to FILE as JSON too")
    parser.add_argument(
        "--noise",
        action="store_true",
        help="the floor against itself: how far this machine's ratios stray from 1",
    )
    parser.add_argument(
        "--only",
        choices=PARTS,
        help="`driver`: publish and unpublish beside the floor. `whole`: the appliance, its memory and its start. "
        "`api`: the same on a real Kubernetes API, and what it asks there. `refresh`: what refreshes cost, and when they come",
    )
    return parser.parse_args(argv)


def _parts(options: argparse.Namespace) -> Sequence[str]:
    """The floor against itself is about the driver only."""
    if options.noise:
        return (DRIVER,)
    return (options.only,) if options.only else PARTS


def _run(plan: Plan, parts: Sequence[str], *, noise: bool) -> Report:
    begun, load = time.monotonic(), os.getloadavg()[0]
    kube_apiserver = find_kube_apiserver()
    with private_root() as root, bench_provider(root) as providers:
        driver = _driver(plan, root, providers, noise=noise) if DRIVER in parts else None
        whole = (
            run_lives(
                root,
                providers,
                SMALL,
                lives=plan.lives,
                idle_seconds=plan.idle_seconds,
                volumes=plan.whole_volumes,
            )
            if WHOLE in parts
            else {}
        )
        api = (
            run_api(
                root,
                providers,
                SMALL,
                binaries=os.path.dirname(kube_apiserver),
                idle_seconds=plan.idle_seconds,
                volumes=plan.whole_volumes,
                burst=plan.at_once,
            )
            if API in parts and kube_apiserver
            else None
        )
        refresh = (
            run_refresh(root, providers, SMALL, plan.refresh, binaries=os.path.dirname(kube_apiserver))
            if REFRESH in parts
            else None
        )
    return Report(
        load=load,
        driver=driver,
        whole=whole,
        api=api,
        lacks_api=API in parts and not kube_apiserver,
        refresh=refresh,
        seconds=time.monotonic() - begun,
    )


def _driver(plan: Plan, root: str, providers: str, *, noise: bool) -> DriverReport:
    timed = _rounds(plan, root, providers, noise=noise)
    large = _large(plan, root, providers, noise=noise)
    stages = {} if noise else _stages(plan, root, providers)
    return DriverReport(
        rounds=plan.rounds,
        names=(FLOOR, _rival(noise)),
        cases=timed.cases,
        held=timed.held,
        after_rounds=timed.after,
        large_content=LARGE,
        large=large,
        stages=stages,
        errors=timed.errors + [text for each in large.values() for text in each.errors],
    )


def _rounds(plan: Plan, root: str, providers: str, *, noise: bool) -> Rounds:
    with _sides(root, providers, "rounds", (SMALL, MANY), noise=noise) as sides:
        held = {side.name: hold_volumes(side, SMALL, plan.held) for side in sides}
        results = run_rounds(sides, plan.cases, plan.rounds)
        after = {side.name: pss(side.processes) for side in sides}
    errors = [text for each in held.values() for text in each.errors]
    errors += [text for pairs in results.values() for pair in pairs for each in pair for text in each.errors]
    return Rounds(
        cases=[case_figures(case, pairs) for case, pairs in results.items()],
        held=held,
        after=after,
        errors=errors,
    )


def _large(plan: Plan, root: str, providers: str, *, noise: bool) -> dict[str, LargeAnswers]:
    with _sides(root, providers, "large", (LARGE,), noise=noise) as sides:
        return {side.name: publish_large(side, side.processes[0].name, LARGE, plan.large) for side in sides}


def _stages(plan: Plan, root: str, providers: str) -> dict[str, dict[str, float]]:
    contents = (SMALL, MANY)
    with appliance(APPLIANCE, f"{root}/stages", providers, contents, NODE_ARGUMENTS) as side:
        return measure_stages(side, contents, plan.staged)


@contextlib.contextmanager
def _sides(
    root: str, providers: str, part: str, contents: Sequence[Content], *, noise: bool
) -> Iterator[tuple[Side, Side]]:
    """The floor and its rival, started anew for one part of the run."""
    home = f"{root}/{part}"
    rival = floor if noise else appliance
    with (
        floor(FLOOR, home, providers, contents) as first,
        rival(_rival(noise), home, providers, contents) as second,
    ):
        yield first, second


def _rival(noise: bool) -> str:
    return f"{FLOOR}2" if noise else APPLIANCE
