"""Kill -9 before and after every effect of every operation: a volume is whole or not there (design P1, P4).

Each operation is run once to its end with all its effects counted, then once for each effect with a trap there
(`killing_node`). After each kill the real node room starts on what is left, and kubelet goes on. The effects are
counted at two levels: methods of the ports, and the calls inside them.

After `k` and before `k + 1` the same is left, so a quick sweep starts the room with rotation off after the one and
on after the other. SSCSI_FULL_SWEEP=1 (CI) takes both after both, and the level of calls: some 2000 kills.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from tests.support.own_mounts import own_mounts
from tests.support.require import lacking
from tests.support.swept_operations import OPERATIONS, Operation
from tests.support.swept_stage import Stage, stage
from tests.support.volume_state import residue, untrue_records
from tests.system.killing_node import READ_ONLY, VARIABLE, Trap

_KILLING_NODE = "tests.system.killing_node"
_FULL = os.environ.get("SSCSI_FULL_SWEEP") == "1"

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run: where the trap is, and whether the node room that comes after rotates."""

    level: str
    at: int
    moment: str
    rotation_after: bool
    effect: str = ""

    def __str__(self) -> str:
        rotation = "on" if self.rotation_after else "off"
        return f"killed {self.moment} effect {self.at} ({self.effect}), rotation {rotation} afterwards"


@pytest.fixture(scope="module")
def stages() -> Iterator[list[Stage]]:
    """One for each processor of the smallest machine that this should be quick on."""
    with stage(_KILLING_NODE) as first, stage(_KILLING_NODE) as second:
        yield [first, second]


@pytest.mark.parametrize("level", ["ports", "calls"] if _FULL else ["ports"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_kill_at_any_effect_leaves_a_volume_whole_or_absent(
    operation: Operation, level: str, stages: list[Stage], capsys: pytest.CaptureFixture[str]
) -> None:
    if operation.group and not own_mounts().is_root:
        lacking("root", reason="in a user namespace root's group is the only one")
    effects = _count(stages[0], operation, level)
    assert effects, "the operation has no effect at all"
    points = _points(effects, level)
    lanes = [points[first :: len(stages)] for first in range(len(stages))]
    with futures.ThreadPoolExecutor(len(stages)) as workers:
        runs = [
            workers.submit(_sweep, each, operation, lane) for each, lane in zip(stages, lanes, strict=True)
        ]
        failures = [failure for run in runs for failure in run.result()]
    with capsys.disabled():
        print(
            f"\n  kill sweep, {level}: {operation.name}: {len(effects)} effects, {len(points)} kills, "
            f"{len(failures)} wrong ",
            end="",
        )
    assert not failures, "\n\n".join(failures)


def test_every_method_that_the_sweep_takes_for_read_only_exists() -> None:
    missing = [
        f"{port.__name__}.{name}"
        for port, names in READ_ONLY.items()
        for name in names
        if not hasattr(port, name)
    ]
    assert not missing


def test_the_level_of_calls_sees_mounts_and_writes(stages: list[Stage]) -> None:
    effects = [
        effect
        for operation in OPERATIONS
        if operation.name in {"first publish", "unpublish"}
        for effect in _count(stages[0], operation, "calls")
    ]
    kinds = {effect.split()[0] for effect in effects}
    assert kinds >= {
        "libc.mount",
        "libc.umount2",
        "os.write",
        "os.mkdir",
        "os.symlink",
        "os.rename",
        "os.remove",
        "open",
    }


def _points(effects: list[str], level: str) -> list[Point]:
    if level == "calls":
        ways = [("before", False), ("before", True)]
    elif _FULL:
        ways = [("before", False), ("before", True), ("after", False), ("after", True)]
    else:
        ways = [("before", False), ("after", True)]
    return [
        Point(level=level, at=at, moment=moment, rotation_after=rotation, effect=effect)
        for (at, effect), (moment, rotation) in itertools.product(enumerate(effects, start=1), ways)
    ]


def _sweep(on: Stage, operation: Operation, points: list[Point]) -> list[str]:
    failures = []
    for point in points:
        try:
            _run(on, operation, point)
        except (AssertionError, grpc.RpcError, OSError) as error:
            with open(on.place.log_file, encoding="utf-8") as log:
                failures.append(f"{operation.name}, {point}: {error}\n{log.read()}")
            _clean_up(on)
    return failures


def _count(on: Stage, operation: Operation, level: str) -> list[str]:
    """Run the operation to its end; its effects, in order."""
    journal = _journal(on)
    _attempt(on, operation, Trap(level=level, at=0, moment="before", armed_by=_arm(on), journal=journal))
    with open(journal, encoding="utf-8") as file:
        effects = file.read().splitlines()
    _clean_up(on)
    return effects


def _run(on: Stage, operation: Operation, point: Point) -> None:
    trap = Trap(level=point.level, at=point.at, moment=point.moment, armed_by=_arm(on), journal=_journal(on))
    code = _attempt(on, operation, trap)
    assert code == -9, f"the trap did not spring; the node room ended with {code}"
    _check_wreck(on, operation)
    with on.node(rotation=point.rotation_after) as program:
        assert on.wait_serving(program), "the real node room does not start on what is left"
        _check_wreck(on, operation)
        assert not untrue_records(on.place), untrue_records(on.place)
        if operation.unpublishes:
            _check_unpublish(on)
        _check_publish(on, operation, rotation=point.rotation_after)
        _check_unpublish(on)
        assert program.terminate() == 0
    on.clear()


def _attempt(on: Stage, operation: Operation, trap: Trap) -> int:
    """Do the operation with the trap set; how the node room ended."""
    on.group = operation.group
    if operation.spoil is not None:
        with on.node(rotation=False) as program:
            assert on.wait_serving(program)
            operation.prepare(on)
            program.kill()
        operation.spoil(on)
        open(trap.armed_by, "wb").close()
    with on.node(
        rotation=operation.rotation, module=_KILLING_NODE, environ={VARIABLE: trap.encode()}
    ) as program:
        serves = on.wait_serving(program)
        if operation.spoil is None:
            assert serves, "the node room with the trap does not start"
            operation.prepare(on)
            open(trap.armed_by, "wb").close()
            _perform(on, operation, trap)
        os.unlink(trap.armed_by)
        return program.terminate() if trap.at == 0 else program.wait()


def _perform(on: Stage, operation: Operation, trap: Trap) -> None:
    if trap.at == 0:
        operation.perform(on)
        return
    with pytest.raises(grpc.RpcError) as raised:
        operation.perform(on)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE, raised.value


def _check_wreck(on: Stage, operation: Operation) -> None:
    mounts, view = len(on.place.mounts(on.target_path)), on.view()
    assert mounts <= operation.stacked, f"{mounts} mounts"
    assert operation.meanwhile(view), f"the pod sees {sorted(view)}"


def _check_publish(on: Stage, operation: Operation, *, rotation: bool) -> None:
    on.publish()
    view = on.view()
    allowed = (operation.published,) if rotation else (operation.published, *operation.kept)
    assert view in allowed, f"published, and the pod sees {sorted(view)}"
    assert len(on.place.mounts(on.target_path)) == 1
    assert len(on.place.records()) == 1, on.place.records()
    assert not untrue_records(on.place), untrue_records(on.place)
    assert not residue(on.place, on.target_path), residue(on.place, on.target_path)


def _check_unpublish(on: Stage) -> None:
    on.unpublish()
    assert not on.place.mounts()
    assert not os.path.lexists(on.target_path)
    assert os.path.isdir(os.path.dirname(on.target_path))
    assert not on.place.records(), on.place.records()
    assert not os.listdir(f"{on.place.run_directory}/records")


def _clean_up(on: Stage) -> None:
    """Whatever a run left, take it away as kubelet would."""
    with on.node(rotation=False) as program:
        assert on.wait_serving(program)
        on.unpublish()
    on.clear()


def _arm(on: Stage) -> str:
    return f"{on.place.base}/armed"


def _journal(on: Stage) -> str:
    path = f"{on.place.base}/journal"
    if os.path.exists(path):
        os.unlink(path)
    return path
