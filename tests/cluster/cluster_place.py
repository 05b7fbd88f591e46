"""`sscsi run` on the node of a real cluster: kubelet's directories, everything else in a place of its own."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.cluster.real_cluster import KUBELET_ROOT, REGISTRY, RealCluster
from tests.support.appliance_place import DRIVER, SSCSI, AppliancePlace, started
from tests.support.supervised import programs_of
from tests.support.waiting import wait_until

READY_SECONDS = 60.0


class ClusterPlace(AppliancePlace):
    """`plugin_directory` has the CSI socket and the records; two appliances on one node share it."""

    def __init__(self, root: str, *, plugin_directory: str, cluster: RealCluster) -> None:
        super().__init__(root)
        self.plugin_directory = plugin_directory
        self.cluster = cluster

    @property
    def registration_socket(self) -> str:
        return f"{REGISTRY}/{DRIVER}-reg.sock"

    @property
    def sockets(self) -> list[str]:
        """What serves whatever kubelet does, and whether another appliance has the CSI socket or not."""
        others = {self.path("csi.sock"), self.path("run", "node.sock"), self.registration_socket}
        return [path for path in super().sockets if path not in others]

    @property
    def environ(self) -> dict[str, str]:
        csi_socket = f"{self.plugin_directory}/csi.sock"
        return super().environ | {
            "CSI_ENDPOINT": f"unix://{csi_socket}",
            "KUBE_NODE_NAME": self.cluster.node,
            "SSCSI_KUBELET_REGISTRATION_PATH": csi_socket,
            "SSCSI_REGISTRATION_DIR": REGISTRY,
        }

    def records(self) -> list[str]:
        """What node remembers of volumes."""
        return _files(f"{self.plugin_directory}/records")

    def status_objects(self) -> list[str]:
        """What status-sync has written to the cluster form `dir:`."""
        return _files(self.path("classes", "status"))

    def readyz(self) -> int:
        """The code of /readyz; 0 while nobody listens."""
        return self.get("/readyz")[0]

    def status(self) -> "Status":
        """What `sscsi status --json` says."""
        result = subprocess.run(
            [SSCSI, "status", "--json", "--timeout=5s"],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Status(result.returncode, json.loads(result.stdout))

    def wait_ready(self) -> None:
        """Return once the health page is green: kubelet has confirmed."""
        wait_until(lambda: self.readyz() == 200, "/readyz is green", seconds=READY_SECONDS)

    def wait_settled(self) -> None:
        """Return once supervisord takes every program for one that stays: who dies sooner waits for a second."""
        self.wait_ready()
        wait_until(lambda: set(self.status().states) == {"RUNNING"}, "all run", seconds=READY_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """The answer of `sscsi status --json`."""

    code: int
    document: dict[str, Any]

    @property
    def registration(self) -> dict[str, Any]:
        """The part on kubelet's registration."""
        part: dict[str, Any] = self.document["registration"]
        return part

    @property
    def states(self) -> list[str]:
        """The programs' states in supervisord's words."""
        return [program["state"] for program in self.document["programs"].values()]

    @property
    def restarts(self) -> dict[str, int]:
        """The programs that were started again, and how often."""
        numbers = {name: program["restarts"] for name, program in self.document["programs"].items()}
        return {name: number for name, number in numbers.items() if number}


@contextlib.contextmanager
def new_cluster_place(cluster: RealCluster) -> Iterator[ClusterPlace]:
    """A place for the only appliance of the node."""
    plugin_directory = tempfile.mkdtemp(prefix="sscsi-test-", dir=f"{KUBELET_ROOT}/plugins")
    try:
        with _place(cluster, plugin_directory) as place:
            yield place
    finally:
        shutil.rmtree(plugin_directory)


@contextlib.contextmanager
def place_beside(place: ClusterPlace) -> Iterator[ClusterPlace]:
    """A place for another appliance of the same node: the same driver, its own run directory and ports."""
    with _place(place.cluster, place.plugin_directory) as other:
        yield other


@contextlib.contextmanager
def running(place: ClusterPlace, *arguments: str, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The appliance in kubelet's mount namespace. `arguments` are the node room's flags, `settings` variables."""
    with started(
        place,
        "--require-shared-propagation",
        *arguments,
        command=(*place.cluster.inside, SSCSI, "run"),
        environ=place.environ | settings,
    ) as process:
        yield process


def pid_of(appliance: "subprocess.Popen[bytes]", program: str) -> int:
    """The program's process, which may have to be started first."""
    wait_until(lambda: program in programs_of(appliance.pid), f"{program} has a process")
    return programs_of(appliance.pid)[program]


@contextlib.contextmanager
def _place(cluster: RealCluster, plugin_directory: str) -> Iterator[ClusterPlace]:
    root = tempfile.mkdtemp(prefix="sscsi-", dir="/tmp")
    # As directories on a node are: the liveness probe's user goes through it.
    os.chmod(root, 0o711)
    place = ClusterPlace(root, plugin_directory=plugin_directory, cluster=cluster)
    try:
        yield place
    finally:
        if os.path.exists(place.log):
            # Shown with a test that fails.
            print(f"--- log of the appliance in {root}\n{place.log_text()}")
        shutil.rmtree(root)


def _files(directory: str) -> list[str]:
    """Names of the files below; hidden ones are half-written."""
    return [
        os.path.join(parent, name)
        for parent, _, names in os.walk(directory)
        for name in names
        if not name.startswith(".")
    ]
