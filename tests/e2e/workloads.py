"""What users of the driver write: classes, pods and Deployments with volumes, in a namespace of the test's own."""

import base64
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.cluster.real_cluster import KUBELET_ROOT, RealCluster
from tests.e2e.driver import SECONDS
from tests.support.appliance_place import DRIVER
from tests.support.waiting import wait_until

GROUP = "secrets-store.csi.x-k8s.io"
# Of the external provider.
STORE = "e2e-store"
MOUNTS = "/mnt"
# As its first process, sleep alone would not end when asked to.
_SLEEP = ("sh", "-c", "trap exit TERM; sleep 3600 & wait")


class Namespace:
    """A namespace of the cluster; it goes with its test."""

    def __init__(self, cluster: RealCluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.cluster.kubectl(f"--namespace={self.name}", *arguments, stdin=stdin)

    def create(self, manifest: object) -> None:
        self.kubectl("create", "--filename=-", stdin=json.dumps(manifest))

    def objects(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """All of the kind, or those that `arguments` of `kubectl get` leave."""
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "--output=json", *arguments))[
            "items"
        ]
        return items

    def add_class(
        self,
        name: str = "app",
        *,
        objects: str = "foo",
        provider: str = STORE,
        version: str = "v1",
        secrets: Sequence[object] = (),
    ) -> None:
        """A SecretProviderClass that asks the provider for `objects`, which has commas between names (`file`: one name)."""
        parameters = {"objects": f"- objectName: {objects}" if provider == "file" else objects}
        spec = {"provider": provider, "parameters": parameters, "secretObjects": list(secrets)}
        self.create(
            {
                "apiVersion": f"{GROUP}/{version}",
                "kind": "SecretProviderClass",
                "metadata": {"name": name},
                "spec": spec,
            }
        )

    def add_pod(self, name: str, *classes: str, wait: bool = True) -> "AppPod":
        """A pod with a volume of each class at /mnt/CLASS; of the class `app` without any."""
        self.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name},
                "spec": pod_spec(self.cluster, *(classes or ("app",))),
            }
        )
        pod = self.pod(name)
        if wait:
            pod.wait_ready()
        return pod

    def pod(self, name: str) -> "AppPod":
        """A pod that was made."""
        return AppPod(self, name)

    def add_deployment(
        self, name: str, *, replicas: int, class_name: str = "app", secret: str = ""
    ) -> "Deployment":
        """A Deployment whose pods have a volume of the class, and the variable VALUE from the Secret's key `value`."""
        spec = pod_spec(self.cluster, class_name)
        if secret:
            source = {"secretKeyRef": {"name": secret, "key": "value"}}
            spec["containers"][0]["env"] = [{"name": "VALUE", "valueFrom": source}]
        self.create(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
                },
            }
        )
        return Deployment(self, name)

    def secret(self, name: str) -> dict[str, str]:
        """The Secret's content by key; empty where there is none."""
        found = self.find("secret", name)
        return {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}

    def wait_secret(self, name: str, value: str) -> None:
        """Return once the Secret is there with nothing but this, as `value`."""
        wait_until(
            lambda: self.secret(name) == {"value": value}, f"Secret {name} has {value}", seconds=SECONDS
        )

    def owners(self, name: str) -> list[str]:
        """The kinds of the Secret's owners, one for each."""
        return [
            owner["kind"]
            for owner in self.find("secret", name).get("metadata", {}).get("ownerReferences", ())
        ]

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """The object; empty where there is none."""
        text = self.kubectl("get", kind, name, "--ignore-not-found", "--output=json")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def statuses(self) -> list[dict[str, Any]]:
        """The SecretProviderClassPodStatus objects of the namespace."""
        return self.objects(f"secretproviderclasspodstatus.{GROUP}")


class AppPod:
    """A pod of a namespace, of one container."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self._namespace = namespace
        self.name = name
        self.uid = namespace.kubectl("get", "pod", name, "--output=jsonpath={.metadata.uid}")

    @property
    def directory(self) -> str:
        """Kubelet's directory for the pod."""
        return f"{KUBELET_ROOT}/pods/{self.uid}"

    def wait_ready(self) -> None:
        wait(self._namespace, "Ready", f"pod/{self.name}")

    def run(self, *command: str) -> str:
        return self._namespace.kubectl("exec", self.name, "--", *command)

    def read(self, name: str = "foo", *, class_name: str = "app") -> str:
        """The secret as the pod's container sees it."""
        return self.run("cat", f"{MOUNTS}/{class_name}/{name}")

    def wait_content(self, content: str, *, name: str = "foo", class_name: str = "app") -> None:
        """Return once the pod's container reads this; kubelet, which runs commands in it, may have to start first."""

        def reads() -> bool:
            with contextlib.suppress(AssertionError):
                return self.read(name, class_name=class_name) == content
            return False

        wait_until(reads, f"{self.name} reads {content}", seconds=SECONDS)

    def restarts(self) -> int:
        """Of its container."""
        return int(self._of_container("restartCount"))

    def container(self) -> str:
        """The id of its container, as the runtime has it."""
        return self._of_container("containerID").rpartition("/")[2]

    def wait_restarted(self) -> None:
        """Return once its container has started a second time."""
        wait_until(lambda: self.restarts() == 1, f"{self.name} has started again", seconds=SECONDS)

    def mounts(self) -> list[str]:
        """The pod's mounts as kubelet sees them."""
        return self._namespace.cluster.mounts_below(self.directory)

    def events(self, reason: str) -> list[str]:
        """The messages of the Events on it that have this reason."""
        selector = f"--field-selector=involvedObject.uid={self.uid},reason={reason}"
        return [item["message"] for item in self._namespace.objects("events", selector)]

    def delete(self) -> float:
        """Return once nothing of it is left on the node; the seconds it took."""
        begun = time.monotonic()
        self._namespace.kubectl("delete", "pod", self.name, f"--timeout={SECONDS:.0f}s")
        seconds = time.monotonic() - begun
        self.wait_gone()
        return seconds

    def wait_gone(self) -> None:
        """Return once the node has neither a mount of the pod nor its directory."""
        wait_until(lambda: not self.mounts(), f"no mount of {self.name} is left", seconds=SECONDS)
        wait_until(
            lambda: self.uid not in self._namespace.cluster.on_node("ls", f"{KUBELET_ROOT}/pods").split(),
            f"{self.name} has no directory",
            seconds=SECONDS,
        )

    def _of_container(self, field: str) -> str:
        jsonpath = f"--output=jsonpath={{.status.containerStatuses[0].{field}}}"
        return self._namespace.kubectl("get", "pod", self.name, jsonpath)


class Deployment:
    """A Deployment of a namespace; its pods have the label `app` with its name."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self._namespace = namespace
        self.name = name

    def wait_available(self, *, seconds: float = SECONDS) -> None:
        """Return once all its pods are ready."""
        wait_until(
            lambda: self._status().get("readyReplicas") == self._status().get("replicas", 0) > 0,
            f"{self.name} is ready",
            seconds=seconds,
        )

    def pods(self) -> list[AppPod]:
        items = self._namespace.objects("pods", f"--selector=app={self.name}")
        return [AppPod(self._namespace, item["metadata"]["name"]) for item in items]

    def delete(self) -> None:
        """Return once its pods are gone, too."""
        self._namespace.kubectl(
            "delete",
            "deployment",
            self.name,
            "--cascade=foreground",
            f"--timeout={SECONDS:.0f}s",
        )

    def _status(self) -> Mapping[str, Any]:
        status: dict[str, Any] = self._namespace.find("deployment", self.name)["status"]
        return status


def pod_spec(cluster: RealCluster, *classes: str) -> dict[str, Any]:
    """Of a pod that runs, with a volume of each class at /mnt/CLASS."""
    return {
        "nodeName": cluster.node,
        "automountServiceAccountToken": False,
        # With 0 the pod would be gone before kubelet has cleared away.
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "app",
                "image": cluster.image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(_SLEEP),
                "volumeMounts": [
                    {"name": name, "mountPath": f"{MOUNTS}/{name}", "readOnly": True} for name in classes
                ],
            }
        ],
        "volumes": [
            {
                "name": name,
                "csi": {
                    "driver": DRIVER,
                    "readOnly": True,
                    "volumeAttributes": {"secretProviderClass": name},
                },
            }
            for name in classes
        ],
    }


def secret_object(name: str, *, object_name: str = "foo", labels: Mapping[str, str] | None = None) -> object:
    """An entry of `secretObjects`: the object as the Secret's key `value`."""
    entry: dict[str, Any] = {
        "secretName": name,
        "type": "Opaque",
        "data": [{"objectName": object_name, "key": "value"}],
    }
    return entry | ({"labels": dict(labels)} if labels else {})


def wait(namespace: Namespace, condition: str, *what: str) -> None:
    """Wait for a condition, as long as a slow machine may need; kubectl's own patience is less than one call may take."""
    wait_until(
        lambda: all(condition in _true_conditions(namespace, one) for one in what),
        f"{condition}: {' '.join(what)}",
        seconds=SECONDS,
    )


def _true_conditions(namespace: Namespace, what: str) -> set[str]:
    kind, _, name = what.partition("/")
    conditions = namespace.find(kind, name).get("status", {}).get("conditions", ())
    return {condition["type"] for condition in conditions if condition["status"] == "True"}
