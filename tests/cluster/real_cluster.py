"""A real cluster of one node, whose kubelet runs on this machine with the root directory /var/lib/kubelet.

The tests have a mount namespace of their own, in which kubelet would see nothing; so the appliance, and kubelet when it
is started anew, run in kubelet's.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping

import psutil

from sscsi.core import mount_info
from tests.support import leftovers
from tests.support.appliance_place import DRIVER
from tests.support.require import lacking, require
from tests.support.waiting import wait_until

KUBELET_ROOT = "/var/lib/kubelet"
REGISTRY = f"{KUBELET_ROOT}/plugins_registry"
COMMAND_SECONDS = 90.0
# As upstream's manifest has it.
_CSI_DRIVER = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "CSIDriver",
    "metadata": {"name": DRIVER},
    "spec": {
        "attachRequired": False,
        "podInfoOnMount": True,
        "volumeLifecycleModes": ["Ephemeral"],
        "requiresRepublish": True,
    },
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What only who made the cluster can tell. The commands are a shell's; they return when it is done."""

    kubeconfig: str
    image: str
    """An image that the node has, with `sh`, `sleep` and `cat`."""
    stop_kubelet: str
    start_kubelet: str


# By field of the settings.
VARIABLES = {
    "kubeconfig": "SSCSI_TEST_KUBECONFIG",
    "image": "SSCSI_TEST_IMAGE",
    "stop_kubelet": "SSCSI_TEST_STOP_KUBELET",
    "start_kubelet": "SSCSI_TEST_START_KUBELET",
}


def settings_from(environ: Mapping[str, str]) -> ClusterSettings | str:
    """The settings, or what is missing of them, in words."""
    missing = [variable for variable in VARIABLES.values() if not environ.get(variable)]
    if missing:
        return f"no cluster is given: {', '.join(missing)} not set"
    return ClusterSettings(**{field: environ[variable] for field, variable in VARIABLES.items()})


def require_cluster() -> ClusterSettings:
    """The settings of the cluster that is given; the running test ends here, visibly, where there is none."""
    settings = settings_from(os.environ)
    if isinstance(settings, str):
        lacking("cluster", reason=settings)
    if not shutil.which("kubectl"):
        lacking("cluster", reason="kubectl is not on PATH")
    if len(found := kubelets()) != 1:
        lacking("cluster", reason=f"one kubelet must run on this machine, not {len(found)}")
    require("root")
    return settings


class RealCluster:
    """`inside` is what goes before a command that is to run in kubelet's mount namespace."""

    def __init__(self, settings: ClusterSettings, *, namespace_path: str) -> None:
        self._settings = settings
        self.kubeconfig = settings.kubeconfig
        self.image = settings.image
        self.inside = ("nsenter", f"--mount={namespace_path}", "--")
        nodes = self.kubectl("get", "nodes", "--output=name").split()
        assert len(nodes) == 1, f"a cluster of one node is wanted, this one has {nodes}"
        self.node = nodes[0].removeprefix("node/")

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl prints; fails with what it complains of."""
        result = subprocess.run(
            self.kubectl_command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def kubectl_command(self, *arguments: str) -> list[str]:
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", *arguments]

    def create(self, manifest: object) -> None:
        self.kubectl("create", "--filename=-", stdin=json.dumps(manifest))

    def stop_kubelet(self) -> None:
        self._command_kubelet(self._settings.stop_kubelet)
        wait_until(lambda: not kubelets(), "kubelet has ended")

    def start_kubelet(self) -> None:
        self._command_kubelet(self._settings.start_kubelet)
        assert kubelets(), "kubelet does not run after it was started"

    @contextlib.contextmanager
    def kubelet_stopped(self) -> Iterator[None]:
        """No kubelet runs in here; it does afterwards, whatever happens."""
        self.stop_kubelet()
        try:
            yield
        finally:
            self.start_kubelet()

    def mounts_below(self, directory: str) -> list[str]:
        """The mount points as kubelet sees them, lowest first."""
        text = self.on_node("cat", "/proc/self/mountinfo")
        points = [entry.mount_point for entry in mount_info.parse(text.encode())]
        return [point for point in points if point.startswith(directory + "/")]

    def unmount(self, point: str) -> None:
        self.on_node("umount", "--lazy", point)

    def on_node(self, *command: str, stdin: str = "") -> str:
        """What a command in kubelet's mount namespace prints; fails when it does."""
        result = subprocess.run(
            [*self.inside, *command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
        return result.stdout

    def _command_kubelet(self, command: str) -> None:
        # What it leaves running is the machine's, and none of the tests' orphans.
        with leftovers.orphans_left_alone():
            result = subprocess.run(
                [*self.inside, "sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        assert result.returncode == 0, f"{command}: {result.stdout}"


@contextlib.contextmanager
def real_cluster(settings: ClusterSettings) -> Iterator[RealCluster]:
    """The cluster, which knows nothing of our driver."""
    (kubelet,) = kubelets()
    namespace = os.open(f"/proc/{kubelet.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield RealCluster(settings, namespace_path=f"/proc/{os.getpid()}/fd/{namespace}")
    finally:
        os.close(namespace)


@contextlib.contextmanager
def csi_driver_object(cluster: RealCluster) -> Iterator[None]:
    """The cluster has a CSIDriver object for our driver in here, which is not there yet."""
    cluster.create(_CSI_DRIVER)
    try:
        yield
    finally:
        cluster.kubectl("delete", "csidriver", DRIVER)


def kubelets() -> list[psutil.Process]:
    """The processes on this machine that are one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == "kubelet" and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
