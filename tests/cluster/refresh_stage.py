"""An appliance with rotation on a real node, pods whose content changes or can't be had, and what is told of it."""

import base64
import collections
import contextlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from sscsi.pb import provider_pb2
from tests.cluster.cluster_place import ClusterPlace, new_cluster_place
from tests.cluster.kubernetes_form import (
    CLASS_KIND,
    STATUS_KIND,
    class_manifest,
    installed,
    running_in_kubernetes,
)
from tests.cluster.pods import Pod, manifest
from tests.cluster.real_cluster import RealCluster
from tests.fakes.fake_provider import FakeProvider, files_answer, serving
from tests.support.appliance_place import free_address
from tests.support.supervised import programs_of
from tests.support.waiting import wait_until

INTERVAL_SECONDS = 5
# Of what comes with an interval or a restart, on a slow machine.
SECONDS = 60.0
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


class RefreshStage:
    """The appliance that runs; its interval is INTERVAL_SECONDS where a class says nothing else."""

    def __init__(self, place: ClusterPlace, supervisor: int, metrics_address: str) -> None:
        self.place = place
        self.cluster = place.cluster
        self._supervisor = supervisor
        self._metrics_address = metrics_address

    def samples(self) -> Samples:
        """Every sample of the metrics page, by name and labels; figures are a second old at most."""
        with urllib.request.urlopen(f"http://{self._metrics_address}/metrics", timeout=20) as answer:
            page = answer.read().decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def counted(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with these labels. The name must be there; a provider comes with its first use."""
        found = {pairs: value for (own, pairs), value in self.samples().items() if own == name}
        assert found, f"no {name}"
        return sum(value for pairs, value in found.items() if pairs >= set(labels.items()))

    def wait_counted(self, name: str, at_least: float, **labels: str) -> None:
        wait_until(
            lambda: self.counted(name, **labels) >= at_least, f"{name}{labels} is {at_least}", seconds=SECONDS
        )

    def publishes(self, *, provider: str) -> float:
        """Kubelet's calls; one whose refresh failed counts as an error, though kubelet was told OK."""
        return sum(
            self.counted(name, provider=provider)
            for name in ("node_publish_total", "node_publish_error_total")
        )

    def kill(self, program: str) -> int:
        """SIGKILL; the process that it was."""
        wait_until(lambda: program in programs_of(self._supervisor), f"{program} has a process")
        pid = programs_of(self._supervisor)[program]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_serving(self, program: str, *, after: int = 0) -> None:
        """Return once the program serves, in another process than `after`."""

        def serves() -> bool:
            shown = self.place.status().document["programs"][program]
            return bool(shown["says"] == "serving" and programs_of(self._supervisor).get(program) != after)

        wait_until(serves, f"{program} serves", seconds=SECONDS)

    def shown(self, pod: "RefreshedPod") -> dict[str, Any]:
        """What `sscsi status --json` has of the pod's volume."""
        (item,) = (
            item
            for item in self.place.status().document["volumes"]["items"]
            if (item["namespace"], item["pod"]) == ("default", pod.name)
        )
        return dict(item)

    @contextlib.contextmanager
    def provider(self, name: str) -> Iterator[FakeProvider]:
        """A provider of that name whose store is this test's own; what it has at first is `first`."""
        provider = FakeProvider()
        provider.answer = has("first")
        with serving(provider, self.place.path("providers", f"{name}.sock")):
            yield provider

    @contextlib.contextmanager
    def pods(
        self, *names: str, provider: str = "file", annotations: Mapping[str, str] | None = None
    ) -> Iterator[list["RefreshedPod"]]:
        """Pods that run, with volumes of a class of their own, which is called as the first of them."""
        class_name = names[0]
        with contextlib.ExitStack() as stack:
            self.cluster.create(class_manifest(class_name, provider=provider, annotations=annotations))
            stack.callback(self.cluster.kubectl, "delete", CLASS_KIND, class_name, "--ignore-not-found")
            for name in names:
                self.cluster.create(manifest(self.cluster, name, class_name=class_name))
                stack.callback(RefreshedPod(self, name, class_name).remove)
            made = [RefreshedPod(self, name, class_name) for name in names]
            for pod in made:
                pod.wait_ready()
            yield made
            self.cluster.kubectl("delete", "pod", *names, "--ignore-not-found", "--timeout=30s")
            assert [point for pod in made for point in pod.mounts()] == []


class RefreshedPod(Pod):
    """A pod of a class whose Secret has the class's name."""

    def __init__(self, stage: RefreshStage, name: str, class_name: str) -> None:
        super().__init__(stage.cluster, name)
        self._stage = stage
        self.class_name = class_name

    def wait_content(self, content: str) -> None:
        """Return once the pod's container reads this in its file."""
        self._stage.cluster.kubectl(
            "exec",
            self.name,
            "--",
            *("timeout", f"{SECONDS:.0f}", "sh", "-c"),
            'until [ "$(cat /mnt/secrets/password)" = "$0" ]; do sleep 0.1; done',
            content,
        )

    def wait_secret(self, content: str) -> None:
        """Return once the Secret of its class has it."""

        def data() -> str:
            jsonpath = "--output=jsonpath={.data.password}"
            return self._stage.cluster.kubectl("get", "secret", self.class_name, jsonpath)

        wait_until(lambda: base64.b64decode(data()).decode() == content, "the Secret has it", seconds=SECONDS)

    def files(self) -> list[str]:
        """The names in its volume."""
        return self._stage.cluster.kubectl("exec", self.name, "--", "ls", "/mnt/secrets").split()

    def condition(self) -> dict[str, str]:
        """`Refreshed` of its status object."""
        return status_conditions(self._stage.cluster, self.name).get("Refreshed", {})

    def wait_condition(self, status: str, reason: str) -> dict[str, str]:
        wait_until(
            lambda: (self.condition().get("status"), self.condition().get("reason")) == (status, reason),
            f"Refreshed={status}, {reason}",
            seconds=SECONDS,
        )
        return self.condition()

    def events(self, reason: str) -> list[str]:
        """The messages of the Events on it that have this reason."""
        selector = f"--field-selector=involvedObject.uid={self.uid},reason={reason}"
        items = json.loads(self._stage.cluster.kubectl("get", "events", selector, "--output=json"))["items"]
        return [item["message"] for item in items]

    def restarts(self) -> int:
        """Of its container."""
        jsonpath = "--output=jsonpath={.status.containerStatuses[0].restartCount}"
        return int(self._stage.cluster.kubectl("get", "pod", self.name, jsonpath))

    def annotate(self, key: str, value: str) -> None:
        self._stage.cluster.kubectl("annotate", "pod", self.name, f"{key}={value}", "--overwrite")

    def touch(self) -> None:
        """Have kubelet publish again soon, as it does with every change of a pod."""
        self._stage.cluster.kubectl("label", "pod", self.name, f"touched=at-{time.time():.3f}", "--overwrite")

    def republish(self, *, provider: str) -> None:
        """Have kubelet publish again, and return once it was answered."""
        before = self._stage.publishes(provider=provider)
        self.touch()
        wait_until(
            lambda: self._stage.publishes(provider=provider) > before,
            "kubelet has published again",
            seconds=SECONDS,
        )


def has(content: str) -> provider_pb2.MountResponse:
    """An answer of a provider: `password`, with its content as version."""
    return files_answer(("password", 0o644, content.encode()), version=content)


def status_conditions(cluster: RealCluster, pod: str) -> dict[str, dict[str, str]]:
    """The conditions of the pod's status object by type; empty while there is none."""
    for item in objects(cluster, STATUS_KIND):
        if item["status"]["podName"] == pod:
            return {condition["type"]: condition for condition in item["status"].get("conditions", ())}
    return {}


def objects(cluster: RealCluster, kind: str) -> list[dict[str, Any]]:
    """All of the namespace."""
    items: list[dict[str, Any]] = json.loads(cluster.kubectl("get", kind, "--output=json"))["items"]
    return items


def written(cluster: RealCluster) -> dict[tuple[str, str], str]:
    """The version of every object of the kinds that the appliance writes; Events count by how often they were seen."""
    versions = {}
    for kind in (STATUS_KIND, "secrets", "events"):
        for item in objects(cluster, kind):
            if kind != "events" or item["source"].get("component") == "csi-secrets-store-controller":
                versions[kind, item["metadata"]["name"]] = item["metadata"]["resourceVersion"]
    return versions


@contextlib.contextmanager
def refresh_stage(cluster: RealCluster) -> Iterator[RefreshStage]:
    """The driver installed and running, ready for pods."""
    address = free_address()
    flags = ("--enable-secret-rotation", f"--rotation-poll-interval={INTERVAL_SECONDS}s")
    with (
        installed(cluster),
        new_cluster_place(cluster) as place,
        running_in_kubernetes(place, *flags, SSCSI_METRICS_ADDR=address) as supervisor,
    ):
        yield RefreshStage(place, supervisor, address)


def requests_by_pod(provider: FakeProvider) -> "collections.Counter[str]":
    """How often the provider was asked, by pod."""
    return collections.Counter(
        json.loads(request.attributes)["csi.storage.k8s.io/pod.name"] for request in list(provider.requests)
    )
