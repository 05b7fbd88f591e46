"""Pods with one inline volume of our driver."""

import contextlib
import time
from collections.abc import Iterator

from tests.cluster.cluster_place import ClusterPlace
from tests.cluster.real_cluster import KUBELET_ROOT, RealCluster
from tests.support.appliance_place import DRIVER

CONTENT = "of the test"
_MOUNT_PATH = "/mnt/secrets"


class Pod:
    """A pod that was created; `seconds` is how long it took until it was ready."""

    def __init__(self, cluster: RealCluster, name: str) -> None:
        self._cluster = cluster
        self.name = name
        self.uid = cluster.kubectl("get", "pod", name, "--output=jsonpath={.metadata.uid}")
        self.seconds = 0.0

    @property
    def directory(self) -> str:
        """Kubelet's directory for the pod."""
        return f"{KUBELET_ROOT}/pods/{self.uid}"

    def wait_ready(self) -> None:
        begun = time.monotonic()
        self._cluster.kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", "--timeout=30s")
        self.seconds = time.monotonic() - begun

    def read(self) -> str:
        """The secret as the pod's container sees it."""
        return self._cluster.kubectl("exec", self.name, "--", "cat", f"{_MOUNT_PATH}/password")

    def mounts(self) -> list[str]:
        """The pod's mounts as kubelet sees them."""
        return self._cluster.mounts_below(self.directory)

    def delete(self) -> None:
        """Return once kubelet says that nothing of it is left."""
        self._cluster.kubectl("delete", "pod", self.name, "--timeout=30s")

    def remove(self) -> None:
        """Take away what a failed test left, if anything, whether the driver is there or not."""
        if self._cluster.kubectl("get", "pod", self.name, "--ignore-not-found", "--output=name"):
            self._cluster.kubectl("delete", "pod", self.name, "--force", "--grace-period=0")
        for point in reversed(self.mounts()):
            self._cluster.unmount(point)


@contextlib.contextmanager
def created(place: ClusterPlace, name: str) -> Iterator[Pod]:
    """A pod that is not there any more afterwards, whatever happens."""
    place.write_class(name)
    place.cluster.create(manifest(place.cluster, name))
    pod = Pod(place.cluster, name)
    try:
        yield pod
    finally:
        pod.remove()


@contextlib.contextmanager
def ready(place: ClusterPlace, name: str) -> Iterator[Pod]:
    """A pod that runs and has its volume."""
    with created(place, name) as pod:
        pod.wait_ready()
        assert pod.read() == CONTENT
        yield pod


def manifest(cluster: RealCluster, name: str, *, class_name: str = "") -> object:
    """Of a pod with a volume of the class; without one, of the class that is called as the pod is."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": cluster.node,
            "hostNetwork": True,
            "automountServiceAccountToken": False,
            # With 0 the pod would be gone before kubelet has cleared away.
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "reader",
                    "image": cluster.image,
                    "imagePullPolicy": "IfNotPresent",
                    # As its first process, sleep alone would not end when asked to.
                    "command": ["sh", "-c", "trap exit TERM; sleep 3600 & wait"],
                    "volumeMounts": [{"name": "secrets", "mountPath": _MOUNT_PATH, "readOnly": True}],
                }
            ],
            "volumes": [
                {
                    "name": "secrets",
                    "csi": {
                        "driver": DRIVER,
                        "readOnly": True,
                        "volumeAttributes": {"secretProviderClass": class_name or name},
                    },
                }
            ],
        },
    }
