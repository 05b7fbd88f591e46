"""What the node room tells of publishes that failed: the pods that wait, until they wait no more."""

import time
from collections.abc import Mapping

import grpc
import pytest

from sscsi.core.prometheus import text
from sscsi.edges.metric_messages import from_message
from sscsi.node.failed_publishes import MAX_FAILED, FailedPublish, FailedPublishes
from sscsi.pb import sscsi_pb2
from tests.fakes.fake_provider import FakeProvider
from tests.livenessprobe.metrics_text import Samples, named, parse
from tests.support import canaries
from tests.support.node_room import NodeClient, NodeInProcess, publish_request, refusal

NO = (grpc.StatusCode.UNKNOWN, "the store says no")


def make(target_path: str, error: str = "no") -> FailedPublish:
    return FailedPublish(
        target_path=target_path,
        pod_namespace="default",
        pod_name="web-0",
        class_name="app",
        time=1.0,
        error=error,
    )


def samples(node: NodeClient) -> Samples:
    return parse(text(from_message(node.room.Metrics(sscsi_pb2.RoomMetricsRequest(), timeout=60))))


def unpublished(node: NodeClient) -> float:
    return named(samples(node), "sscsi_volumes_unpublished")


def facts(node: NodeClient) -> Mapping[str, str]:
    return node.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60).facts


def test_of_one_volume_only_the_last_try_is_kept_and_of_many_the_newest() -> None:
    failed = FailedPublishes()
    for number in range(1000):
        failed.add(make("/one", f"try {number}"))
    assert failed.all() == [make("/one", "try 999")]
    for number in range(1000):
        failed.add(make(f"/{number}"))
    assert failed.all() == [make(f"/{number}") for number in range(1000 - MAX_FAILED, 1000)]


def test_what_is_not_tried_any_more_does_not_count() -> None:
    now = 0.0
    failed = FailedPublishes(lambda: now)
    failed.add(make("/old"))
    now = 200.0
    failed.add(make("/new"))
    now = 301.0
    assert failed.all() == [make("/new")]


@pytest.mark.root
class TestRoom:
    def test_a_publish_that_fails_is_told_with_pod_class_time_and_error(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        assert facts(node)["volumes_whose_publish_fails"] == "0"
        provider.error = NO
        begun = time.time()
        _, message = refusal(lambda: node.publish(node.place.target_path()))
        told = facts(node)
        assert told["volumes_whose_publish_fails"] == "1"
        assert told["last_failed_publish_namespace"] == "default"
        assert told["last_failed_publish_pod"] == "web-0"
        assert told["last_failed_publish_class"] == "app"
        assert told["last_failed_publish_error"] == message
        assert begun - 1 < float(told["last_failed_publish_time"]) < time.time() + 1

    def test_it_is_over_when_the_volume_is_published(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.error = NO
        refusal(lambda: node.publish(node.place.target_path()))
        provider.error = None
        node.publish(node.place.target_path())
        assert facts(node)["volumes_whose_publish_fails"] == "0"
        assert "last_failed_publish_error" not in facts(node)

    def test_it_is_over_when_the_volume_is_unpublished(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.error = NO
        refusal(lambda: node.publish(node.place.target_path()))
        node.unpublish(node.place.target_path())
        assert facts(node)["volumes_whose_publish_fails"] == "0"

    def test_a_failed_refresh_is_none(self, rotating: NodeInProcess, provider: FakeProvider) -> None:
        rotating.publish(rotating.place.target_path())
        provider.error = NO
        rotating.publish(rotating.place.target_path())
        assert facts(rotating)["volumes_whose_publish_fails"] == "0"
        assert unpublished(rotating) == 0
        # As upstream: it is in that number all the same, so no alert may go by it alone.
        assert any(
            value and name == "node_publish_error_total" for (name, _), value in samples(rotating).items()
        )

    def test_the_metrics_page_has_how_many_there_are(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        assert unpublished(node) == 0
        provider.error = NO
        for number in range(2):
            refusal(lambda number=number: node.publish(node.place.target_path(f"pod-{number}")))  # type: ignore[misc]
        assert unpublished(node) == 2
        provider.error = None
        node.publish(node.place.target_path("pod-0"))
        assert unpublished(node) == 1

    def test_no_secret_and_no_token_is_told(self, node: NodeInProcess, provider: FakeProvider) -> None:
        request = publish_request(node.place.target_path(), secrets=canaries.SECRETS)
        request.volume_context.update(canaries.VOLUME_CONTEXT)
        for quote in canaries.QUOTATIONS.values():
            provider.error = (grpc.StatusCode.UNKNOWN, " ".join(map(quote, canaries.of_requests())))
            refusal(lambda: node.publish(request))
            error = facts(node)["last_failed_publish_error"]
            assert canaries.found_in({"fact": error.encode()}) == []
