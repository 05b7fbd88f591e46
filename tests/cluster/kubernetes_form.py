"""The driver as a cluster has it: its definitions and roles installed, classes and Secrets in the API."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from tests.cluster.cluster_place import ClusterPlace, running
from tests.cluster.real_cluster import RealCluster
from tests.support.appliance_place import DRIVER
from tests.support.waiting import wait_until

_DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy")
_MANIFESTS = ("crds", "rbac.yaml", "rbac-secretprovidersyncing.yaml")
_SERVICE_ACCOUNT = "secrets-store-csi-driver"
_GROUP = "secrets-store.csi.x-k8s.io"
CLASS_KIND = f"secretproviderclass.{_GROUP}"
STATUS_KIND = f"secretproviderclasspodstatus.{_GROUP}"
CONTENT = "of the test"


@contextlib.contextmanager
def installed(cluster: RealCluster) -> Iterator[None]:
    """What deploy/ has for the driver is in the cluster in here."""
    files = [f"--filename={os.path.join(_DEPLOY, name)}" for name in _MANIFESTS]
    cluster.kubectl("apply", *files)
    cluster.kubectl("wait", "--for=condition=Established", "crd", f"secretproviderclasses.{_GROUP}")
    try:
        yield
    finally:
        cluster.kubectl("delete", *files, "--ignore-not-found")


@contextlib.contextmanager
def running_in_kubernetes(place: ClusterPlace, *arguments: str, **settings: str) -> Iterator[int]:
    """The appliance with the rights of its service account; its supervisord's number."""
    kubeconfig = place.path("kubeconfig")
    token = place.cluster.kubectl("create", "token", "--namespace=kube-system", _SERVICE_ACCOUNT).strip()
    document: dict[str, Any] = json.loads(
        place.cluster.kubectl("config", "view", "--raw", "--minify", "--output=json")
    )
    document["users"][0]["user"] = {"token": token}
    with open(kubeconfig, "w", encoding="utf-8") as file:
        json.dump(document, file)
    write_content(place, CONTENT)
    with running(place, *arguments, SSCSI_CLUSTER="kubernetes", KUBECONFIG=kubeconfig, **settings) as process:
        place.wait_ready()
        yield process.pid


def write_content(place: ClusterPlace, content: str) -> None:
    """What the file provider has as `password`, from now on and all at once."""
    path = place.path("secrets", "default", "password")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(content)
    os.rename(file.name, path)


class Workload:
    """A Deployment whose pods have a volume, and a variable from the Secret that its class asks for."""

    def __init__(self, cluster: RealCluster, name: str) -> None:
        self._cluster = cluster
        self.name = name

    def wait_available(self) -> None:
        self._cluster.kubectl("wait", "--for=condition=Available", f"deployment/{self.name}", "--timeout=60s")

    def read(self) -> str:
        """The variable and the file, as one pod's container sees them."""
        pod = self.pods()[0]
        return self._cluster.kubectl(
            "exec", pod, "--", "sh", "-c", 'echo "$PASSWORD"; cat /mnt/secrets/password'
        )

    def pods(self) -> list[str]:
        return self._cluster.kubectl("get", "pods", f"--selector=app={self.name}", "--output=name").split()

    def statuses(self) -> list[dict[str, Any]]:
        """The status objects of its pods."""
        items = json.loads(self._cluster.kubectl("get", "secretproviderclasspodstatuses", "--output=json"))[
            "items"
        ]
        return [item for item in items if item["status"]["secretProviderClassName"] == self.name]

    def has_secret(self) -> bool:
        found = self._cluster.kubectl("get", "secret", self.name, "--ignore-not-found", "--output=name")
        return bool(found)

    def delete(self) -> None:
        self._cluster.kubectl("delete", "deployment", self.name, "--cascade=foreground", "--timeout=60s")


@contextlib.contextmanager
def deployed(cluster: RealCluster, name: str, *, replicas: int) -> Iterator[Workload]:
    """A workload that is not there any more afterwards, and neither is its class."""
    for manifest in (class_manifest(name), _deployment(cluster, name, replicas)):
        cluster.create(manifest)
    workload = Workload(cluster, name)
    try:
        yield workload
    finally:
        cluster.kubectl(
            "delete", "deployment", name, "--ignore-not-found", "--cascade=foreground", "--timeout=60s"
        )
        cluster.kubectl("delete", CLASS_KIND, name)
        wait_until(lambda: not workload.pods(), "its pods are gone", seconds=60.0)


def class_manifest(
    name: str, *, provider: str = "file", annotations: Mapping[str, str] | None = None
) -> object:
    """A class that asks for the object `password`, and for a Secret of the class's name that has it."""
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name, "namespace": "default", "annotations": dict(annotations or {})},
        "spec": {
            "provider": provider,
            "parameters": {"objects": "- objectName: password"},
            "secretObjects": [
                {
                    "secretName": name,
                    "type": "Opaque",
                    "data": [{"objectName": "password", "key": "password"}],
                }
            ],
        },
    }


def _deployment(cluster: RealCluster, name: str, replicas: int) -> object:
    container = {
        "name": "reader",
        "image": cluster.image,
        "imagePullPolicy": "IfNotPresent",
        # As its first process, sleep alone would not end when asked to.
        "command": ["sh", "-c", "trap exit TERM; sleep 3600 & wait"],
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": name, "key": "password"}}}],
        "volumeMounts": [{"name": "secrets", "mountPath": "/mnt/secrets", "readOnly": True}],
    }
    csi = {"driver": DRIVER, "readOnly": True, "volumeAttributes": {"secretProviderClass": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "hostNetwork": True,
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                    "volumes": [{"name": "secrets", "csi": csi}],
                },
            },
        },
    }
