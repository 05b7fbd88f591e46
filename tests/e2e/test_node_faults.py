"""What a node lives through while pods have volumes: programs, containers and kubelet that end, a reboot, updates."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures

from tests.cluster.figures import Figures
from tests.cluster.real_cluster import RealCluster
from tests.e2e.build_image import NAME
from tests.e2e.driver import SECONDS, Driver
from tests.e2e.node import Node
from tests.e2e.store import Store
from tests.e2e.workloads import AppPod, Namespace
from tests.support.waiting import wait_until


def test_kubelet_that_starts_anew_keeps_every_volume(
    namespace: Namespace, cluster: RealCluster, driver: Driver, figures: Figures
) -> None:
    namespace.add_class()
    pod = namespace.add_pod("pod")
    before = pod.mounts()
    with figures.timed("kubelet killed and started"), cluster.kubelet_stopped():
        assert pod.mounts() == before
    driver.wait_ready()
    # Kubelet knows the old one, and the new one.
    pod.wait_content("secret")
    assert pod.mounts() == before
    with figures.timed("the next pod Ready"):
        another = namespace.add_pod("another")
    assert another.read() == "secret"
    assert pod.restarts() == 0
    pod.delete()


def test_after_a_loss_of_power_pods_have_their_volumes_again(
    namespace: Namespace, node: Node, driver: Driver, store: Store, figures: Figures
) -> None:
    namespace.add_class(provider="file")
    pod = namespace.add_pod("pod")
    deployment = namespace.add_deployment("several", replicas=3)
    deployment.wait_available()
    pods = [pod, *deployment.pods()]
    restarts = driver.restarts()
    with figures.timed("power lost, and the driver Ready again"):
        node.lose_power()
        wait_until(lambda: driver.restarts() > restarts, "the driver has started again", seconds=SECONDS)
        driver.wait_ready()
    with figures.timed("then all pods with their content"):
        for one in pods:
            one.wait_restarted()
            one.wait_ready()
    for one in pods:
        one.wait_content("from-a-file")
        assert len(one.mounts()) == 1
        one.delete()


def test_a_node_room_killed_in_a_mount_leaves_nothing_half_done(
    namespace: Namespace, driver: Driver, store: Store, figures: Figures
) -> None:
    namespace.add_class()
    with store.holding():
        pods = [namespace.add_pod(f"pod-{number}", wait=False) for number in range(3)]
        for pod in pods:
            wait_asked(store, f"{namespace.name}/{pod.name}")
        killed = driver.kill("node")
    with figures.timed("killed, and three pods Ready"):
        for pod in pods:
            pod.wait_ready()
    assert driver.status()["programs"]["node"]["pid"] != killed
    for pod in pods:
        assert pod.read() == "secret"
        assert len(pod.mounts()) == 1
        pod.delete()
    assert [volume for volume in driver.volumes() if volume["namespace"] == namespace.name] == []


def test_a_driver_container_killed_in_a_mount_leaves_nothing_half_done(
    namespace: Namespace, node: Node, driver: Driver, store: Store, figures: Figures
) -> None:
    namespace.add_class()
    kept = namespace.add_pod("kept")
    restarts = driver.restarts()
    with store.holding():
        pod = namespace.add_pod("pod", wait=False)
        wait_asked(store, f"{namespace.name}/pod")
        # All at once, as when the kernel is short of memory.
        node.kill_container(driver.container())
    wait_until(lambda: driver.restarts() > restarts, "the container has started again", seconds=SECONDS)
    with figures.timed("container killed; the pod Ready"):
        pod.wait_ready()
    assert (kept.read(), pod.read()) == ("secret", "secret")
    assert kept.restarts() == 0
    for one in (kept, pod):
        one.delete()


def test_each_program_may_die_and_pods_come_and_go(
    namespace: Namespace, driver: Driver, figures: Figures
) -> None:
    namespace.add_class()
    kept = namespace.add_pod("kept")
    for program in sorted(driver.status()["programs"]):
        driver.kill(program)
        pod = namespace.add_pod(program)
        assert (kept.read(), pod.read()) == ("secret", "secret")
        figures.add(f"after {program} died, a pod deleted", pod.delete())
    wait_until(lambda: driver.status()["healthy"], "all is well again", seconds=SECONDS)
    assert kept.restarts() == 0


def test_an_upgrade_and_the_way_back_break_no_volume_and_hold_up_no_pod(
    namespace: Namespace, node: Node, driver: Driver, figures: Figures
) -> None:
    """To another image, as far as Kubernetes can tell: there is no older release to come from."""
    namespace.add_class()
    kept = namespace.add_pod("kept")
    next_image = f"{NAME}-next"
    node.tag_image(NAME, next_image)
    with coming_and_going(namespace) as pods, figures.timed("an upgrade and the way back"):
        for image in (next_image, NAME):
            before = driver.pod()
            driver.use_image(image)
            assert driver.pod() != before
            assert driver.image() == image
            assert kept.read() == "secret"
    figures.lines.append(f"{len(pods)} pods came and went meanwhile")
    for pod in pods:
        pod.wait_gone()
    assert kept.restarts() == 0
    kept.delete()
    assert [volume for volume in driver.volumes() if volume["namespace"] == namespace.name] == []


def wait_asked(store: Store, pod: str) -> None:
    """Return once the provider was asked for the pod, which is NAMESPACE/NAME."""
    wait_until(lambda: store.calls(pod), f"the provider is asked for {pod}", seconds=SECONDS)


@contextlib.contextmanager
def coming_and_going(namespace: Namespace) -> Iterator[list[AppPod]]:
    """Pods are made, read and deleted one after another in here; those that were."""
    pods: list[AppPod] = []
    ends = threading.Event()

    def work() -> None:
        while not ends.is_set():
            pod = namespace.add_pod(f"passing-{len(pods)}")
            pods.append(pod)
            assert pod.read() == "secret"
            pod.delete()

    with futures.ThreadPoolExecutor(1) as executor:
        passing = executor.submit(work)
        try:
            wait_until(lambda: pods or passing.done(), "the first one is there", seconds=SECONDS)
            yield pods
        finally:
            ends.set()
        passing.result()
