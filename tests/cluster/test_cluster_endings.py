"""Kubelet starts anew, comes late, or the whole appliance dies: pods keep their volumes, and all finds together again."""

import contextlib
import time

from tests.cluster import pods
from tests.cluster.cluster_place import ClusterPlace, running
from tests.cluster.csi_node import CsiNode
from tests.cluster.figures import Figures
from tests.cluster.real_cluster import kubelets
from tests.support.supervised import is_alive, programs_of
from tests.support.waiting import wait_until


def test_a_kubelet_that_starts_anew_knows_the_driver_without_a_restart_of_ours(
    place: ClusterPlace, csi_node: CsiNode, figures: Figures
) -> None:
    with running(place) as appliance, pods.ready(place, "kept") as pod:
        before = programs_of(appliance.pid)
        begun = time.monotonic()
        with place.cluster.kubelet_stopped():
            pass
        wait_until(lambda: place.status().registration["registrations"] == 2, "kubelet registers anew")
        figures.add("kubelet started anew -> registered with it", _registered_after_kubelets_start(place))
        assert place.status().code == 0
        assert programs_of(appliance.pid) == before
        # The API server's list outlives kubelet's.
        assert csi_node.since(begun) == []
        assert pod.read() == pods.CONTENT
        with pods.ready(place, "new") as other:
            other.delete()
        pod.delete()
        assert pod.mounts() == []
        assert place.records() == []


def test_an_appliance_that_comes_before_kubelet_says_that_it_waits(
    place: ClusterPlace, figures: Figures
) -> None:
    with contextlib.ExitStack() as stack:
        with place.cluster.kubelet_stopped():
            stack.enter_context(running(place))
            assert place.readyz() == 500
            status = place.status()
            assert status.code == 1
            assert status.registration["state"] == "waiting for kubelet"
            assert any("waiting for kubelet" in reason for reason in status.document["reasons"])
            # As upstream's /healthz: the driver itself is well.
            assert place.get("/healthz") == (200, "ok")
        place.wait_ready()
        figures.add("kubelet started late -> registered with it", _registered_after_kubelets_start(place))
        assert place.status().code == 0


def test_a_pods_volume_outlives_the_whole_appliance_and_the_next_one_can_take_it_away(
    place: ClusterPlace, csi_node: CsiNode, figures: Figures
) -> None:
    with contextlib.ExitStack() as stack:
        with running(place) as appliance:
            place.wait_ready()
            pod = stack.enter_context(pods.ready(place, "survivor"))
            programs = programs_of(appliance.pid)
            appliance.kill()
            wait_until(lambda: not any(map(is_alive, programs.values())), "no program lives")
        assert pod.read() == pods.CONTENT
        begun = time.monotonic()
        with running(place):
            lost = csi_node.wait_unlisted(since=begun)
            listed = csi_node.wait_listed(since=lost)
            figures.add("whole appliance killed, started again -> CSINode lists the driver", listed - begun)
            place.wait_ready()
            status = place.status()
            assert (status.code, status.document["volumes"]["count"]) == (0, 1)
            assert pod.read() == pods.CONTENT
            pod.delete()
            assert pod.mounts() == []
            assert place.records() == []


def _registered_after_kubelets_start(place: ClusterPlace) -> float:
    """Seconds; most of it is kubelet's own start."""
    (kubelet,) = kubelets()
    registered: float = place.status().registration["registered_since"]
    return registered - kubelet.create_time()
