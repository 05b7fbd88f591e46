"""From a publish that fails in the node room to the Event that kubectl describe shows: both rooms and the API are real."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

from tests.fakes import fake_provider
from tests.fakes.fake_provider import FakeProvider
from tests.kubeapi.adapter import make_pod, put_class
from tests.kubeapi.kube_api import SERVICE_ACCOUNT, KubeApi
from tests.support import canaries, canary_answers
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import NodeInProcess, clean_environ, publish_request, refusal, room_in_process
from tests.support.waiting import wait_until

pytestmark = pytest.mark.root

SPEC = {"provider": "fake", "parameters": {"objects": "any"}}


class Place:
    """A pod in a namespace of its own, on a node with both rooms."""

    def __init__(
        self, kube_api: KubeApi, namespace: str, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        self.kube_api = kube_api
        self.namespace = namespace
        self.node = node
        self.provider = provider
        self.pod_uid = make_pod(kube_api, namespace)

    def publish(self) -> None:
        request = publish_request(
            self.node.place.target_path(),
            namespace=self.namespace,
            pod="web",
            pod_uid=self.pod_uid,
            secrets=canaries.SECRETS,
        )
        request.volume_context.update(canaries.VOLUME_CONTEXT)
        self.node.publish(request)

    def event(self, reason: str) -> dict[str, Any]:
        """The pod's only Event of that reason, waited for."""
        path = (
            f"/api/v1/namespaces/{self.namespace}/events"
            f"?fieldSelector=involvedObject.uid={self.pod_uid},reason={reason}"
        )
        wait_until(lambda: self.kube_api.client().list(path), f"there is an Event {reason}")
        (event,) = self.kube_api.client().list(path)
        assert canaries.found_in({reason: str(event).encode()}) == []
        return event

    def status_objects(self) -> Sequence[dict[str, Any]]:
        path = (
            f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{self.namespace}/secretproviderclasspodstatuses"
        )
        return self.kube_api.client().list(path)


@contextlib.contextmanager
def status_sync(place: NodePlace, kubeconfig: str) -> Iterator[None]:
    """The real one, on the API server."""
    with open(f"{place.base}/statussync.log", "wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sidecars.statussync", "--nodeid=node-1"),
                *("--cluster=kubernetes", f"--kubeconfig={kubeconfig}", f"--run-dir={place.run_directory}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=clean_environ({}),
        )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(60) == 0


@pytest.fixture
def place(kube_api: KubeApi, namespace: str) -> Iterator[Place]:
    flags = ("--enable-secret-rotation", "--rotation-poll-interval=0")
    with (
        node_place() as node_at,
        fake_provider.serving(FakeProvider(), node_at.provider_socket()) as provider,
        status_sync(node_at, kube_api.kubeconfig_for(SERVICE_ACCOUNT)),
        room_in_process(node_at, *flags) as node,
    ):
        yield Place(kube_api, namespace, node, provider)


def test_a_missing_class_is_told_on_the_pod_with_its_cure(place: Place) -> None:
    _, text = refusal(place.publish)
    assert place.event("FailedToMountSecrets")["message"] == (
        f"{text}; create it in the pod's own namespace, {place.namespace}, or correct the name in the pod's volume"
    )


def test_a_provider_that_refuses_is_told_without_what_it_quotes(place: Place) -> None:
    put_class(place.kube_api, place.namespace, "app", SPEC)
    quoted = " ".join(canaries.of_requests())
    place.provider.error = (grpc.StatusCode.UNKNOWN, f"the store says no to {quoted}")
    _, text = refusal(place.publish)
    message = place.event("FailedToMountSecrets")["message"]
    assert "the store says no" in message
    assert message == text


def test_a_failed_refresh_is_told_though_kubelet_hears_nothing(place: Place) -> None:
    put_class(place.kube_api, place.namespace, "app", SPEC)
    place.publish()
    place.provider.error = (grpc.StatusCode.UNKNOWN, "the store says no")
    place.publish()
    assert place.event("FailedToRefreshSecrets")["message"].endswith("the store says no")


def test_a_failed_refresh_is_told_without_what_the_provider_quotes(place: Place) -> None:
    put_class(place.kube_api, place.namespace, "app", SPEC)
    place.publish()
    answer = canary_answers.answer()
    answer.error.code = " ".join(["the store says no to", *canaries.of_requests(), *canaries.of_contents()])
    place.provider.answer = answer
    place.publish()
    message = place.event("FailedToRefreshSecrets")["message"]
    assert "the store says no to ***" in message
    wait_until(
        lambda: "ProviderFailed" in str(place.status_objects()), "the condition tells it", seconds=30.0
    )
    assert canaries.found_in({"status": str(place.status_objects()).encode()}) == []


def test_a_mistake_in_secret_objects_is_told_with_class_and_field(place: Place) -> None:
    entry = {"secretName": "db", "type": "Opaque", "data": [{"objectName": "none", "key": "k"}]}
    put_class(place.kube_api, place.namespace, "app", {**SPEC, "secretObjects": [entry]})
    place.publish()
    message = place.event("FailedToCreateSecret")["message"]
    assert f"{place.namespace}/app: spec.secretObjects[0].data[0].objectName" in message
