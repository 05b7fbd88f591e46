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
    field = f"/spec/template/spec/containers/0/volumeMounts/{place_of_pods(driver)[0]}/mountPropagation"
    driver.patch({"op": "remove", "path": field})
    try:
        assert_told(namespace, driver, "Bidirectional")
    finally:
        driver.patch({"op": "add", "path": field, "value": "Bidirectional"})
    with figures.timed("Ready after it was mended"):
        namespace.pod("told").wait_ready()
    assert kept.read() == namespace.pod("told").read() == "from-a-file"
    assert kept.restarts() == 0
    kept.delete()


def test_a_wrong_kubelet_root_is_named_to_the_pod_in_the_log_and_by_the_doctor(
    namespace: Namespace, driver: Driver, figures: Figures
) -> None:
    namespace.add_class(provider="file")
    mount, volume = place_of_pods(driver)
    fields = (
        f"/spec/template/spec/containers/0/volumeMounts/{mount}/mountPath",
        f"/spec/template/spec/volumes/{volume}/hostPath/path",
    )
    driver.patch(*({"op": "replace", "path": field, "value": "/var/lib/other/pods"} for field in fields))
    try:
        assert_told(namespace, driver, KUBELET_ROOT)
    finally:
        driver.patch(*({"op": "replace", "path": field, "value": _PODS} for field in fields))
    with figures.timed("Ready after it was mended"):
        namespace.pod("told").wait_ready()
    assert namespace.pod("told").read() == "from-a-file"


def test_a_csidriver_of_another_shape_is_named_in_the_log_and_by_the_doctor(
    cluster: RealCluster, driver: Driver, figures: Figures
) -> None:
    with csidriver(cluster, podInfoOnMount=False):
        driver.roll_over()
        wait_until(lambda: "podInfoOnMount is not true" in driver.log(), "the log says so", seconds=SECONDS)
        assert any("podInfoOnMount is not true" in found for found in failures(driver))
    assert not any("podInfoOnMount" in found for found in failures(driver))


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


def place_of_pods(driver: Driver) -> tuple[int, int]:
    """Which volumeMount and which volume of the DaemonSet has kubelet's pods."""
    spec = driver.manifest()["spec"]["template"]["spec"]
    mounts, volumes = spec["containers"][0]["volumeMounts"], spec["volumes"]
    name = "mountpoint-dir"
    return [one["name"] for one in mounts].index(name), [one["name"] for one in volumes].index(name)
