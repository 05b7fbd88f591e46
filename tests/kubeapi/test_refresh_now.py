"""Annotations that ask for a refresh, on a real API server, from there to the node room; and what is told of refreshes that fail."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecars.statussync.kube.api import METADATA_LIST
from sidecars.statussync.kube.api import KubeApi as Client
from sidecars.statussync.kube.connection import loader
from sidecars.statussync.kube.rate_limit import RateLimit
from sidecars.statussync.reconcile import status_key
from sscsi.core import pod_event
from sscsi.core.annotations import REFRESH_AT
from sscsi.core.pod_event import PodEvent
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.refresh_ask import RefreshAsk
from tests.kubeapi import kube_status_sync
from tests.kubeapi.adapter import USER, adapter, annotate_pod, make_pod, put_class, replica_set
from tests.kubeapi.audit import Request
from tests.kubeapi.kube_api import KubeApi
from tests.kubeapi.kube_status_sync import SPEC, STATUS, KubeStatusSync
from tests.kubeapi.test_rights import without
from tests.statussync.making import VERSION, make_volume
from tests.support.preloaded import Preloaded
from tests.support.waiting import wait_until

WITH_SECRET = {
    **SPEC,
    "secretObjects": [
        {"secretName": "db", "type": "Opaque", "data": [{"objectName": "password", "key": "k"}]}
    ],
}
# Well below the five minutes after which everything is looked at anyway.
PROMPT_SECONDS = 60.0


@pytest.fixture(scope="module")
def programs() -> Iterator[Preloaded]:
    with kube_status_sync.programs() as holder:
        yield holder


@pytest.fixture
def room(tmp_path: Path, programs: Preloaded, kube_api: KubeApi, namespace: str) -> Iterator[KubeStatusSync]:
    """Not started yet; its class `app` makes no Secret."""
    with kube_status_sync.unstarted(tmp_path, programs, kube_api, namespace, SPEC) as room:
        yield room


def class_ask(room: KubeStatusSync, value: str) -> RefreshAsk:
    return RefreshAsk(namespace=room.namespace, class_name="app", value=value)


def pod_ask(volume: PublishedVolume, value: str) -> RefreshAsk:
    return RefreshAsk(
        namespace=volume.pod_namespace, pod_name=volume.pod_name, pod_uid=volume.pod_uid, value=value
    )


def is_told(room: KubeStatusSync, *asks: RefreshAsk) -> None:
    """Return when these are what the node room was told last."""
    wait_until(
        lambda: room.node.asked and set(room.node.asked[-1]) == set(asks),
        f"the node room is told {asks}",
        seconds=PROMPT_SECONDS,
    )


def pod_requests(room: KubeStatusSync, since: float) -> list[Request]:
    """Lists and watches of pods by this node."""
    return [
        request
        for request in room.kube_api.requests(since, user=USER)
        if request.resource == "pods" and not request.name and room.node_name in request.uri
    ]


def test_an_annotation_of_a_class_comes_to_the_node_room_changes_and_goes(room: KubeStatusSync) -> None:
    room.start()
    room.node.put(room.publish_pod())
    is_told(room)
    for value in ("2026-01-01T12:00:00Z", "again"):
        put_class(room.kube_api, room.namespace, "app", SPEC, annotations={REFRESH_AT: value})
        is_told(room, class_ask(room, value))
    put_class(room.kube_api, room.namespace, "unused", SPEC, annotations={REFRESH_AT: "x"})
    put_class(room.kube_api, room.namespace, "app", SPEC)
    is_told(room)
    assert room.writes() == [f"create {STATUS}"]


def test_an_annotation_of_a_pod_comes_to_the_node_room_changes_and_goes_with_the_volume(
    room: KubeStatusSync,
) -> None:
    room.start()
    volume = room.publish_pod()
    # Of this node, too, and without a volume.
    make_pod(room.kube_api, room.namespace, "other", node=room.node_name)
    room.node.put(volume)
    annotate_pod(room.kube_api, room.namespace, "other", "x")
    for value in ("1", "2"):
        annotate_pod(room.kube_api, room.namespace, "web", value)
        is_told(room, pod_ask(volume, value))
    annotate_pod(room.kube_api, room.namespace, "web", None)
    is_told(room)
    annotate_pod(room.kube_api, room.namespace, "web", "3")
    is_told(room, pod_ask(volume, "3"))
    room.node.remove(volume)
    is_told(room)


def test_a_node_room_that_starts_anew_and_a_status_sync_that_does_know_all_that_is_asked(
    room: KubeStatusSync,
) -> None:
    put_class(room.kube_api, room.namespace, "app", SPEC, annotations={REFRESH_AT: "1"})
    room.start()
    volume = room.publish_pod()
    room.node.put(volume)
    annotate_pod(room.kube_api, room.namespace, "web", "1")
    wishes = (class_ask(room, "1"), pod_ask(volume, "1"))
    is_told(room, *wishes)
    room.node.stop()
    room.node.asked.clear()
    room.node.start()
    is_told(room, *wishes)
    room.kill()
    room.node.asked.clear()
    room.start()
    is_told(room, *wishes)
    # Gone while nobody of ours was there to see it.
    room.kill()
    annotate_pod(room.kube_api, room.namespace, "web", None)
    room.node.asked.clear()
    room.start()
    is_told(room, class_ask(room, "1"))


def test_a_node_room_that_does_not_answer_keeps_nothing_else_from_being_done(room: KubeStatusSync) -> None:
    put_class(room.kube_api, room.namespace, "app", SPEC, annotations={REFRESH_AT: "1"})
    room.node.hears_wishes = False
    room.start()
    volume = room.publish_pod()
    room.node.put(volume)
    wait_until(lambda: room.is_right(volume), "its status object is written", seconds=PROMPT_SECONDS)
    assert room.get("app", room.namespace).provider == "file"
    assert room.node.asked == []
    room.node.hears_wishes = True
    is_told(room, class_ask(room, "1"))


def test_pods_are_watched_while_there_are_volumes_by_node_and_metadata_only(room: KubeStatusSync) -> None:
    began = time.time()
    room.start()
    room.settle(0)
    assert pod_requests(room, began) == []
    volume = room.publish_pod()
    room.node.put(volume)
    wait_until(lambda: len(pod_requests(room, began)) == 2, "a list and a watch", seconds=PROMPT_SECONDS)
    listed, watched = pod_requests(room, began)
    assert (listed.verb, watched.verb) == ("list", "watch")
    # Without the version, the API server would read every pod of the cluster from etcd.
    assert "resourceVersion=0" in listed.uri
    assert f"fieldSelector=spec.nodeName%3D{room.node_name}" in listed.uri
    client = Client(loader(str(room.kubeconfig)), RateLimit(per_second=10, burst=10))
    page = client.call("GET", "/api/v1/pods", accept=METADATA_LIST, timeout_seconds=5.0)
    client.close()
    assert page["kind"] == "PartialObjectMetadataList"
    assert all("spec" not in pod for pod in page["items"])


def test_without_the_flag_nobody_asks_for_pods(room: KubeStatusSync) -> None:
    began = time.time()
    put_class(room.kube_api, room.namespace, "app", SPEC, annotations={REFRESH_AT: "1"})
    room.start("--pod-annotations=false")
    room.node.put(room.publish_pod())
    is_told(room, class_ask(room, "1"))
    assert pod_requests(room, began) == []


def test_a_node_without_the_right_to_watch_pods_says_so_once_and_does_everything_else(
    room: KubeStatusSync,
) -> None:
    put_class(room.kube_api, room.namespace, "app", SPEC, annotations={REFRESH_AT: "1"})
    with without(room.kube_api, "", "pods", "list"):
        room.start()
        volume = room.publish_pod()
        room.node.put(volume)
        is_told(room, class_ask(room, "1"))
        wait_until(lambda: room.status().problems, "the problem is shown", seconds=PROMPT_SECONDS)
        (problem,) = room.status().problems
        assert problem.startswith("Annotations of pods: GET /api/v1/pods: pods is forbidden")
        assert "see the role secretproviderclasses-role" in problem
        assert "--pod-annotations=false" in problem
        wait_until(lambda: room.is_right(volume), "its status object is written", seconds=PROMPT_SECONDS)
        lines = [line for line in room.log.read_text().splitlines() if "pods is forbidden" in line]
        assert len(lines) == 1
    annotate_pod(room.kube_api, room.namespace, "web", "1")
    is_told(room, class_ask(room, "1"), pod_ask(volume, "1"))
    assert list(room.status().problems) == []


def test_when_there_are_no_volumes_any_more_pods_are_not_watched(kube_api: KubeApi, namespace: str) -> None:
    node = f"node-of-{namespace}"
    with adapter(kube_api, node=node) as cluster:
        pod = (namespace, "web", make_pod(kube_api, namespace, node=node))
        annotate_pod(kube_api, namespace, "web", "1")
        wait_until(lambda: cluster.pod_asks({pod}) == {pod: "1"}, "the pod is known")
        assert cluster.pod_asks(set()) == {}
        annotate_pod(kube_api, namespace, "web", "2")
        # It is not what an ended watch knew, but what is there.
        wait_until(lambda: cluster.pod_asks({pod}) == {pod: "2"}, "the pod is known anew")


def condition(room: KubeStatusSync, volume: PublishedVolume) -> dict[str, Any]:
    """Its condition `Refreshed`."""
    found = room.status_of(volume)
    conditions = found["status"]["conditions"] if found else []
    return next((dict(entry) for entry in conditions if entry["type"] == "Refreshed"), {})


def test_a_failing_refresh_is_told_with_reason_and_since_when_and_costs_one_write_until_it_is_over(
    room: KubeStatusSync,
) -> None:
    room.start()
    volume = room.publish_pod()
    room.node.put(volume)
    room.settle(1)
    assert condition(room, volume)["status"] == "True"
    # It began while status-sync was away.
    room.terminate()
    failing = dataclasses.replace(
        volume,
        last_error="no route to the store",
        failure_reason="ProviderUnavailable",
        last_attempt_time=1600.0,
        failing_since=1500.0,
    )
    room.node.put(failing)
    room.start()
    wait_until(lambda: condition(room, volume)["status"] == "False", "it is told", seconds=PROMPT_SECONDS)
    first = condition(room, volume)
    assert first["reason"] == "ProviderUnavailable"
    assert first["message"] == (
        "no route to the store; the content is of 1970-01-01T00:16:40Z; failing since 1970-01-01T00:25:00Z"
    )
    assert first["lastTransitionTime"] == "1970-01-01T00:25:00Z"
    room.settle(1)
    writes, begun = room.writes(), time.time()
    for attempt in range(10):
        room.node.put(
            dataclasses.replace(
                failing, last_attempt_time=1700.0 + attempt, last_error=f"no route, attempt {attempt}"
            )
        )
    room.node.put(room.publish_pod("next"))
    room.settle(2)
    assert [request for request in room.requests(begun) if request.name == status_key(volume).name] == []
    assert room.writes() == [*writes, f"create {STATUS}"]
    assert condition(room, volume) == first

    room.node.put(
        dataclasses.replace(failing, failure_reason="ProviderDenied", last_error="denied", adopted=False)
    )
    wait_until(
        lambda: condition(room, volume)["reason"] == "ProviderDenied",
        "the other reason is told",
        seconds=PROMPT_SECONDS,
    )
    assert condition(room, volume)["lastTransitionTime"] == first["lastTransitionTime"]
    room.node.put(dataclasses.replace(volume, last_attempt_time=1800.0, last_success_time=1800.0))
    wait_until(lambda: condition(room, volume)["status"] == "True", "it is over", seconds=PROMPT_SECONDS)
    after = condition(room, volume)
    assert (after["reason"], after.get("message", "")) == ("LastFetchSucceeded", "")
    assert after["lastTransitionTime"] > first["lastTransitionTime"]
    room.settle(2)
    assert room.writes() == [*writes, f"create {STATUS}", f"patch {STATUS}", f"patch {STATUS}"]


@pytest.mark.usefixtures("syncing")
def test_a_refresh_has_the_secret_follow_at_once_and_without_news_costs_nothing(room: KubeStatusSync) -> None:
    put_class(room.kube_api, room.namespace, "app", WITH_SECRET)
    room.start()
    volume = room.publish_pod(owners=(replica_set(),))
    assert room.ensure(volume) == []
    room.node.put(volume)
    room.settle(1)
    begun = time.time()
    for attempt in range(10):
        time_of_attempt = volume.last_attempt_time + attempt
        room.node.put(
            dataclasses.replace(volume, last_attempt_time=time_of_attempt, last_success_time=time_of_attempt)
        )
    # Whatever these had to be looked at for would have been looked at before this one, which is of no class.
    room.node.put(room.publish_pod("next", class_name="none"))
    room.settle(2)
    looked_at = {request.name for request in room.requests(begun) if request.resource in {"secrets", STATUS}}
    assert looked_at == {
        status_key(make_volume(pod_namespace=room.namespace, pod_name="next", class_name="none")).name
    }

    target = Path(volume.target_path)
    newer = VERSION.replace("2025", "2026")
    (target / newer).mkdir()
    (target / newer / "password").write_bytes(b"n3w")
    (target / "..data").unlink()
    (target / "..data").symlink_to(newer)
    begun = time.time()
    room.node.put(dataclasses.replace(volume, data_directory=newer, object_versions=(("password", "v2"),)))

    def has_followed() -> bool:
        secret = room.secret("db")
        return secret is not None and secret["data"] == {"k": "bjN3"}

    wait_until(has_followed, "the Secret has the new content", seconds=PROMPT_SECONDS)
    room.settle(2)
    found = room.status_of(volume)
    assert found is not None
    assert found["status"]["objects"] == [{"id": "password", "version": "v2"}]
    assert sorted(room.writes(begun)) == [f"patch {STATUS}", "patch secrets"]


@pytest.mark.parametrize("reason", [pod_event.FAILED_REFRESH, pod_event.INVALID_INTERVAL, "SomethingNew"])
def test_a_notice_becomes_an_event_whatever_its_reason(room: KubeStatusSync, reason: str) -> None:
    room.start()
    volume = room.publish_pod()
    room.node.put(volume)
    room.settle(1)
    room.node.notify(
        PodEvent(
            pod_namespace=room.namespace,
            pod_name=volume.pod_name,
            pod_uid=volume.pod_uid,
            reason=reason,
            message="the interval is -5s; 2m counts",
        )
    )

    def events() -> list[tuple[str, str, str]]:
        found = room.kube_api.client().list(f"/api/v1/namespaces/{room.namespace}/events")
        return [(event["type"], event["reason"], event["involvedObject"]["uid"]) for event in found]

    wait_until(lambda: events() == [("Warning", reason, volume.pod_uid)], "it is there")
