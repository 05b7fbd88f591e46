"""Two node processes on one endpoint and one state directory: the second heals only what the first has left for good."""

import os

import pytest

from sscsi.cli.doctor_appliance import check_sockets
from sscsi.cli.doctor_place import find_place
from sscsi.core.finding import Outcome, Word
from sscsi.pb import sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.registrar.tiny_driver import tiny_driver
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeClient, node_process, publish_request, run_node
from tests.support.volume_state import pod_view, untrue_records
from tests.support.waiting import wait_until

pytestmark = pytest.mark.root


def snapshot(node: NodeClient) -> sscsi_pb2.WatchResponse:
    """The first message of a watch."""
    call = node.volumes.Watch(sscsi_pb2.WatchRequest(), timeout=60, wait_for_ready=True)
    try:
        response: sscsi_pb2.WatchResponse = next(call)
    finally:
        call.cancel()
    return response


@pytest.mark.parametrize("end", ["asked to stop", "killed"])
def test_the_second_waits_and_then_knows_what_the_first_did_meanwhile(
    place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider, end: str
) -> None:
    gone, kept, new = (place.target_path(volume=name) for name in ("gone", "kept", "new"))
    with node_process(place) as first:
        first.publish(publish_request(gone, volume_id="csi-gone"))
        first.publish(publish_request(kept, volume_id="csi-kept"))
        with node_process(place, wait=False) as second:
            # The second's log is all that is read: it has begun the file anew.
            wait_until(lambda: "waiting for the socket" in second.log(), "the second waits")
            first.unpublish(gone)
            provider.answer = files_answer(("secret", 0o644, b"second content"), version="v2")
            first.publish(publish_request(new, volume_id="csi-new"))
            assert {volume.target_path for volume in snapshot(first).volumes} == {kept, new}
            assert first.is_alive()
            assert first.terminate() == 0 if end == "asked to stop" else first.kill() == -9
            second.wait_serving(second.is_alive)
            found = snapshot(second)
            assert found.snapshot
            assert {volume.target_path: volume.volume_id for volume in found.volumes} == {
                kept: "csi-kept",
                new: "csi-new",
            }
            assert found.unknown_volumes == 0
            assert untrue_records(place) == []
            second.publish(new)
            assert second.terminate() == 0
    assert len(provider.requests) == 3, "what the first published needs no provider again"
    assert pod_view(new) == {"secret": (0o644, b"second content")}


def test_a_csi_socket_of_another_program_is_told_by_the_log_the_room_and_the_doctor(place: NodePlace) -> None:
    held = f"a live server of another program answers at {place.endpoint}"
    variables = {"CSI_ENDPOINT": f"unix://{place.endpoint}", "KUBE_NODE_NAME": "node-1"}

    def waits() -> list[Word]:
        looked = find_place(variables, place.run_directory, "", timeout_seconds=10.0)
        return [word for word in check_sockets(looked) if "node waits for a socket" in word.found]

    # A problem of the room which is no matter of the socket.
    wrong = "--rotation-poll-interval=often"
    with tiny_driver(place.endpoint) as theirs, node_process(place, wrong, wait=False) as node:
        wait_until(lambda: bool(waits()), "the doctor sees that the room waits")
        (word,) = waits()
        assert word.outcome is Outcome.FAIL
        assert word.found.endswith(held)
        assert word.cure.startswith("remove that program; two drivers on one node")
        assert sum(held in line for line in node.log().splitlines()) == 1
        theirs.stop()
        node.wait_serving(node.is_alive)
        assert waits() == []


def test_an_endpoint_that_can_never_be_is_1_before_any_other_socket_is_touched(place: NodePlace) -> None:
    result = run_node(*place.flags(f"--endpoint=unix://{place.base}/none/csi.sock"))
    assert result.returncode == 1
    assert f"{place.base}/none" in result.stderr.splitlines()[-1]
    # A socket that was served, even for a moment, leaves its lock file.
    assert os.listdir(place.run_directory) == ["records"]
