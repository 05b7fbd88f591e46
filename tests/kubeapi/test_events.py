"""Events on a real API server, with the rights that deploy/ grants: one for each cause, counted up, put together."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from sidecars.statussync.kube.cluster import KubernetesCluster
from sidecars.statussync.kube.event_correlation import COMBINED
from sscsi.core.pod_event import FAILED_MOUNT, FAILED_REFRESH, FAILED_SECRET, PodEvent
from tests.kubeapi.adapter import NODE, USER, adapter, make_pod, put_class
from tests.kubeapi.kube_api import SERVICE_ACCOUNT, KubeApi
from tests.kubeapi.rest import RestError
from tests.statussync.making import make_event
from tests.support.waiting import wait_until


@pytest.fixture
def cluster(kube_api: KubeApi) -> Iterator[KubernetesCluster]:
    with adapter(kube_api) as made:
        yield made


@pytest.fixture
def event(kube_api: KubeApi, namespace: str) -> PodEvent:
    """A failed mount of a pod that is there."""
    return make_event(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace))


def events(kube_api: KubeApi, namespace: str) -> list[dict[str, Any]]:
    return list(kube_api.client().list(f"/api/v1/namespaces/{namespace}/events"))


def wait_for_counts(kube_api: KubeApi, namespace: str, **counts: int) -> None:
    """By message, how often each was."""

    def found() -> bool:
        return {item["message"]: item["count"] for item in events(kube_api, namespace)} == counts

    wait_until(found, f"the Events are {counts}")


def changed(event: PodEvent, **changes: Any) -> PodEvent:
    return make_event(pod_namespace=event.pod_namespace, pod_uid=event.pod_uid, **changes)


def test_there_is_an_event_for_each_cause_as_kubectl_describe_looks_for_it(
    kube_api: KubeApi, cluster: KubernetesCluster, event: PodEvent
) -> None:
    for reason in (FAILED_MOUNT, FAILED_REFRESH, FAILED_SECRET):
        cluster.tell(changed(event, reason=reason))
    selector = f"involvedObject.uid={event.pod_uid},involvedObject.kind=Pod,type=Warning"
    path = f"/api/v1/namespaces/{event.pod_namespace}/events?fieldSelector={selector}"
    wait_until(lambda: len(kube_api.client().list(path)) == 3, "all are there")
    found = {item["reason"]: item for item in kube_api.client().list(path)}
    assert found.keys() == {FAILED_MOUNT, FAILED_REFRESH, FAILED_SECRET}
    item = found[FAILED_SECRET]
    assert item["source"] == {"component": "csi-secrets-store-controller", "host": NODE}
    assert item["involvedObject"]["name"] == "web"
    assert (item["reportingComponent"], item["reportingInstance"]) == ("secrets-store.csi.k8s.io", NODE)
    assert item["firstTimestamp"] == item["lastTimestamp"]


def test_equal_events_are_one_object_whose_count_is_patched(
    kube_api: KubeApi, cluster: KubernetesCluster, event: PodEvent
) -> None:
    for _ in range(4):
        cluster.tell(event)
    wait_for_counts(kube_api, event.pod_namespace, no=4)
    verbs = [
        (request.verb, request.code)
        for request in kube_api.requests(user=USER)
        if (request.resource, request.namespace) == ("events", event.pod_namespace)
    ]
    assert verbs == [("create", 201), ("patch", 200), ("patch", 200), ("patch", 200)]


def test_similar_events_are_put_together(
    kube_api: KubeApi, cluster: KubernetesCluster, event: PodEvent
) -> None:
    for number in range(15):
        cluster.tell(changed(event, message=f"no{number}"))
    wait_for_counts(
        kube_api, event.pod_namespace, **{f"no{number}": 1 for number in range(10)}, **{f"{COMBINED}no14": 5}
    )


def test_a_pod_that_fails_for_ever_costs_a_few_requests(
    kube_api: KubeApi, cluster: KubernetesCluster, event: PodEvent
) -> None:
    for _ in range(60):
        cluster.tell(event)
    cluster.tell(make_event(pod_namespace=event.pod_namespace, pod_uid="other", message="last"))
    wait_for_counts(kube_api, event.pod_namespace, no=25, last=1)


def test_an_event_that_was_deleted_is_made_again(
    kube_api: KubeApi, cluster: KubernetesCluster, event: PodEvent
) -> None:
    cluster.tell(event)
    wait_for_counts(kube_api, event.pod_namespace, no=1)
    kube_api.client().delete(f"/api/v1/namespaces/{event.pod_namespace}/events")
    cluster.tell(event)
    wait_for_counts(kube_api, event.pod_namespace, no=2)


def test_a_message_may_hold_anything_but_is_one_line_of_a_kibibyte(
    kube_api: KubeApi, cluster: KubernetesCluster, event: PodEvent
) -> None:
    cluster.tell(changed(event, message='%s\n\x00"' + "ü" * 2000))
    wait_until(lambda: events(kube_api, event.pod_namespace), "it is there")
    (item,) = events(kube_api, event.pod_namespace)
    assert item["message"].startswith('%s  "üü')
    assert len(item["message"].encode()) <= 1024


def test_a_node_and_a_pod_with_the_longest_names_are_told(kube_api: KubeApi, namespace: str) -> None:
    node = "n" * 240 + ".example.com"
    with adapter(kube_api, node=node) as cluster:
        cluster.tell(make_event(pod_namespace=namespace, pod_name="p" * 253))
        wait_for_counts(kube_api, namespace, no=1)


def test_the_driver_may_write_events_and_not_read_them(kube_api: KubeApi, namespace: str) -> None:
    client = kube_api.client(kube_api.token(SERVICE_ACCOUNT))
    for forbidden in (client.list, client.delete):
        with pytest.raises(RestError) as refused:
            forbidden(f"/api/v1/namespaces/{namespace}/events")
        assert refused.value.code == 403


def test_an_api_that_is_away_delays_no_caller_and_is_told_of_what_comes_later(
    kube_api: KubeApi, cluster: KubernetesCluster, event: PodEvent
) -> None:
    with kube_api.stopped():
        begun = time.monotonic()
        for number in range(1000):
            cluster.tell(changed(event, message=f"no{number}"))
        assert time.monotonic() - begun < 30.0
    cluster.tell(make_event(pod_namespace=event.pod_namespace, pod_uid="later", message="later"))
    wait_until(
        lambda: "later" in {item["message"] for item in events(kube_api, event.pod_namespace)},
        "the last is there",
    )


def test_events_leave_the_requests_to_others(kube_api: KubeApi, namespace: str) -> None:
    put_class(kube_api, namespace, "app", {"provider": "file", "parameters": {"objects": "x"}})
    with adapter(kube_api, requests_per_second=0.01) as cluster:
        # Half of the burst of 100 is for others.
        for number in range(100):
            cluster.tell(make_event(pod_namespace=namespace, pod_uid=str(number)))
        wait_until(lambda: len(events(kube_api, namespace)) > 40, "Events are written")
        # Sooner than the next request of those that come with time.
        assert cluster.get_class(namespace, "app", timeout_seconds=60.0).provider == "file"
        assert len(events(kube_api, namespace)) <= 50
