"""The node's CSINode object as the API tells of it: whether it lists our driver, change by change."""

import contextlib
import dataclasses
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import IO

from tests.cluster.real_cluster import RealCluster
from tests.support.appliance_place import DRIVER
from tests.support.waiting import wait_until

# Kubelet registers within 3 s of what it sees; the rest is for a slow machine.
_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Sighting:
    """`time` is monotonic."""

    time: float
    listed: bool


class CsiNode:
    """Filled by a thread that reads what `kubectl --watch` prints: one line a change, the drivers' names."""

    def __init__(self) -> None:
        self._sightings: list[Sighting] = []

    @property
    def lists_driver(self) -> bool:
        return bool(self._sightings) and self._sightings[-1].listed

    def since(self, moment: float) -> list[bool]:
        """What it was changed to since then: True for listed."""
        return [sighting.listed for sighting in self._sightings if sighting.time >= moment]

    def wait_listed(self, *, since: float) -> float:
        """Wait until the driver is listed by a change made since then; the moment of it (monotonic)."""
        return self._wait(listed=True, since=since)

    def wait_unlisted(self, *, since: float) -> float:
        """As `wait_listed`, the other way."""
        return self._wait(listed=False, since=since)

    def read(self, lines: IO[str]) -> None:
        for line in lines:
            self._sightings.append(Sighting(time.monotonic(), DRIVER in line.split()))

    def _wait(self, *, listed: bool, since: float) -> float:
        def found() -> list[float]:
            return [one.time for one in self._sightings if one.time >= since and one.listed is listed]

        wait_until(found, f"CSINode {'lists' if listed else 'has lost'} the driver", seconds=_SECONDS)
        return found()[0]


@contextlib.contextmanager
def watched(cluster: RealCluster) -> Iterator[CsiNode]:
    """The node's CSINode from its present state on."""
    command = cluster.kubectl_command(
        "get", "csinode", cluster.node, "--watch", '--output=jsonpath={.spec.drivers[*].name}{"\\n"}'
    )
    csi_node = CsiNode()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        reader = threading.Thread(target=csi_node.read, args=(process.stdout,), name="csi-node")
        reader.start()
        try:
            wait_until(lambda: csi_node.since(0.0), "the API tells of CSINode", seconds=_SECONDS)
            yield csi_node
        finally:
            process.terminate()
            reader.join()
