"""Shared calls in the room: one call for a Deployment, and never another identity's content."""

import dataclasses
import functools
import json
import threading
from concurrent import futures
from typing import Any

import grpc
import pytest

from sscsi.node.shared_calls import SharedCalls
from sscsi.pb import csi_pb2, provider_pb2
from sscsi.ports import ProviderAnswer
from tests.fakes.fake_provider import Answer, FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync, make_class
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, room_in_process
from tests.support.volume_state import pod_view
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("classes_soon_stale")]

SHARED = {"secrets-store.csi.k8s.io/share-provider-calls": "true"}
TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
OFTEN = ("--enable-secret-rotation", "--rotation-poll-interval=1s")


def request_of(
    place: NodePlace,
    pod: str,
    *,
    account: str = "web",
    class_name: str = "app",
    attributes: dict[str, str] | None = None,
    secrets: dict[str, str] | None = None,
) -> csi_pb2.NodePublishVolumeRequest:
    token = json.dumps({"vault": {"token": f"token-of-{pod}", "expirationTimestamp": "2100-01-01T00:00:00Z"}})
    return publish_request(
        place.target_path(pod),
        volume_id=f"volume-of-{pod}",
        pod=pod,
        pod_uid=pod,
        service_account=account,
        class_name=class_name,
        attributes={TOKENS: token, **(attributes or {})},
        secrets=secrets,
    )


def publish_all(node: NodeInProcess, requests: list[csi_pb2.NodePublishVolumeRequest]) -> None:
    with futures.ThreadPoolExecutor(len(requests)) as pool:
        for future in [pool.submit(node.publish, request, seconds=60) for request in requests]:
            future.result()


@pytest.fixture
def sharing(place: NodePlace, status_sync: FakeStatusSync) -> FakeStatusSync:
    status_sync.add(make_class(annotations=SHARED))
    return status_sync


class TestOneCall:
    def test_for_a_hundred_pods_that_start_together(
        self,
        place: NodePlace,
        sharing: FakeStatusSync,
        provider: FakeProvider,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        begun = threading.Semaphore(0)
        shared_call = SharedCalls.call

        def counted_call(shared: SharedCalls, *arguments: Any, **named: Any) -> tuple[ProviderAnswer, bool]:
            begun.release()
            return shared_call(shared, *arguments, **named)

        monkeypatch.setattr(SharedCalls, "call", counted_call)
        pods = [f"web-{number}" for number in range(100)]
        with room_in_process(place) as node:
            # However busy the machine is: all are on their way when the provider answers.
            provider.hold.clear()
            with futures.ThreadPoolExecutor(1) as publisher:
                published = publisher.submit(publish_all, node, [request_of(place, pod) for pod in pods])
                assert all(begun.acquire(timeout=60) for _ in pods), "all ask"
                # The last of them from its first step to its wait.
                threading.Event().wait(0.3)
                provider.hold.set()
                published.result()
            assert len(provider.requests) == 1
            for pod in pods:
                assert pod_view(place.target_path(pod)) == {"secret": (0o644, b"first content")}

    def test_for_pods_that_start_together_though_the_provider_is_quicker_than_they(
        self, place: NodePlace, sharing: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place) as node:
            publish_all(node, [request_of(place, f"web-{number}") for number in range(50)])
            assert len(provider.requests) < 50

    def test_for_the_refresh_of_all_of_them_and_everyone_sees_the_change(
        self, place: NodePlace, sharing: FakeStatusSync, provider: FakeProvider
    ) -> None:
        pods = [f"web-{number}" for number in range(20)]
        with room_in_process(place, *OFTEN) as node:
            for pod in pods:
                node.publish(request_of(place, pod))
            calls = len(provider.requests)
            answers: list[bytes] = []

            def next_answer(_request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
                answers.append(b"text %d" % len(answers))
                return files_answer(("secret", 0o644, answers[-1]), version=str(len(answers)))

            provider.answer = next_answer

            def seen() -> set[bytes]:
                return {pod_view(place.target_path(pod))["secret"][1] for pod in pods}

            wait_until(lambda: b"first content" not in seen(), "all are refreshed")
            wait_until(lambda: len(seen()) == 1, "all are of one moment")
            # Each pass is one call or a few; there is another pass each second that this took.
            assert len(provider.requests) - calls < len(pods) / 2

    def test_without_the_wish_each_pod_has_its_own(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place) as node:
            publish_all(node, [request_of(place, f"web-{number}") for number in range(10)])
            assert len(provider.requests) == 10

    def test_and_with_it_never_a_kept_answer(
        self, place: NodePlace, sharing: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place) as node:
            for number in range(3):
                node.publish(request_of(place, f"web-{number}"))
                assert len(provider.requests) == number + 1

    def test_where_the_operator_lists_the_provider(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, "--share-provider-calls=other, fake") as node:
            publish_all(node, [request_of(place, f"web-{number}") for number in range(20)])
            assert len(provider.requests) < 20

    def test_says_nothing_of_versions_in_place(
        self, place: NodePlace, sharing: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, "--enable-secret-rotation", "--rotation-poll-interval=0") as node:
            for _ in range(3):
                node.publish(request_of(place, "web-0"))
        assert [list(request.current_object_version) for request in provider.requests] == [[]] * 3


def by_account(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
    """A store that gives each service account its own."""
    attributes = json.loads(request.attributes)
    account = attributes["csi.storage.k8s.io/serviceAccount.name"]
    return files_answer(("secret", 0o644, f"secret of {account}".encode()))


def by_secrets(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
    """A store that goes by the pod's nodePublishSecretRef."""
    return files_answer(("secret", 0o644, f"secret of {json.loads(request.secrets)['user']}".encode()))


def by_role(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
    """A store that goes by an attribute of the volume."""
    return files_answer(("secret", 0o644, f"secret of {json.loads(request.attributes)['role']}".encode()))


class TestIdentity:
    @pytest.mark.parametrize(
        "case",
        [
            (by_account, {"account": "web"}, {"account": "admin"}),
            (by_secrets, {"secrets": {"user": "web"}}, {"secrets": {"user": "admin"}}),
            (by_role, {"attributes": {"role": "web"}}, {"attributes": {"role": "admin"}}),
        ],
        ids=["service account", "nodePublishSecretRef", "attribute"],
    )
    def test_a_pod_never_gets_what_another_may_have(
        self,
        place: NodePlace,
        sharing: FakeStatusSync,
        provider: FakeProvider,
        case: tuple[Answer, dict[str, object], dict[str, object]],
    ) -> None:
        provider.answer, mine, theirs = case
        with room_in_process(place, *OFTEN) as node:
            requests = [
                request_of(place, f"{name}-{number}", **kind)  # type: ignore[arg-type]
                for number in range(10)
                for name, kind in (("web", mine), ("admin", theirs))
            ]
            publish_all(node, requests)
            assert len(provider.requests) < 20
            calls = len(provider.requests)
            wait_until(lambda: len(provider.requests) >= calls + 4, "both groups are refreshed")
            for number in range(10):
                for name in ("web", "admin"):
                    view = pod_view(place.target_path(f"{name}-{number}"))
                    assert view == {"secret": (0o644, f"secret of {name}".encode())}

    def test_nor_another_namespaces(
        self, place: NodePlace, sharing: FakeStatusSync, provider: FakeProvider
    ) -> None:
        sharing.add(make_class(namespace="bank", annotations=SHARED))

        def by_namespace(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            namespace = json.loads(request.attributes)["csi.storage.k8s.io/pod.namespace"]
            return files_answer(("secret", 0o644, namespace.encode()))

        provider.answer = by_namespace
        with room_in_process(place) as node:
            requests = [
                publish_request(place.target_path(f"{namespace}-{n}"), namespace=namespace, pod_uid=f"{n}")
                for n in range(5)
                for namespace in ("default", "bank")
            ]
            publish_all(node, requests)
            for n in range(5):
                for namespace in ("default", "bank"):
                    view = pod_view(place.target_path(f"{namespace}-{n}"))
                    assert view == {"secret": (0o644, namespace.encode())}

    def test_the_callers_token_is_in_no_others_error(
        self, place: NodePlace, sharing: FakeStatusSync, provider: FakeProvider
    ) -> None:
        def quote(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            tokens = json.loads(json.loads(request.attributes)[TOKENS])
            return provider_pb2.MountResponse(
                error=provider_pb2.Error(code=f"denied {tokens['vault']['token']}")
            )

        provider.answer = quote
        with room_in_process(place) as node, futures.ThreadPoolExecutor(20) as pool:
            calls = [pool.submit(node.publish, request_of(place, f"web-{number}")) for number in range(20)]
            texts = []
            for call in calls:
                error = call.exception()
                assert isinstance(error, grpc.RpcError)
                texts.append(error.details() or "")
        assert len(provider.requests) < 20
        for number, text in enumerate(texts):
            assert f"for pod default/web-{number}, err: " in text
            assert "mount request failed with provider error code denied ***" in text
            assert "token-of" not in text


class TestSelfWriting:
    def test_a_provider_that_writes_itself_is_called_for_each_volume(
        self, place: NodePlace, sharing: FakeStatusSync, provider: FakeProvider
    ) -> None:
        def write(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            with open(f"{request.target_path}/secret", "wb") as file:
                file.write(b"written by the provider")
            return provider_pb2.MountResponse(
                object_version=[provider_pb2.ObjectVersion(id="secret", version="1")]
            )

        provider.answer = write
        pods = [f"web-{number}" for number in range(10)]
        with room_in_process(place) as node:
            publish_all(node, [request_of(place, pod) for pod in pods])
            assert len(provider.requests) == 10
            for pod in pods:
                assert pod_view(place.target_path(pod))["secret"][1] == b"written by the provider"


def is_of_the_new_class(target_path: str) -> bool:
    return pod_view(target_path)["secret"][1] == b"of the new class"


def test_a_new_generation_is_a_new_identity(
    place: NodePlace, sharing: FakeStatusSync, provider: FakeProvider
) -> None:
    def by_class(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
        return files_answer(("secret", 0o644, json.loads(request.attributes)["objects"].encode()))

    provider.answer = by_class
    with room_in_process(place, *OFTEN) as node:
        for number in range(3):
            node.publish(request_of(place, f"web-{number}"))
        sharing.add(
            dataclasses.replace(
                make_class(annotations=SHARED), generation=2, parameters={"objects": "of the new class"}
            )
        )
        for number in range(3):
            path = place.target_path(f"web-{number}")
            wait_until(functools.partial(is_of_the_new_class, path), "the new class's content is there")
