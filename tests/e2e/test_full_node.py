"""As many pods as Kubernetes gives a node by default, all made at the same moment."""

import time

from tests.cluster.figures import Figures
from tests.e2e.driver import Driver
from tests.e2e.store import Store
from tests.e2e.workloads import Namespace, secret_object
from tests.support.waiting import wait_until

PODS = 110
_SECONDS = 400.0


def test_110_pods_of_one_class(namespace: Namespace, driver: Driver, store: Store, figures: Figures) -> None:
    namespace.add_class(secrets=[secret_object("mirror")])
    begun = time.monotonic()
    deployment = namespace.add_deployment("many", replicas=PODS)
    deployment.wait_available(seconds=_SECONDS)
    figures.add(f"create to all {PODS} Ready", time.monotonic() - begun)
    volumes = [volume for volume in driver.volumes() if volume["namespace"] == namespace.name]
    assert len(volumes) == PODS
    pods = deployment.pods()
    assert all(len(pod.mounts()) == 1 for pod in pods)
    assert pods[0].read() == pods[-1].read() == "secret"
    wait_until(lambda: len(namespace.statuses()) == PODS, "each has a status object", seconds=_SECONDS)
    assert len(namespace.owners("mirror")) == 1
    assert driver.status()["healthy"]
    begun = time.monotonic()
    deployment.delete()
    for pod in pods:
        pod.wait_gone()
    figures.add("delete to all gone", time.monotonic() - begun)
    assert [volume for volume in driver.volumes() if volume["namespace"] == namespace.name] == []
    wait_until(lambda: not namespace.statuses(), "no status object is left", seconds=_SECONDS)
