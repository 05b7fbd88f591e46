"""The plain case: kubelet is told of the driver, a pod gets its secret and gives it back."""

import time

from tests.cluster import pods
from tests.cluster.cluster_place import ClusterPlace, running
from tests.cluster.csi_node import CsiNode
from tests.cluster.figures import Figures
from tests.support.waiting import wait_until


def test_the_appliance_is_registered_within_seconds_of_its_start(
    place: ClusterPlace, csi_node: CsiNode, figures: Figures
) -> None:
    begun = time.monotonic()
    with running(place):
        listed = csi_node.wait_listed(since=begun)
        place.wait_ready()
        status = place.status()
        assert (status.code, status.document["healthy"]) == (0, True)
        assert status.registration["registrations"] == 1
    figures.add("sscsi run -> CSINode lists the driver", listed - begun)
    assert listed - begun < 30


def test_a_pod_reads_its_secret_and_nothing_is_left_when_it_is_deleted(
    place: ClusterPlace, figures: Figures
) -> None:
    with running(place):
        place.wait_ready()
        with pods.ready(place, "reader") as pod:
            figures.add("pod created -> ready, its secret read", pod.seconds)
            assert [point.rpartition("/")[2] for point in pod.mounts()].count("mount") == 1
            assert len(place.records()) == 1
            wait_until(lambda: len(place.status_objects()) == 1, "the status object is written")
            pod.delete()
            assert pod.mounts() == []
        assert place.records() == []
        wait_until(lambda: not place.status_objects(), "the status object is removed")
        assert place.status().code == 0
