"""What becomes of calls in the figures: of kubelet's, whatever was wrong with them, and of those to providers."""

from collections.abc import Iterator

import grpc
import pytest

from sscsi.core.prometheus import text
from sscsi.edges.metric_messages import from_message
from sscsi.node import room
from sscsi.pb import provider_pb2, sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.livenessprobe.metrics_text import Samples, parse
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process

pytestmark = pytest.mark.root


def counted(node: NodeInProcess, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """The series of a metric that are not 0, without the label that all of upstream's have."""
    message = node.room.Metrics(sscsi_pb2.RoomMetricsRequest(), timeout=60)
    samples: Samples = parse(text(from_message(message)))
    return {
        labels - {("os_type", "linux")}: value
        for (found, labels), value in samples.items()
        if found == name and value
    }


def of(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@pytest.fixture
def forgetful(
    place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NodeInProcess]:
    """A node room for which no class is fresh any more when its publish ends, as after a call that took seconds."""
    monkeypatch.setattr(room, "_CLASS_FRESH_SECONDS", 0.0)
    with room_in_process(place) as node:
        yield node


def test_a_request_that_makes_no_sense_counts_as_upstream_counts_it(node: NodeInProcess) -> None:
    request = publish_request(node.place.target_path())
    request.ClearField("volume_capability")
    refusal(lambda: node.publish(request))
    assert counted(node, "node_publish_error_total") == {of(provider="", error_type="FailedToMount"): 1}


def test_a_failure_is_its_providers_however_long_the_call_took(
    forgetful: NodeInProcess, provider: FakeProvider
) -> None:
    provider.error = (grpc.StatusCode.DEADLINE_EXCEEDED, "the store hangs")
    refusal(lambda: forgetful.publish(forgetful.place.target_path()))
    assert counted(forgetful, "node_publish_error_total") == {
        of(provider="fake", error_type="GRPCProviderError"): 1
    }


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (files_answer(("secret", 0o644, b"content")), "OK"),
        (provider_pb2.MountResponse(error=provider_pb2.Error(code="PermissionDenied")), "PermissionDenied"),
        (provider_pb2.MountResponse(error=provider_pb2.Error(code="words of its own")), "Unknown"),
        (provider_pb2.MountResponse(), "AnswerInvalid"),
        (files_answer(("../secret", 0o644, b"content")), "AnswerInvalid"),
        (files_answer(("secret", 0o644, b"x" * 2**20)), "AnswerInvalid"),
    ],
)
def test_a_call_counts_by_what_its_answer_is_good_for(
    place: NodePlace,
    status_sync: FakeStatusSync,
    provider: FakeProvider,
    answer: provider_pb2.MountResponse,
    result: str,
) -> None:
    provider.answer = answer
    with room_in_process(place, "--content-limit=524288") as node:
        if result == "OK":
            node.publish(place.target_path())
        else:
            refusal(lambda: node.publish(place.target_path()))
        assert counted(node, "sscsi_provider_calls_total") == {of(provider="fake", result=result): 1}
