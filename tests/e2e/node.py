"""The cluster's node as who runs it sees it: its images, its containers, and what a loss of power leaves."""

import os
import subprocess

from tests.cluster.real_cluster import KUBELET_ROOT, RealCluster
from tests.support.require import lacking

VARIABLE = "SSCSI_TEST_CONTAINERD"
_PODS = f"{KUBELET_ROOT}/pods"
_IMPORT_SECONDS = 180


class Node:
    """`containerd` is the path of its socket, where Kubernetes' containers are in the namespace k8s.io."""

    def __init__(self, cluster: RealCluster, *, containerd: str) -> None:
        self.cluster = cluster
        self._containerd = containerd

    def ctr(self, *arguments: str) -> str:
        """What ctr prints; fails when it does."""
        result = subprocess.run(
            ["ctr", f"--address={self._containerd}", "--namespace=k8s.io", *arguments],
            capture_output=True,
            text=True,
            timeout=_IMPORT_SECONDS,
            check=False,
        )
        assert result.returncode == 0, f"ctr {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def import_image(self, archive: str) -> None:
        self.ctr("images", "import", archive)

    def tag_image(self, name: str, other: str) -> None:
        """Give an image of the node another name, too."""
        self.ctr("images", "tag", "--force", name, other)

    def lose_power(self) -> None:
        """Kubelet, containers and mounts are gone at once, and start again; directories stay, as after a reboot."""
        with self.cluster.kubelet_stopped():
            for task in self.ctr("tasks", "list", "--quiet").split():
                self.kill_container(task)
            for point in reversed(self.cluster.mounts_below(_PODS)):
                self.cluster.unmount(point)

    def kill_container(self, container: str) -> None:
        """SIGKILL to all its processes; `container` is its id."""
        self.ctr("tasks", "kill", "--all", "--signal=SIGKILL", container)


def containerd_from(environ: "os._Environ[str]") -> str:
    """The socket; the running test ends here, visibly, where none is given."""
    socket = environ.get(VARIABLE, "")
    if not socket:
        lacking("cluster", reason=f"no containerd is given: {VARIABLE} not set")
    return socket
