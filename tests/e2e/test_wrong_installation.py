"""Installations that can't work: who looks at the pod, the log or `sscsi doctor` is told what is wrong, and what to do."""

import contextlib
import json
from collections.abc import Iterator

from tests.cluster.figures import Figures
from tests.cluster.real_cluster import KUBELET_ROOT, RealCluster
from tests.e2e.driver import SECONDS, Driver
from tests.e2e.workloads import Namespace
from tests.support.appliance_place import DRIVER
from tests.support.waiting import wait_until

CURE = "chart value linux.kubeletRootDir"
_PODS = f"{KUBELET_ROOT}/pods"


def test_the_doctor_finds_nothing_where_all_is_well(driver: Driver, figures: Figures) -> None:
    with figures.timed("no failure any more"):
        wait_until(lambda: not failures(driver), "the doctor is content", seconds=SECONDS)
    words = {finding["check"] for finding in driver.doctor()["findings"]}
    assert {
        "kubelet-root",
        "propagation",
        "registration",
        "csidriver",
        "crds",
        "rights",
        "providers",
    } <= words


def test_missing_propagation_is_named_to_the_pod_in_the_log_and_by_the_doctor(
    namespace: Namespace, driver: Driver, figures: Figures
) -> None:
    namespace.add_class(provider="file")
    kept = namespace.add_pod("kept")
    with patched(driver, propagation="None"):
        assert_told(namespace, driver, "Bidirectional")
    with figures.timed("Ready after it was mended"):
        namespace.pod("told").wait_ready()
    assert kept.read() == namespace.pod("told").read() == "from-a-file"
    assert kept.restarts() == 0
    kept.delete()


def test_a_wrong_kubelet_root_is_named_to_the_pod_in_the_log_and_by_the_doctor(
    namespace: Namespace, driver: Driver, figures: Figures
) -> None:
    namespace.add_class(provider="file")
    leaving = namespace.add_pod("leaving")
    # As kubelet's pods, it is on a mount that is shared: else the runtime would refuse the container.
    with patched(driver, path=f"{KUBELET_ROOT}/other/pods"):
        assert_told(namespace, driver, KUBELET_ROOT)
        # What can't be seen is not said to be gone.
        namespace.kubectl("delete", "pod", leaving.name, "--wait=false")
        wait_until(
            lambda: f"what is mounted at {leaving.directory}" in driver.log(),
            "the log says so",
            seconds=SECONDS,
        )
        assert leaving.mounts()
    with figures.timed("Ready after it was mended"):
        namespace.pod("told").wait_ready()
    assert namespace.pod("told").read() == "from-a-file"
    leaving.wait_gone()


def test_a_csidriver_of_another_shape_is_named_in_the_log_and_by_the_doctor(
    cluster: RealCluster, driver: Driver, figures: Figures
) -> None:
    with csidriver(cluster, podInfoOnMount=False):
        driver.roll_over()
        wait_until(lambda: "podInfoOnMount is not true" in driver.log(), "the log says so", seconds=SECONDS)
        assert any("podInfoOnMount is not true" in found for found in failures(driver))
    assert not any("podInfoOnMount" in found for found in failures(driver))


@contextlib.contextmanager
def patched(driver: Driver, *, path: str = _PODS, propagation: str = "Bidirectional") -> Iterator[None]:
    """The DaemonSet has kubelet's pods from another path, or with other propagation, in here."""

    def patch(path: str, propagation: str) -> None:
        spec = driver.manifest()["spec"]["template"]["spec"]
        mount, volume = (
            [one["name"] for one in entries].index("mountpoint-dir")
            for entries in (spec["containers"][0]["volumeMounts"], spec["volumes"])
        )
        field = f"/spec/template/spec/containers/0/volumeMounts/{mount}"
        driver.patch(
            {"op": "replace", "path": f"{field}/mountPath", "value": path},
            {"op": "replace", "path": f"{field}/mountPropagation", "value": propagation},
            {"op": "replace", "path": f"/spec/template/spec/volumes/{volume}/hostPath/path", "value": path},
        )

    try:
        patch(path, propagation)
        yield
    finally:
        patch(_PODS, "Bidirectional")


@contextlib.contextmanager
def csidriver(cluster: RealCluster, **spec: object) -> Iterator[None]:
    """The CSIDriver object has these in here, and what it had afterwards."""
    before = json.loads(cluster.kubectl("get", "csidriver", DRIVER, "--output=json"))["spec"]
    cluster.kubectl("patch", "csidriver", DRIVER, "--type=merge", f"--patch={json.dumps({'spec': spec})}")
    try:
        yield
    finally:
        old = {name: before[name] for name in spec}
        cluster.kubectl("patch", "csidriver", DRIVER, "--type=merge", f"--patch={json.dumps({'spec': old})}")


def assert_told(namespace: Namespace, driver: Driver, word: str) -> None:
    """A new pod, the log and the doctor are told of the word and the cure."""
    told = namespace.add_pod("told", wait=False)
    wait_until(lambda: told.events("FailedMount"), "the pod is told", seconds=SECONDS)
    event = told.events("FailedMount")[0]
    assert word in event
    assert CURE in event
    (line,) = [line for line in driver.log().splitlines() if "pods will not see" in line and word in line][:1]
    assert CURE in line
    assert any(CURE in found for found in failures(driver))


def failures(driver: Driver) -> list[str]:
    """What the doctor says of each check that failed, with the cure."""
    return [
        f"{finding['found']}: {finding['cure']}"
        for finding in driver.doctor()["findings"]
        if finding["outcome"] == "fail"
    ]
