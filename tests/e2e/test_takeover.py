"""Upstream's driver and ours take turns on a node: whoever comes refreshes, tells of and takes away what the other mounted.

Upstream's is the real one, v1.6.0; where it was not built (tests/e2e/upstream_build.py), these tests are skipped.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.csi_node import CsiNode
from tests.cluster.figures import Figures
from tests.cluster.real_cluster import KUBELET_ROOT, RealCluster
from tests.e2e import upstream as upstreams
from tests.e2e.driver import DAEMON_SET, NAMESPACE, ROTATION, SECONDS, Driver
from tests.e2e.node import Node
from tests.e2e.store import Store
from tests.e2e.upstream import Upstream
from tests.e2e.workloads import MOUNTS, AppPod, Namespace, pod_spec, secret_object
from tests.support.waiting import wait_until

# The store's object of these tests, which change it.
OBJECT = "turn"
# Owns the Secret for a pod that nobody else owns.
_STATUS = "SecretProviderClassPodStatus"
RECORDS = f"{KUBELET_ROOT}/plugins/{DAEMON_SET}/records"
HELD = "a live server of another program answers"
# Whatever the file has been, one line each time it is something else.
_WATCH = f"""
trap exit TERM
while :; do
    now=$(cat {MOUNTS}/app/{OBJECT} 2>&1) || now="failed: $now"
    [ "$now" = "$last" ] || echo "$now"
    last=$now
    sleep 0.05
done
"""

pytestmark = pytest.mark.timeout(400)


class Watcher(AppPod):
    """A pod that writes down what it reads, all the time."""

    def seen(self) -> list[str]:
        """The different contents, in their order."""
        return self._namespace.kubectl("logs", self.name).splitlines()


@pytest.fixture(scope="module")
def upstream(node: Node, driver: Driver, csi_node: CsiNode) -> Iterator[Upstream]:
    with upstreams.beside(node, driver, csi_node) as made:
        yield made


def add_watcher(namespace: Namespace) -> Watcher:
    spec = pod_spec(namespace.cluster, "app")
    spec["containers"][0]["command"] = ["sh", "-c", _WATCH]
    namespace.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "watcher"}, "spec": spec})
    watcher = Watcher(namespace, "watcher")
    watcher.wait_ready()
    return watcher


def republish(namespace: Namespace) -> None:
    """Have kubelet look at all pods at once, and not in a minute: it does when their metadata changes."""
    for name in namespace.kubectl("get", "pods", "--output=name").split():
        version = namespace.kubectl("get", name, "--output=jsonpath={.metadata.resourceVersion}")
        namespace.kubectl("annotate", name, f"tests/seen={version}", "--overwrite")


def status_of(namespace: Namespace, pod: AppPod) -> dict[str, Any]:
    """The `status` of the pod's status object; empty where there is none."""
    found = [item["status"] for item in namespace.statuses() if item["status"]["podName"] == pod.name]
    return found[0] if found else {}


def versions(content: str) -> list[dict[str, str]]:
    """As a status object has them when the store has this content."""
    return [{"id": OBJECT, "version": hashlib.sha256(content.encode()).hexdigest()[:12]}]


def refreshed(status: dict[str, Any]) -> str:
    """The status of the condition that only we write; empty where there is none."""
    found = [entry["status"] for entry in status.get("conditions", ()) if entry["type"] == "Refreshed"]
    return found[0] if found else ""


def records(cluster: RealCluster) -> list[str]:
    return cluster.on_node("ls", RECORDS).split()


def failing(driver: Driver) -> list[str]:
    """The checks of `sscsi doctor` that fail."""
    return [found["check"] for found in driver.doctor()["findings"] if found["outcome"] == "fail"]


def wait_owners(namespace: Namespace, *kinds: str) -> None:
    """Return once the Secret has owners of these kinds, and no others."""
    wait_until(
        lambda: sorted(namespace.owners("synced")) == sorted(kinds), f"owned by {kinds}", seconds=SECONDS
    )


def wait_nothing_left(namespace: Namespace, driver: Driver) -> None:
    """Return once neither node nor cluster know anything of the namespace's volumes, which were unpublished."""
    wait_until(lambda: not driver.volumes(), "the driver has no volume", seconds=SECONDS)
    assert records(namespace.cluster) == []
    wait_until(lambda: not namespace.statuses(), "the status objects are gone", seconds=SECONDS)
    wait_until(lambda: not namespace.secret("synced"), "the Secret is gone", seconds=SECONDS)


def test_what_upstream_mounted_is_refreshed_told_of_and_taken_away_by_us(
    namespace: Namespace, store: Store, driver: Driver, upstream: Upstream, figures: Figures
) -> None:
    namespace.add_class(objects=OBJECT, secrets=[secret_object("synced", object_name=OBJECT)])
    store.put(**{OBJECT: "first"})
    with figures.timed("upstream's manifests applied over ours -> registered"):
        upstream.take_over()
    watcher, early = add_watcher(namespace), namespace.add_pod("early")
    deployment = namespace.add_deployment("app", replicas=2, secret="synced")
    deployment.wait_available()
    assert refreshed(status_of(namespace, watcher)) == ""
    wait_owners(namespace, "ReplicaSet", _STATUS, _STATUS)

    with figures.timed("our manifests applied over upstream's -> registered"):
        upstream.give_back(*ROTATION)
    assert failing(driver) == []
    # It goes before we have heard of it from kubelet.
    with figures.timed("a pod of upstream's deleted"):
        early.delete()
    store.put(**{OBJECT: "second"})
    republish(namespace)
    for pod in (watcher, *deployment.pods()):
        pod.wait_content("second", name=OBJECT)
        wait_until(lambda pod=pod: refreshed(status_of(namespace, pod)) == "True", f"{pod.name} is told of")  # type: ignore[misc]
        assert status_of(namespace, pod)["objects"] == versions("second")
        assert pod.restarts() == 0
    namespace.wait_secret("synced", "second")
    wait_owners(namespace, "ReplicaSet", _STATUS)
    assert {item["status"]["podName"] for item in namespace.statuses()} == {
        pod.name for pod in (watcher, *deployment.pods())
    }
    assert watcher.seen() == ["first", "second"]

    watcher.delete()
    deployment.delete()
    wait_nothing_left(namespace, driver)


def test_without_rotation_a_volume_of_upstreams_keeps_content_versions_and_secret(
    namespace: Namespace, store: Store, driver: Driver, upstream: Upstream
) -> None:
    namespace.add_class(objects=OBJECT, secrets=[secret_object("synced", object_name=OBJECT)])
    store.put(**{OBJECT: "first"})
    upstream.take_over()
    watcher = add_watcher(namespace)
    wait_until(lambda: namespace.secret("synced"), "the Secret is there", seconds=SECONDS)

    upstream.give_back()
    store.put(**{OBJECT: "second"})
    republish(namespace)
    wait_until(lambda: refreshed(status_of(namespace, watcher)), "it is told of", seconds=SECONDS)
    assert refreshed(status_of(namespace, watcher)) == "Unknown"
    assert status_of(namespace, watcher)["objects"] == versions("first")
    (volume,) = driver.volumes()
    assert (volume["adopted"], volume["failing"]) == (True, False)
    assert namespace.secret("synced") == {"value": "first"}
    assert watcher.seen() == ["first"]

    # Switched on later, it is due at once.
    upstream.give_back(*ROTATION)
    republish(namespace)
    watcher.wait_content("second", name=OBJECT)
    namespace.wait_secret("synced", "second")
    watcher.delete()
    wait_nothing_left(namespace, driver)


def test_what_we_mounted_is_refreshed_told_of_and_taken_away_by_upstream(
    namespace: Namespace, store: Store, driver: Driver, upstream: Upstream, figures: Figures
) -> None:
    namespace.add_class(objects=OBJECT, secrets=[secret_object("synced", object_name=OBJECT)])
    store.put(**{OBJECT: "first"})
    watcher, early = add_watcher(namespace), namespace.add_pod("early")
    deployment = namespace.add_deployment("app", replicas=2, secret="synced")
    deployment.wait_available()
    wait_until(lambda: len(namespace.statuses()) == 4, "the status objects are there", seconds=SECONDS)

    upstream.take_over(definitions=False)
    with figures.timed("a pod of ours deleted by upstream"):
        early.delete()
    store.put(**{OBJECT: "second"})
    for pod in (watcher, *deployment.pods()):
        # Upstream, unlike us, misses a call that comes within its interval of the last change.
        wait_until(lambda pod=pod: _reads(namespace, pod, "second"), f"{pod.name} reads it", seconds=SECONDS)  # type: ignore[misc]
        wait_until(
            lambda pod=pod: status_of(namespace, pod)["objects"] == versions("second"),  # type: ignore[misc]
            f"{pod.name} is told of",
            seconds=SECONDS,
        )
        # Upstream writes the status whole, and knows no conditions.
        assert refreshed(status_of(namespace, pod)) == ""
        assert pod.restarts() == 0
    namespace.wait_secret("synced", "second")
    deployment.delete()
    assert [line for line in upstream.log().splitlines() if "failed to clean and unmount" in line] == []

    upstream.give_back(*ROTATION)
    # Those of the pods that went, and of the one whose content is upstream's by now.
    assert driver.log().count('"a record is dropped"') == 4
    store.put(**{OBJECT: "third"})
    republish(namespace)
    watcher.wait_content("third", name=OBJECT)
    assert watcher.seen() == ["first", "second", "third"]
    assert watcher.restarts() == 0
    watcher.delete()
    wait_nothing_left(namespace, driver)


def test_while_upstreams_other_daemonset_has_the_node_we_wait_and_say_so(
    namespace: Namespace, store: Store, driver: Driver, upstream: Upstream, figures: Figures
) -> None:
    """As after `kubectl apply` of ours where upstream's chart is installed: names and labels differ, sockets don't."""
    namespace.add_class(objects=OBJECT)
    store.put(**{OBJECT: "first"})
    watcher = add_watcher(namespace)
    with upstream.beside_ours():
        wait_until(
            lambda: any(HELD in reason for reason in driver.status()["reasons"]),
            "ours says so",
            seconds=SECONDS,
        )
        wait_until(lambda: "registration" in failing(driver), "the doctor says so", seconds=SECONDS)
        other = namespace.add_pod("other")
        assert other.read(OBJECT) == "first"
        # Upstream's object for it, which is none of ours to remove.
        assert status_of(namespace, other)["objects"] == versions("first")
    with figures.timed("upstream's DaemonSet deleted -> ours serves"):
        driver.wait_ready()
    store.put(**{OBJECT: "second"})
    republish(namespace)
    watcher.wait_content("second", name=OBJECT)
    other.wait_content("second", name=OBJECT)
    other.delete()
    assert watcher.seen() == ["first", "second"]
    watcher.delete()
    wait_nothing_left(namespace, driver)


def test_pods_come_and_go_while_our_own_pod_is_replaced(
    namespace: Namespace, store: Store, driver: Driver, figures: Figures
) -> None:
    namespace.add_class(objects=OBJECT)
    store.put(**{OBJECT: "first"})
    watcher = add_watcher(namespace)
    with figures.timed("three updates with 15 pods that come and go"):
        for turn in range(3):
            namespace.kubectl("delete", "pods", "--selector=app=comes-and-goes", "--wait=false")
            namespace.cluster.kubectl(
                f"--namespace={NAMESPACE}", "rollout", "restart", f"daemonset/{DAEMON_SET}"
            )
            # Before, while and after the old pod goes.
            for number in range(5):
                _add_pod(namespace, f"pod-{turn}-{number}")
            driver.wait_ready()
    last = [f"pod-2-{number}" for number in range(5)]
    for name in last:
        AppPod(namespace, name).wait_ready()
        assert AppPod(namespace, name).read(OBJECT) == "first"
    directories = [AppPod(namespace, name).directory for name in last]
    with figures.timed("all of them deleted"):
        namespace.kubectl("delete", "pods", "--selector=app=comes-and-goes", f"--timeout={SECONDS:.0f}s")
    assert namespace.kubectl("get", "pods", "--output=name").split() == ["pod/watcher"]
    mounts = itertools.chain.from_iterable(map(namespace.cluster.mounts_below, directories))
    assert list(mounts) == []
    assert [volume["pod"] for volume in driver.volumes()] == ["watcher"]
    assert len(records(namespace.cluster)) == 1
    assert watcher.seen() == ["first"]
    assert watcher.restarts() == 0
    watcher.delete()
    wait_nothing_left(namespace, driver)


def _reads(namespace: Namespace, pod: AppPod, content: str) -> bool:
    if pod.read(OBJECT) == content:
        return True
    republish(namespace)
    return False


def _add_pod(namespace: Namespace, name: str) -> None:
    metadata = {"name": name, "labels": {"app": "comes-and-goes"}}
    spec = pod_spec(namespace.cluster, "app")
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    namespace.kubectl("create", "--filename=-", stdin=json.dumps(document))
