"""Refresh now: by command, and by annotation; each wish is honoured once, whatever dies in between."""

import functools
import time
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from sscsi.core.annotations import REFRESH_AT
from sscsi.pb import sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync, make_class
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process
from tests.support.volume_state import pod_view
from tests.support.waiting import wait_until

pytestmark = pytest.mark.root

Outcome = sscsi_pb2.RefreshResult
ALL = sscsi_pb2.RefreshRequest(all=True)
HOURLY = ("--enable-secret-rotation", "--rotation-poll-interval=1h")


def refresh(
    node: NodeInProcess, request: sscsi_pb2.RefreshRequest = ALL, *, seconds: float = 60
) -> list[tuple[str, int, str]]:
    """What became of each volume: its pod, outcome and message."""
    response = node.volumes.Refresh(request, timeout=seconds)
    return [(result.pod_name, result.outcome, result.message) for result in response.results]


def publish(node: NodeInProcess, pod: str, *, class_name: str = "app", namespace: str = "default") -> str:
    path = node.place.target_path(pod)
    node.publish(
        publish_request(path, pod=pod, pod_uid=f"uid-{pod}", class_name=class_name, namespace=namespace)
    )
    return path


def ask(node: NodeInProcess, *asks: sscsi_pb2.RefreshAsk) -> None:
    node.volumes.AskRefresh(sscsi_pb2.AskRefreshRequest(asks=asks), timeout=60)


def ask_and_wait(node: NodeInProcess, *asks: sscsi_pb2.RefreshAsk) -> None:
    """Ask, and return once every volume was refreshed since: what comes sooner may share the call that is under way."""
    before = time.time()
    ask(node, *asks)

    def is_refreshed() -> bool:
        call = node.volumes.Watch(sscsi_pb2.WatchRequest(), timeout=60)
        try:
            return all(volume.last_success_time >= before for volume in next(iter(call)).volumes)
        finally:
            call.cancel()

    wait_until(is_refreshed, "every volume is refreshed")


def class_ask(value: str) -> sscsi_pb2.RefreshAsk:
    return sscsi_pb2.RefreshAsk(namespace="default", class_name="app", value=value)


def pod_ask(pod: str, value: str) -> sscsi_pb2.RefreshAsk:
    return sscsi_pb2.RefreshAsk(namespace="default", pod_name=pod, pod_uid=f"uid-{pod}", value=value)


@pytest.fixture
def hourly(place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider) -> Iterator[NodeInProcess]:
    with room_in_process(place, *HOURLY) as node:
        yield node


class TestCommand:
    def test_tells_what_became_of_each_volume(self, hourly: NodeInProcess, provider: FakeProvider) -> None:
        path = publish(hourly, "web-0")
        assert refresh(hourly) == [("web-0", Outcome.UNCHANGED, "")]
        provider.answer = files_answer(("secret", 0o644, b"new"), version="v2")
        assert refresh(hourly) == [("web-0", Outcome.CHANGED, "")]
        assert pod_view(path) == {"secret": (0o644, b"new")}
        provider.error = (grpc.StatusCode.PERMISSION_DENIED, "no")
        ((_, outcome, message),) = refresh(hourly)
        assert outcome == Outcome.FAILED
        assert message.endswith("rpc error: code = PermissionDenied desc = no")
        assert len(provider.requests) == 5  # one of them again, without the versions in place

    @pytest.mark.parametrize("flags", [(), HOURLY], ids=["rotation off", "rotation on"])
    def test_works_with_rotation_or_without(
        self,
        place: NodePlace,
        status_sync: FakeStatusSync,
        provider: FakeProvider,
        flags: tuple[str, ...],
    ) -> None:
        with room_in_process(place, *flags) as node:
            publish(node, "web-0")
            assert refresh(node) == [("web-0", Outcome.UNCHANGED, "")]
            assert len(provider.requests) == 2

    def test_selects_a_class_or_a_pod(
        self, hourly: NodeInProcess, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        status_sync.add(make_class("other"), make_class(namespace="bank"))
        for pod, class_name, namespace in (
            ("a", "app", "default"),
            ("b", "other", "default"),
            ("c", "app", "bank"),
        ):
            publish(hourly, pod, class_name=class_name, namespace=namespace)
        for request, pods in (
            (sscsi_pb2.RefreshRequest(namespace="default", class_name="app"), ["a"]),
            (sscsi_pb2.RefreshRequest(namespace="bank", class_name="app"), ["c"]),
            (sscsi_pb2.RefreshRequest(namespace="default", pod_name="b"), ["b"]),
            (sscsi_pb2.RefreshRequest(namespace="default", pod_name="b", pod_uid="uid-b"), ["b"]),
            (ALL, ["a", "b", "c"]),
        ):
            assert sorted(pod for pod, _, _ in refresh(hourly, request)) == pods
        for request in (
            sscsi_pb2.RefreshRequest(namespace="bank", class_name="other"),
            sscsi_pb2.RefreshRequest(namespace="default", pod_name="b", pod_uid="another"),
        ):
            code, _ = refusal(functools.partial(refresh, hourly, request))
            assert code is grpc.StatusCode.FAILED_PRECONDITION

    @pytest.mark.parametrize(
        "request_",
        [
            sscsi_pb2.RefreshRequest(),
            sscsi_pb2.RefreshRequest(all=True, namespace="default"),
            sscsi_pb2.RefreshRequest(namespace="default"),
            sscsi_pb2.RefreshRequest(class_name="app"),
            sscsi_pb2.RefreshRequest(pod_uid="x"),
        ],
    )
    def test_everything_is_selected_on_purpose_only(
        self, hourly: NodeInProcess, request_: sscsi_pb2.RefreshRequest
    ) -> None:
        publish(hourly, "web-0")
        assert refusal(lambda: refresh(hourly, request_))[0] is grpc.StatusCode.INVALID_ARGUMENT

    def test_what_takes_longer_than_the_caller_waits_is_pending_and_goes_on(
        self, hourly: NodeInProcess, provider: FakeProvider
    ) -> None:
        path = publish(hourly, "web-0")
        provider.hold.clear()
        provider.answer = files_answer(("secret", 0o644, b"new"), version="v2")
        ((_, outcome, message),) = refresh(hourly, seconds=2)
        assert (outcome, message) == (Outcome.PENDING, "not done in time; it goes on")
        provider.hold.set()
        wait_until(lambda: pod_view(path) == {"secret": (0o644, b"new")}, "it goes on")

    def test_after_a_restart_it_waits_for_kubelets_call(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *HOURLY) as node:
            publish(node, "web-0")
        with room_in_process(place, *HOURLY) as node:
            ((_, outcome, message),) = refresh(node)
            assert outcome == Outcome.PENDING
            assert message.startswith("waits for kubelet's next call")
            assert len(provider.requests) == 1
            publish(node, "web-0")
            assert len(provider.requests) == 2
            publish(node, "web-0")
            assert len(provider.requests) == 2

    def test_uses_a_class_that_was_edited_a_moment_ago(
        self, hourly: NodeInProcess, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        publish(hourly, "web-0")
        status_sync.add(make_class(parameters={"objects": "others"}, generation=2))
        refresh(hourly)
        assert provider.attributes()["objects"] == "others"


class TestAnnotations:
    def annotate_class(self, status_sync: FakeStatusSync, value: str) -> None:
        status_sync.add(make_class(annotations={REFRESH_AT: value}))

    def test_of_a_class_is_honoured_once(
        self, hourly: NodeInProcess, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        publish(hourly, "a")
        publish(hourly, "b")
        self.annotate_class(status_sync, "one")
        ask_and_wait(hourly, class_ask("one"))
        assert len(provider.requests) == 4
        for _ in range(3):
            ask(hourly, class_ask("one"))
            publish(hourly, "a")
        assert len(provider.requests) == 4
        self.annotate_class(status_sync, "two")
        ask(hourly, class_ask("two"))
        wait_until(lambda: len(provider.requests) == 6, "both are fetched again")

    def test_of_a_pod_is_that_pods(self, hourly: NodeInProcess, provider: FakeProvider) -> None:
        publish(hourly, "a")
        publish(hourly, "b")
        ask(hourly, pod_ask("a", "now"))
        wait_until(lambda: len(provider.requests) == 3, "the pod's volume is fetched")
        assert provider.attributes()["csi.storage.k8s.io/pod.name"] == "a"
        ask(hourly, pod_ask("a", "now"), pod_ask("b", "now"))
        wait_until(lambda: len(provider.requests) == 4, "the other pod's, too")
        assert provider.attributes()["csi.storage.k8s.io/pod.name"] == "b"

    def test_that_comes_while_the_volume_is_published_means_what_is_in_the_store_then(
        self, hourly: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        with futures.ThreadPoolExecutor(1) as pool:
            published = pool.submit(publish, hourly, "a")
            wait_until(lambda: len(provider.requests) == 1, "the provider is asked")
            ask(hourly, pod_ask("a", "now"))
            provider.hold.set()
            published.result()
        wait_until(lambda: len(provider.requests) == 2, "it is fetched once more")

    def test_of_a_class_that_was_there_before_the_volume_asks_for_nothing(
        self, hourly: NodeInProcess, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        self.annotate_class(status_sync, "one")
        publish(hourly, "a")
        ask(hourly, class_ask("one"))
        assert refresh(hourly) == [("a", Outcome.UNCHANGED, "")]
        assert len(provider.requests) == 2

    @pytest.mark.parametrize("value", ["2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])
    def test_is_honoured_whatever_time_it_tells(
        self, hourly: NodeInProcess, provider: FakeProvider, value: str
    ) -> None:
        publish(hourly, "a")
        ask_and_wait(hourly, pod_ask("a", value))
        assert len(provider.requests) == 2
        ask(hourly, pod_ask("a", value))
        publish(hourly, "a")
        assert len(provider.requests) == 2

    def test_is_honoured_once_also_when_it_is_not_known_for_a_while(
        self, hourly: NodeInProcess, provider: FakeProvider
    ) -> None:
        """Status-sync has just started, and does not know the pods yet: it tells of no wish of theirs."""
        publish(hourly, "a")
        ask_and_wait(hourly, pod_ask("a", "now"))
        assert len(provider.requests) == 2
        ask(hourly)
        assert refresh(hourly) == [("a", Outcome.UNCHANGED, "")]
        ask(hourly, pod_ask("a", "now"))
        publish(hourly, "a")
        assert refresh(hourly) == [("a", Outcome.UNCHANGED, "")]
        assert len(provider.requests) == 4
        ask(hourly, pod_ask("a", "again"))
        wait_until(lambda: len(provider.requests) == 5, "another wish is another")

    def test_is_honoured_over_restarts_once(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *HOURLY) as node:
            publish(node, "a")
            provider.error = (grpc.StatusCode.UNAVAILABLE, "away")
            self.annotate_class(status_sync, "one")
            ask(node, class_ask("one"))
            wait_until(lambda: len(provider.requests) > 1, "it is tried")
        provider.error = None
        calls = len(provider.requests)
        with room_in_process(place, *HOURLY) as node:
            ask(node, class_ask("one"))
            publish(node, "a")
            assert len(provider.requests) == calls + 1
        with room_in_process(place, *HOURLY) as node:
            ask(node, class_ask("one"))
            publish(node, "a")
            assert len(provider.requests) == calls + 1

    def test_that_fails_is_tried_until_it_works(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place) as node:
            path = publish(node, "a")
            provider.error = (grpc.StatusCode.UNAVAILABLE, "away")
            ask(node, pod_ask("a", "now"))
            wait_until(lambda: len(provider.requests) >= 3, "it is tried again")
            provider.answer = files_answer(("secret", 0o644, b"new"), version="v2")
            provider.error = None
            wait_until(lambda: pod_view(path) == {"secret": (0o644, b"new")}, "it works")
            calls = len(provider.requests)
            ask(node, pod_ask("a", "now"))
            publish(node, "a")
            assert len(provider.requests) == calls

    @pytest.mark.parametrize("value", ["", "x" * 10_000, "\x00\n"])
    def test_of_any_text_harms_nobody(
        self, hourly: NodeInProcess, provider: FakeProvider, value: str
    ) -> None:
        publish(hourly, "a")
        if value:
            ask_and_wait(hourly, pod_ask("a", value))
            assert len(provider.requests) == 2
        ask(hourly, pod_ask("a", value))
        assert refresh(hourly) == [("a", Outcome.UNCHANGED, "")]
        assert len(provider.requests) == (3 if value else 2)
