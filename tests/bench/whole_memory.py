"""Memory of the whole appliance: at rest, and with volumes."""

import contextlib
import dataclasses
import time

import psutil

from tests.bench.processes import cpu_seconds, pause, settle
from tests.bench.tree_memory import TreeMemory, read_tree, tree
from tests.bench.volumes import Content, make_volumes, remove_directories
from tests.bench.whole import WholeAppliance

_IN_FLIGHT = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WholeMemory:
    """Before any volume, `idle_seconds` after the start, and while `volumes` volumes are published."""

    idle_seconds: float
    idle: TreeMemory
    volumes: int
    with_volumes: TreeMemory
    errors: list[str]


def measure_memory(
    appliance: WholeAppliance, content: Content, *, idle_seconds: float, count: int
) -> WholeMemory:
    """Wait, look, publish `count` volumes, look again, and take them away. Raises BenchError."""
    pause(max(0.0, appliance.started_at + idle_seconds - time.monotonic()))
    idle = read_tree(appliance.pid)
    volumes = make_volumes(appliance.place.path("kubelet"), content, count)
    errors = list(appliance.kubelet.publish(volumes, in_flight=_IN_FLIGHT).errors)
    settle_whole(appliance)
    with_volumes = read_tree(appliance.pid)
    withdrawn = appliance.kubelet.unpublish(volumes, in_flight=_IN_FLIGHT).errors
    if not withdrawn:
        remove_directories(volumes)
    return WholeMemory(
        idle_seconds=idle_seconds,
        idle=idle,
        volumes=count,
        with_volumes=with_volumes,
        errors=errors + withdrawn,
    )


def settle_whole(appliance: WholeAppliance) -> None:
    """Wait until none of its programs has anything left to do."""
    settle([_Tree(appliance.pid)])


class _Tree:
    """All processes of the tree as one."""

    def __init__(self, root: int) -> None:
        self._root = root

    def cpu_seconds(self) -> float:
        total = 0.0
        # One that ends meanwhile is not at rest; what it used is missing, and so the sum will not stand still.
        with contextlib.suppress(psutil.Error):
            for pid in tree(self._root).values():
                with contextlib.suppress(OSError):
                    total += cpu_seconds(pid)
        return total
