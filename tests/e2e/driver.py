"""The driver as a user installs it: deploy/ through a kustomization of one's own, and what is asked of its pod."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from tests.cluster.csi_node import CsiNode
from tests.cluster.real_cluster import KUBELET_ROOT, RealCluster
from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

DEPLOY = os.path.join(ROOT, "deploy")
NAMESPACE = "kube-system"
DAEMON_SET = "csi-secrets-store"
SELECTOR = f"app={DAEMON_SET}"
CONTAINER = "secrets-store"
INTERVAL_SECONDS = 5
# The store of the built-in provider `file` on the node, by namespace.
FILES = "/etc/kubernetes/secrets-store-files"
PYTHON = "/usr/bin/python3.11"
# For whatever the cluster has to do meanwhile, on a slow machine.
SECONDS = 120.0
ROTATION = ("--enable-secret-rotation=true", f"--rotation-poll-interval={INTERVAL_SECONDS}s")


class Driver:
    """The one pod of the DaemonSet."""

    def __init__(self, cluster: RealCluster, csi_node: CsiNode, kustomization: str) -> None:
        self._cluster = cluster
        self._csi_node = csi_node
        self._kustomization = kustomization

    def install(self) -> None:
        """Apply the kustomization, whatever of it is there; return once the driver is at work."""
        self._cluster.kubectl("apply", "--kustomize", self._kustomization)
        self.wait_ready()

    def wait_unused(self) -> None:
        """Return once no pod has a CSI volume."""
        wait_until(lambda: not _volumes_of_pods(self._cluster), "all volumes are gone", seconds=SECONDS)

    def uninstall(self) -> None:
        """Delete what the kustomization has; return once kubelet knows."""
        self._cluster.kubectl(
            "delete", "--kustomize", self._kustomization, "--timeout=80s", "--ignore-not-found"
        )
        self.wait_forgotten()

    def wait_forgotten(self) -> None:
        """Return once kubelet knows that the driver is gone."""
        wait_until(
            lambda: not self._csi_node.lists_driver, "kubelet has forgotten the driver", seconds=SECONDS
        )

    def pod(self) -> str:
        """The pod that runs and is not about to go."""
        items = self._pods()
        (name,) = (item["metadata"]["name"] for item in items if "deletionTimestamp" not in item["metadata"])
        return str(name)

    def container(self) -> str:
        """The id of the container, as its runtime has it."""
        (item,) = self._pods()
        return str(item["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2])

    def image(self) -> str:
        """The image that the pod is to run."""
        (item,) = (item for item in self._pods() if "deletionTimestamp" not in item["metadata"])
        return str(item["spec"]["containers"][0]["image"])

    def restarts(self) -> int:
        """Of the pod's container."""
        (item,) = self._pods()
        return int(item["status"]["containerStatuses"][0]["restartCount"])

    def wait_ready(self) -> None:
        """Return once the DaemonSet is rolled out, and kubelet has the driver."""
        self._kubectl("rollout", "status", f"daemonset/{DAEMON_SET}", "--timeout=80s")
        wait_until(lambda: self._csi_node.lists_driver, "kubelet has the driver", seconds=SECONDS)

    def roll_over(self) -> None:
        """Replace the pod, as an update of the DaemonSet does."""
        self._kubectl("rollout", "restart", f"daemonset/{DAEMON_SET}")
        self.wait_ready()

    def use_image(self, image: str) -> None:
        """Have the DaemonSet run another image, as an upgrade does; return once that is rolled out."""
        self._kubectl("set", "image", f"daemonset/{DAEMON_SET}", f"{CONTAINER}={image}")
        self.wait_ready()

    def run(self, *command: str) -> str:
        """What a command in the container prints; fails when it does."""
        return self._kubectl("exec", self.pod(), f"--container={CONTAINER}", "--", *command)

    def status(self) -> dict[str, Any]:
        """What `sscsi status --json` says in the container, whatever it thinks of it."""
        document: dict[str, Any] = json.loads(self._says("status", "--json"))
        return document

    def doctor(self) -> dict[str, Any]:
        """What `sscsi doctor --json` finds in the container."""
        document: dict[str, Any] = json.loads(self._says("doctor", "--json"))
        return document

    def patch(self, *operations: Mapping[str, str]) -> None:
        """Change the DaemonSet by operations of a JSON patch (RFC 6902); return once that is rolled out."""
        self._kubectl("patch", f"daemonset/{DAEMON_SET}", "--type=json", f"--patch={json.dumps(operations)}")
        self.wait_ready()

    def manifest(self) -> dict[str, Any]:
        """The DaemonSet."""
        found: dict[str, Any] = json.loads(self._kubectl("get", f"daemonset/{DAEMON_SET}", "--output=json"))
        return found

    def volumes(self) -> list[dict[str, Any]]:
        """The volumes that it has."""
        return list(self.status()["volumes"]["items"])

    def kill(self, program: str) -> int:
        """SIGKILL; the process that it was, by its number in the container."""
        pid = int(self.status()["programs"][program]["pid"])
        self.run(PYTHON, "-c", f"import os; os.kill({pid}, 9)")
        return pid

    def log(self) -> str:
        return self._kubectl("logs", self.pod(), f"--container={CONTAINER}")

    def _says(self, *arguments: str) -> str:
        # kubectl fails with the command that it runs.
        program = (
            "import subprocess, sys; "
            f"sys.stdout.buffer.write(subprocess.run({['sscsi', *arguments]!r}, stdout=-1).stdout)"
        )
        return self.run(PYTHON, "-c", program)

    def _pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(
            self._kubectl("get", "pods", f"--selector={SELECTOR}", "--output=json")
        )["items"]
        return items

    def _kubectl(self, *arguments: str) -> str:
        return self._cluster.kubectl(f"--namespace={NAMESPACE}", *arguments)


@contextlib.contextmanager
def installed(cluster: RealCluster, csi_node: CsiNode) -> Iterator[Driver]:
    """The driver from deploy/ with the file provider, the right to make Secrets, and rotation."""
    with tempfile.TemporaryDirectory(prefix="sscsi-e2e.") as directory:
        write_kustomization(directory, arguments=ROTATION)
        driver = Driver(cluster, csi_node, directory)
        try:
            driver.install()
            yield driver
        finally:
            driver.wait_unused()
            # Shown with a test that fails.
            print(cluster.kubectl("logs", f"--namespace={NAMESPACE}", f"--selector={SELECTOR}", "--tail=-1"))
            driver.uninstall()


def _volumes_of_pods(cluster: RealCluster) -> list[str]:
    """The mount points of CSI volumes on the node."""
    return [point for point in cluster.mounts_below(f"{KUBELET_ROOT}/pods") if "kubernetes.io~csi" in point]


def write_kustomization(directory: str, *, arguments: Sequence[str] = ()) -> None:
    """A kustomization as docs/ tell to write one: deploy/, the file provider, Secrets; `arguments` in place of those of the same name."""
    base = os.path.relpath(os.path.realpath(DEPLOY), os.path.realpath(directory))
    with open(os.path.join(DEPLOY, "daemonset.yaml"), encoding="utf-8") as file:
        (container,) = yaml.safe_load(file)["spec"]["template"]["spec"]["containers"]
    names = [argument.partition("=")[0] for argument in container["args"]]
    patch = [
        {
            "op": "replace",
            "path": f"/spec/template/spec/containers/0/args/{names.index(argument.partition('=')[0])}",
            "value": argument,
        }
        for argument in arguments
    ]
    with open(os.path.join(DEPLOY, "rbac-secretprovidersyncing.yaml"), encoding="utf-8") as file:
        secrets = file.read()
    with open(os.path.join(directory, "secrets.yaml"), "w", encoding="utf-8") as file:
        file.write(secrets)
    kustomization: dict[str, Any] = {
        "resources": [base, "secrets.yaml"],
        "components": [f"{base}/overlays/file-provider"],
    }
    if patch:
        target = {"kind": "DaemonSet", "name": DAEMON_SET}
        kustomization["patches"] = [{"target": target, "patch": json.dumps(patch)}]
    with open(os.path.join(directory, "kustomization.yaml"), "w", encoding="utf-8") as file:
        json.dump(kustomization, file)
