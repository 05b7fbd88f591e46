"""Every verb that deploy/ grants is needed: without it, the scenario named for it here fails."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from sidecars.statussync.kube.cluster import KubernetesCluster
from sscsi.core.finding import Outcome
from sscsi.errors import ClusterUnavailableError
from tests.kubeapi import manifests
from tests.kubeapi.adapter import (
    adapter,
    annotate_pod,
    make_pod,
    path_of,
    put_class,
    read,
    replica_set,
    secret_object,
    status_object,
)
from tests.kubeapi.kube_api import GROUP, SERVICE_ACCOUNT, KubeApi
from tests.kubeapi.rest import Object
from tests.statussync.making import make_class, make_event, make_secret_object, make_volume
from tests.support.waiting import wait_until

SPEC = {"provider": "one", "parameters": {"a": "b"}}
DRIVER = "secrets-store.csi.k8s.io"
# Rights on one object of a name only.
_NAMES = {"csidrivers": DRIVER}
# With all rights, what is told without a question comes within this time; without the right it is not waited for so long.
_NEWS_SECONDS = 60.0
_NO_NEWS_SECONDS = 4.0


class Scene:
    """An adapter and a namespace, for one scenario."""

    def __init__(
        self, kube_api: KubeApi, namespace: str, cluster: KubernetesCluster, *, news_seconds: float
    ) -> None:
        self.news_seconds = news_seconds
        self.kube_api = kube_api
        self.namespace = namespace
        self.cluster = cluster

    def status(self, *, pod_uid: str = "", node: str = "", **changes: Any) -> Any:
        """The status object of the pod `web`."""
        volume = make_volume(pod_namespace=self.namespace, pod_uid=pod_uid or "uid-1", **changes)
        return status_object(volume, node=node) if node else status_object(volume)

    def secret(self, content: bytes = b"1", secret_type: str = "Opaque") -> Any:
        spc = make_class(make_secret_object("db", secret_type, password="p"), namespace=self.namespace)
        return secret_object(spc, {"p": content}, replica_set())

    def has_event(self, count: int) -> bool:
        """Whether there is one Event, which came so often."""
        events = self.kube_api.client().list(f"/api/v1/namespaces/{self.namespace}/events")
        return [event["count"] for event in events] == [count]


def a_class_is_looked_up(scene: Scene) -> None:
    put_class(scene.kube_api, scene.namespace, "app", SPEC)
    assert scene.cluster.get_class(scene.namespace, "app", timeout_seconds=5.0).provider == "one"


def a_class_that_changes_is_heard_of(scene: Scene) -> None:
    name = (scene.namespace, "app")
    put_class(scene.kube_api, *name, SPEC)
    scene.cluster.get_class(*name, timeout_seconds=5.0)
    before = scene.cluster.class_revisions({name})
    put_class(scene.kube_api, *name, {**SPEC, "provider": "two"})
    wait_until(
        lambda: scene.cluster.class_revisions({name}) != before, "it is heard of", seconds=scene.news_seconds
    )


def a_status_object_is_made(scene: Scene) -> None:
    assert scene.cluster.apply(scene.status())


def a_status_object_follows_its_volume(scene: Scene) -> None:
    scene.cluster.apply(scene.status())
    assert scene.cluster.apply(scene.status(object_versions=(("password", "v2"),)))


def a_status_object_goes_with_its_volume(scene: Scene) -> None:
    wanted = scene.status()
    scene.cluster.apply(wanted)
    assert scene.cluster.delete(wanted.key)
    assert read(scene.kube_api, wanted.key) is None


def the_status_objects_of_before_a_start_are_known(scene: Scene) -> None:
    wanted = scene.status()
    scene.kube_api.client().create(path_of(wanted.key).rpartition("/")[0], dict(wanted.manifest))
    with adapter(scene.kube_api) as started_anew:
        assert wanted.key in started_anew.list_own(wanted.key.kind)


def an_edited_status_object_is_heard_of(scene: Scene) -> None:
    wanted = scene.status()
    scene.cluster.apply(wanted)
    scene.kube_api.client().patch(path_of(wanted.key), {"status": {"targetPath": "/etc"}})
    wait_until(
        lambda: wanted.key not in scene.cluster.list_own(wanted.key.kind), "it is", seconds=scene.news_seconds
    )


def a_status_object_of_another_node_is_taken_over(scene: Scene) -> None:
    old = scene.status(pod_uid="old", node="another-node")
    scene.kube_api.client().create(path_of(old.key).rpartition("/")[0], dict(old.manifest))
    assert scene.cluster.apply(scene.status(pod_uid=make_pod(scene.kube_api, scene.namespace)))


def the_owners_of_a_pod_are_found(scene: Scene) -> None:
    uid = make_pod(scene.kube_api, scene.namespace, owners=(replica_set(),))
    volume = make_volume(pod_namespace=scene.namespace, pod_uid=uid)
    assert scene.cluster.owners(volume, status_object(volume).key) == (replica_set(),)


def a_pod_that_asks_for_a_refresh_is_known(scene: Scene) -> None:
    pod = (scene.namespace, "web", make_pod(scene.kube_api, scene.namespace))
    annotate_pod(scene.kube_api, scene.namespace, "web", "1")
    wait_until(lambda: scene.cluster.pod_asks({pod}) == {pod: "1"}, "it is", seconds=scene.news_seconds)


def a_pod_that_asks_for_a_refresh_later_is_heard_of(scene: Scene) -> None:
    pod = (scene.namespace, "web", make_pod(scene.kube_api, scene.namespace))
    annotate_pod(scene.kube_api, scene.namespace, "web", "1")
    wait_until(lambda: scene.cluster.pod_asks({pod}) == {pod: "1"}, "it is known", seconds=scene.news_seconds)
    annotate_pod(scene.kube_api, scene.namespace, "web", "2")
    wait_until(
        lambda: scene.cluster.pod_asks({pod}) == {pod: "2"}, "it is heard of", seconds=scene.news_seconds
    )


def an_event_is_made(scene: Scene) -> None:
    scene.cluster.tell(make_event(pod_namespace=scene.namespace))
    wait_until(lambda: scene.has_event(1), "it is there", seconds=scene.news_seconds)


def an_event_that_comes_again_is_counted_up(scene: Scene) -> None:
    for count in (1, 2):
        scene.cluster.tell(make_event(pod_namespace=scene.namespace))
        wait_until(functools.partial(scene.has_event, count), "it is", seconds=scene.news_seconds)


def the_drivers_own_object_is_looked_at(scene: Scene) -> None:
    found = dict(scene.cluster.check_installation(DRIVER))
    assert found[f"CSIDriver {DRIVER}"].outcome is not Outcome.SKIP


def a_secret_is_made(scene: Scene) -> None:
    assert scene.cluster.apply(scene.secret())


def a_secret_that_is_there_is_known(scene: Scene) -> None:
    wanted = scene.secret()
    scene.kube_api.client().create(path_of(wanted.key).rpartition("/")[0], dict(wanted.manifest))
    assert scene.cluster.apply(wanted) is False


def a_secret_follows_its_content(scene: Scene) -> None:
    scene.cluster.apply(scene.secret())
    assert scene.cluster.apply(scene.secret(b"2"))


def a_secret_of_another_type_is_made_anew(scene: Scene) -> None:
    wanted = scene.secret()
    scene.kube_api.client().create(
        path_of(wanted.key).rpartition("/")[0], {**wanted.manifest, "type": "other"}
    )
    assert scene.cluster.apply(wanted)


SCENARIOS: Mapping[tuple[str, str, str], Callable[[Scene], None]] = {
    (GROUP, "secretproviderclasses", "list"): a_class_is_looked_up,
    (GROUP, "secretproviderclasses", "watch"): a_class_that_changes_is_heard_of,
    (GROUP, "secretproviderclasspodstatuses", "create"): a_status_object_is_made,
    (GROUP, "secretproviderclasspodstatuses", "delete"): a_status_object_goes_with_its_volume,
    (GROUP, "secretproviderclasspodstatuses", "get"): a_status_object_of_another_node_is_taken_over,
    (GROUP, "secretproviderclasspodstatuses", "list"): the_status_objects_of_before_a_start_are_known,
    (GROUP, "secretproviderclasspodstatuses", "patch"): a_status_object_follows_its_volume,
    (GROUP, "secretproviderclasspodstatuses", "watch"): an_edited_status_object_is_heard_of,
    ("", "pods", "get"): the_owners_of_a_pod_are_found,
    ("", "pods", "list"): a_pod_that_asks_for_a_refresh_is_known,
    ("", "pods", "watch"): a_pod_that_asks_for_a_refresh_later_is_heard_of,
    ("", "events", "create"): an_event_is_made,
    ("", "events", "patch"): an_event_that_comes_again_is_counted_up,
    ("storage.k8s.io", "csidrivers", "get"): the_drivers_own_object_is_looked_at,
    ("", "secrets", "create"): a_secret_is_made,
    ("", "secrets", "delete"): a_secret_of_another_type_is_made_anew,
    ("", "secrets", "get"): a_secret_that_is_there_is_known,
    ("", "secrets", "patch"): a_secret_follows_its_content,
}


def granted() -> list[tuple[str, str, str]]:
    """Every right in the files, one at a time."""
    roles = [
        document
        for path in (manifests.RBAC, manifests.RBAC_SYNCING)
        for document in manifests.documents(path)
        if document["kind"] == "ClusterRole"
    ]
    return [
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def role_of(group: str, resource: str) -> Object:
    """The role that grants something on the resource."""
    (role,) = (
        document
        for path in (manifests.RBAC, manifests.RBAC_SYNCING)
        for document in manifests.documents(path)
        if document["kind"] == "ClusterRole"
        and any(group in rule["apiGroups"] and resource in rule["resources"] for rule in document["rules"])
    )
    return role


@contextlib.contextmanager
def without(kube_api: KubeApi, group: str, resource: str, verb: str) -> Iterator[None]:
    """The driver has all its rights but this one in here."""
    role = role_of(group, resource)
    lesser = copy.deepcopy(role)
    for rule in lesser["rules"]:
        if group in rule["apiGroups"] and resource in rule["resources"]:
            rule["verbs"].remove(verb)
    lesser["rules"] = [rule for rule in lesser["rules"] if rule["verbs"]]
    token = kube_api.token(SERVICE_ACCOUNT)

    def may() -> bool:
        return kube_api.may(token, verb, resource, group, _NAMES.get(resource, ""))

    manifests.apply(kube_api.client(), lesser)
    try:
        wait_until(lambda: not may(), "the right is gone")
        yield
    finally:
        manifests.apply(kube_api.client(), role)
        wait_until(may, "the right is back")


def play(kube_api: KubeApi, scenario: Callable[[Scene], None], *, news_seconds: float) -> None:
    """The scenario, in a namespace of its own. Raises what makes it fail."""
    with kube_api.namespace() as namespace, adapter(kube_api) as cluster:
        scenario(Scene(kube_api, namespace, cluster, news_seconds=news_seconds))


@pytest.mark.usefixtures("syncing")
@pytest.mark.parametrize(("group", "resource", "verb"), granted())
def test_each_right_is_needed(kube_api: KubeApi, group: str, resource: str, verb: str) -> None:
    scenario = SCENARIOS[group, resource, verb]
    play(kube_api, scenario, news_seconds=_NEWS_SECONDS)
    with (
        without(kube_api, group, resource, verb),
        pytest.raises((ClusterUnavailableError, AssertionError)),
    ):
        play(kube_api, scenario, news_seconds=_NO_NEWS_SECONDS)
