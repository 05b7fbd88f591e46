"""What the log of a node room says and what it does not, by verbosity; the room is the real process."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from sscsi.pb import csi_pb2, sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support import log_table
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeProcess, node_process, publish_request
from tests.support.waiting import wait_until

pytestmark = pytest.mark.root

ROTATION = "--enable-secret-rotation"


class Log:
    """The lines of a room's log, in JSON, after a `mark`."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._seen = 0

    def mark(self) -> None:
        self._seen = len(self._node.log().splitlines())

    def lines(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self._node.log().splitlines()[self._seen :]]
        assert [misfit for line in found for misfit in log_table.misfits(line)] == []
        return found

    def messages(self) -> "Counter[str]":
        return Counter(line["message"] for line in self.lines())


@contextlib.contextmanager
def logging_node(place: NodePlace, *flags: str) -> Iterator[tuple[NodeProcess, Log]]:
    with node_process(place, "--log-format-json", *flags) as node:
        yield node, Log(node)


def publish(node: NodeProcess, count: int) -> None:
    for number in range(count):
        target_path = node.place.target_path(f"pod-{number}")
        node.publish(publish_request(target_path, pod=f"web-{number}", pod_uid=f"pod-{number}"))


def volumes(node: NodeProcess) -> list[sscsi_pb2.Volume]:
    call = node.volumes.Watch(sscsi_pb2.WatchRequest(), timeout=60)
    try:
        return list(next(iter(call)).volumes)
    finally:
        call.cancel()


def wait_for_all(node: NodeProcess, fact: Callable[[sscsi_pb2.Volume], bool], what: str) -> None:
    wait_until(lambda: all(map(fact, volumes(node))), what, seconds=60.0)


class TestDefaultVerbosity:
    def test_a_hundred_volumes_whose_content_does_not_change_are_no_line_at_all(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with logging_node(place, ROTATION, "--rotation-poll-interval=500ms") as (node, log):
            publish(node, 100)
            assert log.messages()["published"] == 100
            log.mark()
            publish(node, 100)
            calls = len(provider.requests)
            wait_until(lambda: len(provider.requests) >= calls + 200, "the room's clock refreshes all, twice")
            node.identity.Probe(csi_pb2.ProbeRequest(), timeout=60)
            assert log.lines() == []

    def test_what_changes_is_one_line(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with logging_node(place, ROTATION, "--rotation-poll-interval=0") as (node, log):
            # The first tmpfs tells once whether the machine has `noswap`: in a user namespace it has not.
            publish(node, 1)
            node.unpublish(place.target_path("pod-0"))
            log.mark()
            publish(node, 1)
            provider.answer = files_answer(("secret", 0o644, b"other content"), version="v2")
            publish(node, 1)
            publish(node, 1)
            node.unpublish(place.target_path("pod-0"))
            assert log.messages() == {"published": 1, "refreshed": 1, "unpublished": 1}
            published, refreshed, unpublished = log.lines()
        for line in (published, refreshed):
            about = (line["level"], line["pod"], line["class"], line["provider"], line["volume_id"])
            assert about == ("info", "default/web-0", "app", "fake", "csi-volume-1")
            assert (line["target_path"], line["versions"]) == (place.target_path("pod-0"), 1)
            assert line["seconds"] > 0
        assert refreshed["trigger"] == "republish"
        assert "provider" in refreshed["seconds_by_stage"]
        assert unpublished["target_path"] == place.target_path("pod-0")

    def test_fifty_volumes_without_their_provider_are_a_line_and_so_is_its_return(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with logging_node(place, ROTATION, "--rotation-poll-interval=500ms", "-v=4") as (node, log):
            publish(node, 50)
            log.mark()
            provider.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
            wait_for_all(node, lambda volume: volume.failing_since > 0, "all fail")
            publish(node, 50)
            errors = [line for line in log.lines() if line["level"] == "error"]
            failed = "refresh failed, the content stays"
            assert {line["message"] for line in errors} == {failed}
            # Once its circuit is open, nobody is asked any more; what may pass before is not told at once.
            told = [line["reason"] for line in errors]
            assert told in (["ProviderUnavailable"], ["ProviderThrottled", "ProviderUnavailable"])
            assert errors[0]["count"] == 1
            pods = {line["pod"] for line in log.lines() if line["message"] == failed}
            assert len(pods) == 50, "each is told from verbosity 4 on"
            log.mark()
            provider.error = None
            node.volumes.Refresh(sscsi_pb2.RefreshRequest(all=True), timeout=60)
            wait_for_all(node, lambda volume: not volume.failing_since, "all are well")
            again = "refreshed again, after failures"
            counts = [
                line["count"] for line in log.lines() if (line["message"], line["level"]) == (again, "info")
            ]
            assert counts == [49, 0]
            assert log.messages()[again] == 50


class TestMoreVerbosity:
    @pytest.mark.parametrize(
        ("verbosity", "expected"),
        [
            (0, {}),
            (1, {}),
            (2, {"NodePublishVolume": 2}),
            (4, {"NodePublishVolume": 2, "publish stages": 2, "unchanged": 2}),
            (
                5,
                {
                    "NodePublishVolume": 2,
                    "publish stages": 2,
                    "unchanged": 2,
                    "provider call": 2,
                    "Probe": 2,
                    "NodeGetCapabilities": 1,
                },
            ),
        ],
    )
    def test_each_step_adds_its_lines(
        self,
        place: NodePlace,
        status_sync: FakeStatusSync,
        provider: FakeProvider,
        verbosity: int,
        expected: dict[str, int],
    ) -> None:
        flags = (ROTATION, "--rotation-poll-interval=0", f"-v={verbosity}", "--provider-health-check=false")
        with logging_node(place, *flags) as (node, log):
            publish(node, 2)
            log.mark()
            publish(node, 2)
            for _ in range(2):
                node.identity.Probe(csi_pb2.ProbeRequest(), timeout=60)
            node.csi.NodeGetCapabilities(csi_pb2.NodeGetCapabilitiesRequest(), timeout=60)
            wait_until(lambda: log.messages().total() >= sum(expected.values()), "all lines are there")
            assert log.messages() == expected
