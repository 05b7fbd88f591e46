"""What may happen to the registration while kubelet is there: it comes back, and nobody has to do anything."""

import itertools
import os
import signal
import time

from tests.cluster import pods
from tests.cluster.cluster_place import ClusterPlace, pid_of, place_beside, running
from tests.cluster.csi_node import CsiNode
from tests.cluster.figures import Figures
from tests.cluster.publications import publications
from tests.support.waiting import wait_until

_NOBODYS_SOCKET = "/var/lib/kubelet/plugins/sscsi-nobody/csi.sock"


def test_a_removed_registration_socket_comes_back_and_nothing_is_restarted(
    place: ClusterPlace, csi_node: CsiNode, figures: Figures
) -> None:
    with running(place):
        place.wait_ready()
        begun = time.monotonic()
        os.unlink(place.registration_socket)
        lost = csi_node.wait_unlisted(since=begun)
        listed = csi_node.wait_listed(since=lost)
        place.wait_ready()
        status = place.status()
        assert (status.code, status.restarts) == (0, {})
        assert status.registration["registrations"] == 2
    figures.add("registration socket removed -> CSINode has lost the driver", lost - begun)
    figures.add("registration socket removed -> CSINode lists it again", listed - begun)


def test_a_killed_registrar_registers_anew(place: ClusterPlace, csi_node: CsiNode, figures: Figures) -> None:
    with running(place) as appliance:
        place.wait_settled()
        begun = time.monotonic()
        os.kill(pid_of(appliance, "registrar"), signal.SIGKILL)
        lost = csi_node.wait_unlisted(since=begun)
        listed = csi_node.wait_listed(since=lost)
        place.wait_ready()
        wait_until(lambda: place.status().restarts == {"registrar": 1}, "the registrar's restart is counted")
    figures.add("registrar killed -> CSINode lists the driver again", listed - begun)


def test_a_killed_node_is_no_affair_of_kubelets(place: ClusterPlace, csi_node: CsiNode) -> None:
    with running(place) as appliance:
        place.wait_settled()
        registered = place.status().registration
        begun = time.monotonic()
        killed = pid_of(appliance, "node")
        os.kill(killed, signal.SIGKILL)
        with pods.ready(place, "after-node") as pod:
            assert pid_of(appliance, "node") != killed
            pod.delete()
        assert csi_node.since(begun) == []
        assert place.status().registration == registered


def test_kubelets_refusal_is_told_in_its_own_words_and_tried_again_less_and_less_often(
    place: ClusterPlace, csi_node: CsiNode, figures: Figures
) -> None:
    begun = time.monotonic()
    with (
        publications(place.registration_socket) as published,
        running(place, SSCSI_KUBELET_REGISTRATION_PATH=_NOBODYS_SOCKET) as appliance,
    ):
        registrar = pid_of(appliance, "registrar")
        wait_until(lambda: len(published) == 4, "it is published for the fourth time")
        status = place.status()
        assert status.code == 1
        assert not status.registration["registered"]
        # Its own words: what it tried, and what came of it.
        assert "RegisterPlugin error" in status.registration["last_error"]
        assert _NOBODYS_SOCKET in status.registration["last_error"]
        assert any(_NOBODYS_SOCKET in reason for reason in status.document["reasons"])
        assert place.readyz() == 500
        assert status.restarts == {}
        assert pid_of(appliance, "registrar") == registrar
    assert True not in csi_node.since(begun)
    pauses = [later - earlier for earlier, later in itertools.pairwise(published[:4])]
    for number, pause in enumerate(pauses, 1):
        figures.add(f"a wrong path, try {number} -> try {number + 1}", pause)
    # 1 s, 2 s, 4 s, each and up to one tick of kubelet's loop.
    assert pauses[2] > pauses[0] + 1.5


def test_sigterm_tells_kubelet_and_the_appliance_that_waited_takes_over(
    place: ClusterPlace, csi_node: CsiNode, figures: Figures
) -> None:
    with place_beside(place) as other, running(place) as first:
        place.wait_ready()
        with running(other):
            status = other.status()
            assert status.code == 1
            assert not status.registration["registered"]
            assert other.readyz() == 500
            assert place.readyz() == 200
            begun = time.monotonic()
            first.terminate()
            lost = csi_node.wait_unlisted(since=begun)
            listed = csi_node.wait_listed(since=lost)
            assert first.wait(30) == 0
            other.wait_ready()
            wait_until(lambda: other.status().code == 0, "the second is well")
            with pods.ready(other, "after-takeover") as pod:
                pod.delete()
            begun_end = time.monotonic()
        ended = csi_node.wait_unlisted(since=begun_end)
    figures.add("first of two appliances: SIGTERM -> CSINode has lost the driver", lost - begun)
    figures.add("first of two appliances: SIGTERM -> CSINode lists the second's", listed - begun)
    figures.add("SIGTERM -> CSINode has lost the driver", ended - begun_end)
