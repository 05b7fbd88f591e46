"""The program on a real API server: what it writes for volumes that come, change and go, and what outages leave of that."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecars.statussync.reconcile import status_key
from sscsi.core.pod_status import NODE_LABEL, build_status
from sscsi.core.published_volume import PublishedVolume
from sscsi.pb import csi_pb2
from tests.fakes import fake_provider
from tests.fakes.fake_provider import FakeProvider
from tests.kubeapi import kube_status_sync
from tests.kubeapi.adapter import path_of, put_class, replica_set
from tests.kubeapi.kube_api import KubeApi
from tests.kubeapi.kube_status_sync import SPEC, STATUS, KubeStatusSync
from tests.statussync.making import make_volume
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import node_process, publish_request
from tests.support.preloaded import Preloaded
from tests.support.waiting import wait_until

WITH_SECRET = {
    **SPEC,
    "secretObjects": [
        {"secretName": "db", "type": "Opaque", "data": [{"objectName": "password", "key": "k"}]}
    ],
}
# What kubelet's calls wait for Secrets, by default.
SECRET_WAIT_SECONDS = 2.0
# What status-sync gives the API server for one request that writes.
REQUEST_SECONDS = 10.0
# Of a machine that does other things, too.
SLACK_SECONDS = 30.0


@pytest.fixture(scope="module")
def programs() -> Iterator[Preloaded]:
    with kube_status_sync.programs() as holder:
        yield holder


@pytest.fixture
def room(tmp_path: Path, programs: Preloaded, kube_api: KubeApi, namespace: str) -> Iterator[KubeStatusSync]:
    """Not started yet; its class `app` makes no Secret."""
    with kube_status_sync.unstarted(tmp_path, programs, kube_api, namespace, SPEC) as room:
        yield room


def condition(found: dict[str, Any] | None, kind: str) -> str:
    conditions = found["status"].get("conditions", []) if found else []
    return next((entry["status"] for entry in conditions if entry["type"] == kind), "")


def tried_again(volume: PublishedVolume) -> PublishedVolume:
    """The volume after kubelet asked for it once more, and nothing was new."""
    return dataclasses.replace(volume, last_attempt_time=2000.0, last_success_time=2000.0)


def test_a_publish_is_one_write_a_republish_none_and_an_unpublish_one(room: KubeStatusSync) -> None:
    room.start()
    volume = room.publish_pod()
    room.node.put(volume)
    room.settle(1)
    assert room.is_right(volume)
    assert room.writes() == [f"create {STATUS}"]
    room.node.put(tried_again(volume))
    room.node.put(tried_again(volume))
    room.node.put(room.publish_pod("next"))
    room.settle(2)
    assert room.writes() == [f"create {STATUS}"] * 2
    room.node.remove(volume)
    room.settle(1)
    assert room.status_of(volume) is None
    assert room.writes() == [f"create {STATUS}"] * 2 + [f"delete {STATUS}"]


@pytest.mark.usefixtures("syncing")
def test_a_secret_is_there_when_ensure_secrets_answers_and_the_status_object_says_so_in_one_write(
    room: KubeStatusSync,
) -> None:
    put_class(room.kube_api, room.namespace, "app", WITH_SECRET)
    room.start()
    room.hear()
    volume = room.publish_pod(owners=(replica_set(),))
    assert room.ensure(volume) == []
    secret = room.secret("db")
    assert secret is not None
    assert secret["data"] == {"k": "czNjcmV0"}
    room.node.put(volume)
    room.settle(1)
    assert condition(room.status_of(volume), "Synced") == "True"
    assert room.writes() == ["create secrets", f"create {STATUS}"]


@pytest.mark.usefixtures("syncing")
def test_the_status_object_of_a_pod_without_owners_owns_the_secret(room: KubeStatusSync) -> None:
    put_class(room.kube_api, room.namespace, "app", WITH_SECRET)
    room.start()
    room.hear()
    volume = room.publish_pod()
    assert room.ensure(volume) == []
    room.node.put(volume)
    room.settle(1)
    secret, status = room.secret("db"), room.status_of(volume)
    assert secret is not None
    assert status is not None
    (owner,) = secret["metadata"]["ownerReferences"]
    assert owner["uid"] == status["metadata"]["uid"]
    assert condition(status, "Synced") == "True"


@pytest.mark.usefixtures("syncing")
def test_a_class_that_changes_has_its_secret_follow(room: KubeStatusSync) -> None:
    put_class(room.kube_api, room.namespace, "app", WITH_SECRET)
    room.start()
    room.hear()
    volume = room.publish_pod(owners=(replica_set(),))
    room.node.put(volume)
    wait_until(lambda: room.secret("db") is not None, "the Secret is made")
    (entry,) = WITH_SECRET["secretObjects"]
    assert isinstance(entry, dict)
    changed = {**entry, "data": [{"objectName": "password", "key": "other"}]}
    put_class(room.kube_api, room.namespace, "app", {**SPEC, "secretObjects": [changed]})

    def has_followed() -> bool:
        secret = room.secret("db")
        return secret is not None and list(secret["data"]) == ["other"]

    wait_until(has_followed, "the Secret has the other key only")


@pytest.mark.usefixtures("syncing")
@pytest.mark.parametrize("end", [KubeStatusSync.terminate, KubeStatusSync.kill])
def test_a_start_anew_writes_nothing_when_nothing_changed(
    room: KubeStatusSync, end: Callable[[KubeStatusSync], object]
) -> None:
    put_class(room.kube_api, room.namespace, "app", WITH_SECRET)
    room.start()
    owned, bare = room.publish_pod("owned", owners=(replica_set(),)), room.publish_pod("bare")
    for volume in (owned, bare):
        room.node.put(volume)
    wait_until(
        lambda: all(condition(room.status_of(volume), "Synced") == "True" for volume in (owned, bare)),
        "the Secret is made for both",
    )
    room.settle(2)
    before = room.writes()
    end(room)
    room.start()
    room.settle(2)
    assert room.writes() == before


def test_killed_in_the_middle_again_and_again_it_loses_nothing(room: KubeStatusSync) -> None:
    volumes: list[PublishedVolume] = []
    for number in range(3):
        room.start()
        for index in range(15):
            volumes.append(room.publish(pod_name=f"pod-{number}-{index}", pod_uid=f"uid-{number}-{index}"))
            room.node.put(volumes[-1])
        wait_until(lambda: any(room.is_right(volume) for volume in volumes[-15:]), "some are written")
        if number:
            room.node.remove(volumes.pop(0))
        room.kill()
    room.start()
    room.settle(len(volumes))
    assert all(room.is_right(volume) for volume in volumes)
    gone = volumes.pop(0)
    room.node.remove(gone)
    room.settle(len(volumes))
    assert room.status_of(gone) is None
    # The log tells in order, so what came before this is in it.
    wait_until(
        lambda: any(
            (request.verb, request.name) == ("delete", status_key(gone).name) for request in room.requests()
        ),
        "the last deletion is counted",
    )
    # What a kill left undone was done after it, and nothing twice: only what was to go was deleted, and nothing was made
    # anew. The server may not have counted what it did for those that were killed meanwhile.
    assert room.successes("create", STATUS) <= len(volumes) + 3
    assert room.successes("delete", STATUS) <= 3
    assert set(room.writes()) <= {f"create {STATUS}", f"delete {STATUS}"}


def test_a_node_room_that_starts_anew_costs_no_write_and_what_it_did_not_say_is_made_right(
    room: KubeStatusSync,
) -> None:
    room.start()
    volume = room.publish_pod()
    room.node.put(volume)
    room.settle(1)
    room.node.stop()
    wait_until(lambda: room.status().facts["node_connected"] == "false", "the watch has ended")
    room.node.start()
    wait_until(lambda: room.status().facts["node_connected"] == "true", "it watches again")
    room.settle(1)
    assert room.writes() == [f"create {STATUS}"]
    unsaid = room.publish_pod("unsaid")
    room.node.put_quietly(unsaid)
    room.node.stop()
    wait_until(lambda: room.status().facts["node_connected"] == "false", "the watch has ended")
    room.node.start()
    room.settle(2)
    assert room.is_right(unsaid)
    assert room.writes() == [f"create {STATUS}"] * 2


def put_status(
    room: KubeStatusSync, volume: PublishedVolume, edit: dict[str, Any] | None = None, *, node: str = ""
) -> None:
    """A status object that somebody left, as this driver writes it but for `edit`."""
    manifest = dict(build_status([volume], node_id=node or room.node_name, synced=None))
    path = path_of(status_key(volume))
    room.kube_api.client().create(path.rpartition("/")[0], manifest)
    if edit:
        room.kube_api.client().patch(path, edit)


def test_at_the_start_orphans_of_this_node_are_removed_and_nothing_else(room: KubeStatusSync) -> None:
    staying = room.publish_pod("staying")
    orphan, other, moved, adopted, no_label = (
        room.publish(pod_name=name, pod_uid=f"uid-of-{name}")
        for name in ("orphan", "other", "moved", "adopted", "no-label")
    )
    put_status(room, staying)
    put_status(room, orphan)
    put_status(room, other, node="another-node")
    put_status(room, moved, {"status": {"targetPath": "/etc"}})
    put_status(
        room,
        adopted,
        {
            "metadata": {
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "theirs"}]
            }
        },
    )
    put_status(room, no_label, {"metadata": {"labels": None}})
    room.node.put(staying)
    room.start()
    wait_until(lambda: room.status_of(orphan) is None, "the orphan is removed")
    room.settle(1)
    assert room.is_right(staying)
    assert all(room.status_of(volume) for volume in (other, moved, adopted, no_label))
    assert room.writes() == [f"delete {STATUS}"]


@pytest.mark.parametrize("new_comes_first", [True, False])
def test_the_next_incarnation_of_a_statefulsets_pod_has_the_object(
    room: KubeStatusSync, *, new_comes_first: bool
) -> None:
    room.start()
    old = room.publish(pod_name="web-0", pod_uid="old-uid")
    room.node.put(old)
    room.settle(1)
    new = room.publish_pod("web-0")
    if new_comes_first:
        room.node.put(new)
    room.node.remove(old)
    if not new_comes_first:
        room.node.put(new)
    wait_until(lambda: room.is_right(new), "the object is the new pod's")
    room.settle(1)
    found = room.status_of(new)
    assert found is not None
    assert [owner["uid"] for owner in found["metadata"]["ownerReferences"]] == [new.pod_uid]


def test_two_volumes_of_a_pod_with_one_class_share_the_object(room: KubeStatusSync) -> None:
    room.start()
    first = room.publish_pod()
    second = room.publish(pod_uid=first.pod_uid)
    room.node.put(first)
    room.node.put(second)
    room.settle(2)
    room.node.remove(first)
    room.settle(1)
    assert room.is_right(second)
    room.node.remove(second)
    room.settle(0)
    assert room.status_of(second) is None
    assert room.writes().count(f"delete {STATUS}") == 1


def test_somebody_who_edits_or_removes_a_status_object_has_it_put_right(room: KubeStatusSync) -> None:
    room.start()
    volume = room.publish_pod()
    room.node.put(volume)
    room.settle(1)
    client, path = room.kube_api.client(), path_of(status_key(volume))
    for edit in (
        {"status": {"targetPath": "/etc"}},
        {"metadata": {"labels": None}},
        {"metadata": {"ownerReferences": None}},
    ):
        client.patch(path, edit)

        def is_put_right() -> bool:
            found = room.status_of(volume)
            return (
                found is not None
                and found["status"]["targetPath"] == volume.target_path
                and found["metadata"].get("labels") == {NODE_LABEL: room.node_name}
                and [owner["uid"] for owner in found["metadata"].get("ownerReferences", [])]
                == [volume.pod_uid]
            )

        wait_until(is_put_right, f"undone: {edit}")
    client.delete(path)
    wait_until(lambda: room.is_right(volume), "it is made again")


def known_classes(room: KubeStatusSync, *names: str) -> None:
    """Have a volume of each class, and return when status-sync hears of its changes."""
    for name in names:
        room.node.put(room.publish_pod(f"first-of-{name}", class_name=name))
    wait_until(
        lambda: {request.name for request in room.requests() if request.verb == "watch"} >= set(names),
        "the classes are watched",
    )
    room.settle(len(names))


@pytest.mark.usefixtures("syncing")
def test_500_publishes_without_api_server_are_answered_and_all_right_soon_after_it_is_back(
    room: KubeStatusSync,
) -> None:
    put_class(room.kube_api, room.namespace, "synced", WITH_SECRET)
    room.start()
    known_classes(room, "app", "synced")
    volumes = [room.publish(pod_name=f"pod-{index}", pod_uid=f"uid-{index}") for index in range(490)]
    synced = [room.publish_pod(f"synced-{index}", class_name="synced") for index in range(10)]

    def publish(volume: PublishedVolume) -> float:
        """As the node room does; how long that took."""
        begun = time.monotonic()
        room.get(volume.class_name, room.namespace)
        if volume.class_name == "synced":
            with contextlib.suppress(grpc.RpcError):
                assert room.ensure(volume, timeout=SECRET_WAIT_SECONDS)
        room.node.put(volume)
        return time.monotonic() - begun

    room.kube_api.stop()
    try:
        with futures.ThreadPoolExecutor(16) as kubelets:
            longest = max(kubelets.map(publish, [*synced, *volumes]))
    finally:
        room.kube_api.start()
    assert longest < SECRET_WAIT_SECONDS + SLACK_SECONDS
    room.settle(502)
    assert all(room.is_right(volume) for volume in [*volumes, *synced])
    assert room.secret("db") is not None
    # One for each, and Synced for those whose Secret has the status object as its owner.
    # What was under way when the API server was killed may have been asked for twice.
    wait_until(lambda: room.successes("create", STATUS) == 502, "each was made once")


@pytest.mark.usefixtures("syncing")
def test_while_the_api_server_hangs_known_classes_are_answered_and_the_end_is_in_time(
    room: KubeStatusSync,
) -> None:
    put_class(room.kube_api, room.namespace, "synced", WITH_SECRET)
    room.start("--stop-grace=0s")
    known_classes(room, "app", "synced")
    with room.kube_api.paused():
        begun = time.monotonic()
        for _ in range(100):
            assert room.get("app", room.namespace).provider == "file"
        asked_at = time.monotonic()
        volume = room.publish(pod_name="late", pod_uid="late", class_name="synced")
        with contextlib.suppress(grpc.RpcError):
            assert room.ensure(volume, timeout=SECRET_WAIT_SECONDS)
        assert time.monotonic() - begun < SECRET_WAIT_SECONDS + SLACK_SECONDS
        assert room.terminate() == 0
        # Sooner than any request to the API server gives up. Beyond its grace supervisord kills it.
        assert time.monotonic() - asked_at < REQUEST_SECONDS


def test_a_class_that_is_known_and_watched_no_longer_is_answered_while_the_api_server_hangs(
    room: KubeStatusSync,
) -> None:
    """Known from a look-up, before any volume of it: there is no watch that says that it is as it was."""
    room.start()
    room.get("app", room.namespace)
    fresh = threading.Event()
    with room.kube_api.paused():
        fresh.wait(1.5)
        request_seconds = 5.0

        def get(_: int) -> float:
            begun = time.monotonic()
            assert room.get("app", room.namespace).provider == "file"
            return time.monotonic() - begun

        with futures.ThreadPoolExecutor(8) as kubelets:
            # The soonest: the machine may be busy with something else for the others.
            assert min(kubelets.map(get, range(8))) < request_seconds


def published(
    room: KubeStatusSync, place: NodePlace, index: int
) -> tuple[csi_pb2.NodePublishVolumeRequest, PublishedVolume]:
    """What kubelet asks for, and the volume as the node room then has it."""
    uid = f"uid-{index}"
    request = publish_request(
        place.target_path(uid),
        volume_id=f"csi-{index}",
        namespace=room.namespace,
        pod=f"pod-{index}",
        pod_uid=uid,
    )
    volume = make_volume(
        target_path=request.target_path, pod_namespace=room.namespace, pod_name=f"pod-{index}", pod_uid=uid
    )
    return request, volume


@pytest.mark.root
def test_a_real_node_room_that_is_killed_in_the_middle_loses_nothing_and_costs_no_write_twice(
    room: KubeStatusSync,
) -> None:
    put_class(room.kube_api, room.namespace, "app", {**SPEC, "provider": "fake"})
    room.node.stop()
    room.start()
    run_directory = f"--run-dir={room.run}"
    with node_place() as place, fake_provider.serving(FakeProvider(), place.provider_socket()):
        wishes = [published(room, place, index) for index in range(20)]

        def publish(request: csi_pb2.NodePublishVolumeRequest) -> bool:
            """Whether kubelet need not ask again."""
            try:
                node.publish(request)
            except grpc.RpcError:
                return False
            return True

        with node_process(place, run_directory) as node, futures.ThreadPoolExecutor(4) as kubelets:
            answers = [kubelets.submit(publish, request) for request, _ in wishes]
            wait_until(lambda: any(answer.done() for answer in answers), "one is published")
            node.kill()
        with node_process(place, run_directory) as node:
            assert all(publish(request) for request, _ in wishes)
            room.settle(len(wishes))
            assert all(room.is_right(volume) for _, volume in wishes)
            assert room.writes() == [f"create {STATUS}"] * len(wishes)
            node.kill()
        with node_process(place, run_directory) as node:
            wait_until(lambda: room.status().facts["node_connected"] == "true", "it watches again")
            assert all(publish(request) for request, _ in wishes)
            room.settle(len(wishes))
            assert len(room.writes()) == len(wishes)
            for request, _ in wishes:
                node.unpublish(request.target_path, volume_id=request.volume_id)
            room.settle(0)
            assert not any(room.status_of(volume) for _, volume in wishes)
            assert len(room.writes()) == 2 * len(wishes)
