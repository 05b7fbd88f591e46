"""Either liveness probe beside the real node room, and ours beside both of the room's Identity sockets."""

import os
import signal
import time

import pytest

from tests.livenessprobe.metrics_text import named
from tests.livenessprobe.program import Ours, Place, Subject, free_address, get, metrics, running
from tests.support.node_place import node_place
from tests.support.node_room import node_process, room_in_process
from tests.support.waiting import wait_until


@pytest.mark.root
def test_a_real_node_room_is_healthy_until_it_is_killed_and_again_when_it_is_back(
    subject: Subject, place: Place
) -> None:
    address = free_address()
    with node_place() as node:
        flags = (f"--csi-address={node.endpoint}", f"--http-endpoint={address}")
        with running(subject, place, *flags) as program:
            with node_process(node) as room:
                program.listens(address)
                answer = get(address, "/healthz")
                assert (answer.status, answer.body) == (200, "ok")
                wait_until(
                    lambda: "secrets-store.csi.k8s.io" in get(address, "/metrics").body, "the name is known"
                )
                room.kill()
                assert os.path.exists(node.endpoint)
                assert get(address, "/healthz").status == 500
            with node_process(node):
                wait_until(lambda: get(address, "/healthz").status == 200, "it is healthy again")


@pytest.mark.root
def test_a_real_node_room_that_is_halted_fails_after_the_whole_time_out_and_is_healthy_when_it_goes_on(
    subject: Subject, place: Place
) -> None:
    address = free_address()
    with node_place() as node, node_process(node) as room:
        flags = (f"--csi-address={node.endpoint}", f"--http-endpoint={address}", "--probe-timeout=1500ms")
        with running(subject, place, *flags) as program:
            program.listens(address)
            wait_until(lambda: get(address, "/healthz").status == 200, "it is healthy")
            room.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, room.process.pid, os.WSTOPPED | os.WNOWAIT)
            try:
                begun = time.monotonic()
                answer = get(address, "/healthz")
                assert (answer.status, answer.body) == (500, "context deadline exceeded")
                assert time.monotonic() - begun > 1.4
            finally:
                room.process.send_signal(signal.SIGCONT)
            wait_until(lambda: get(address, "/healthz").status == 200, "it is healthy again")


@pytest.mark.root
def test_a_real_node_room_whose_socket_was_removed_is_not_healthy_until_it_has_one_again(
    subject: Subject, place: Place
) -> None:
    address = free_address()
    with node_place() as node:
        flags = (f"--csi-address={node.endpoint}", f"--http-endpoint={address}", "--probe-timeout=1500ms")
        with running(subject, place, *flags) as program:
            with node_process(node) as room:
                program.listens(address)
                wait_until(lambda: get(address, "/healthz").status == 200, "it is healthy")
                os.unlink(node.endpoint)
                answer = get(address, "/healthz")
                assert answer.status == 500
                assert ("No such file" in answer.body) is subject.is_ours
                # It notices, and leaves for whoever starts it anew.
                assert room.wait() == 1
            with node_process(node):
                wait_until(lambda: get(address, "/healthz").status == 200, "it is healthy again")


@pytest.mark.root
def test_in_the_appliance_the_node_room_is_probed_by_its_probe_socket(ours: Ours, place: Place) -> None:
    with node_place() as node, room_in_process(node):
        flags = ("--http-endpoint=127.0.0.1:0", f"--run-dir={node.run_directory}")
        with running(ours, place, *flags) as program:
            address = program.address()
            assert get(address, "/healthz").body == "ok"
            lines = get(address, "/readyz?verbose").body.splitlines()
            assert lines[:3] == ["[+]ping ok", "[+]csi-driver ok", "[+]csi-socket ok"]
            assert lines[-1] == "readyz check passed"
            assert named(metrics(address), "sscsi_room_up", room="node") == 1
