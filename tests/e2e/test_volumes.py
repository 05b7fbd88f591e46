"""Volumes of pods on a real node: which content comes, what is said where none can come, and that all of it goes."""

import re

from tests.cluster.figures import Figures
from tests.cluster.real_cluster import RealCluster
from tests.e2e.conftest import created
from tests.e2e.driver import SECONDS, Driver
from tests.e2e.node import Node
from tests.e2e.store import KEY, Store
from tests.e2e.workloads import MOUNTS, Namespace, secret_object
from tests.support.waiting import wait_until


def test_a_pod_reads_what_its_class_names_in_either_version(namespace: Namespace, figures: Figures) -> None:
    namespace.add_class("app", objects="foo,fookey")
    namespace.add_class("old", version="v1alpha1")
    with figures.timed("two pods Ready"):
        pod, old = namespace.add_pod("pod", wait=False), namespace.add_pod("old", "old", wait=False)
        pod.wait_ready()
        old.wait_ready()
    assert pod.read() == "secret"
    assert pod.read("fookey") == KEY
    assert old.read(class_name="old") == "secret"
    wait_until(
        lambda: {status["status"]["podName"] for status in namespace.statuses()} == {"pod", "old"},
        "both have a status object",
        seconds=SECONDS,
    )


def test_the_built_in_file_provider_needs_no_other_pod(namespace: Namespace, figures: Figures) -> None:
    namespace.add_class(provider="file")
    with figures.timed("pod Ready"):
        pod = namespace.add_pod("pod")
    assert pod.read() == "from-a-file"


def test_a_volume_can_only_be_read(namespace: Namespace, figures: Figures) -> None:
    namespace.add_class()
    pod = namespace.add_pod("pod")
    answer = pod.run("sh", "-c", f"echo other 2>&1 >{MOUNTS}/app/foo || echo refused")
    assert "Read-only file system" in answer
    assert "refused" in answer
    assert pod.read() == "secret"


def test_a_class_is_looked_for_in_the_namespace_of_the_pod_alone(
    namespace: Namespace, cluster: RealCluster, figures: Figures
) -> None:
    namespace.add_class()
    with created(cluster, "e2e-another") as another:
        another.add_class(provider="invalidprovider")
        pod = namespace.add_pod("pod")
        assert pod.read() == "secret"
        lost = another.add_pod("pod", wait=False)
        wait_until(lambda: lost.events("FailedMount"), "the other pod is told why not", seconds=SECONDS)
        assert "invalidprovider" in lost.events("FailedMount")[0]
        lost.delete()


def test_a_class_that_is_missing_is_named_in_the_event_and_counts_once_it_is_there(
    namespace: Namespace, figures: Figures
) -> None:
    pod = namespace.add_pod("pod", wait=False)
    wait_until(lambda: pod.events("FailedMount"), "the pod is told why not", seconds=SECONDS)
    expected = f"failed to get secretproviderclass {namespace.name}/app.*not found"
    assert re.search(expected, pod.events("FailedMount")[0])
    namespace.add_class()
    with figures.timed("Ready after the class came"):
        pod.wait_ready()
    assert pod.read() == "secret"


def test_one_pod_has_volumes_of_two_classes(namespace: Namespace, figures: Figures) -> None:
    for name in ("one", "two"):
        namespace.add_class(name, secrets=[secret_object(f"of-{name}")])
    pod = namespace.add_pod("pod", "one", "two")
    assert [pod.read(class_name=name) for name in ("one", "two")] == ["secret"] * 2
    assert len(pod.mounts()) == 2
    for name in ("of-one", "of-two"):
        namespace.wait_secret(name, "secret")
        assert len(namespace.owners(name)) == 1


def test_all_is_gone_with_the_pod(namespace: Namespace, driver: Driver, figures: Figures) -> None:
    namespace.add_class()
    pod = namespace.add_pod("pod")
    assert pod.mounts()
    figures.add("deleted", pod.delete())
    assert [volume for volume in driver.volumes() if volume["namespace"] == namespace.name] == []
    wait_until(lambda: not namespace.statuses(), "the status object is gone", seconds=SECONDS)
    assert "failed to clean and unmount target path" not in driver.log()


def test_a_container_that_starts_anew_has_its_volume(
    namespace: Namespace, node: Node, figures: Figures
) -> None:
    namespace.add_class()
    pod = namespace.add_pod("pod")
    before = pod.mounts()
    with figures.timed("container killed, and Ready again"):
        node.kill_container(pod.container())
        pod.wait_restarted()
        pod.wait_ready()
    assert pod.read() == "secret"
    assert pod.mounts() == before


def test_a_pod_that_comes_again_under_its_name_has_what_the_store_has_now(
    namespace: Namespace, store: Store, figures: Figures
) -> None:
    store.put(again="before")
    namespace.add_class(objects="again")
    first = namespace.add_pod("pod")
    assert first.read("again") == "before"
    first.delete()
    store.put(again="after")
    second = namespace.add_pod("pod")
    assert second.read("again") == "after"
    wait_until(
        lambda: (
            [status["status"]["targetPath"].split("/")[-4] for status in namespace.statuses()]
            and all(second.uid in status["status"]["targetPath"] for status in namespace.statuses())
        ),
        "the status object is the second pod's",
        seconds=SECONDS,
    )
