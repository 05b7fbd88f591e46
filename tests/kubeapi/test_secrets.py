"""Secrets on a real API server: made, kept right, shared by nodes, never taken from anybody."""

import base64
import dataclasses
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest

from sidecars.statussync.kube.cluster import KubernetesCluster
from sscsi.core.provider_class import SecretObject, SecretProviderClass
from sscsi.errors import ClusterUnavailableError, ObjectNotOursError, SecretDataError
from sscsi.ports import ClusterObject, ObjectKey
from tests.kubeapi.adapter import (
    USER,
    adapter,
    make_pod,
    path_of,
    read,
    replica_set,
    secret_object,
    status_object,
)
from tests.kubeapi.kube_api import KubeApi
from tests.kubeapi.rest import STRATEGIC_PATCH
from tests.statussync.making import make_class, make_secret_object, make_volume


@pytest.fixture
def cluster(kube_api: KubeApi, syncing: None) -> Iterator[KubernetesCluster]:
    with adapter(kube_api) as made:
        yield made


def class_in(namespace: str, entry: SecretObject | None = None, **changes: Any) -> SecretProviderClass:
    return make_class(entry or make_secret_object(password="p"), namespace=namespace, **changes)


def wanted_in(namespace: str, content: bytes = b"1", **owner: str) -> ClusterObject:
    return secret_object(class_in(namespace), {"p": content}, replica_set(**owner))


def value(kube_api: KubeApi, key: ObjectKey) -> bytes:
    found = read(kube_api, key)
    assert found is not None
    return base64.b64decode(found["data"]["password"])


def verbs(kube_api: KubeApi, namespace: str) -> list[str]:
    return [
        request.verb
        for request in kube_api.requests(user=USER)
        if request.namespace == namespace and request.resource == "secrets"
    ]


def put_secret(kube_api: KubeApi, key: ObjectKey, **fields: Any) -> None:
    metadata = {"name": key.name, **fields.pop("metadata", {})}
    kube_api.client().create(path_of(key).rpartition("/")[0], {"metadata": metadata, **fields})


def test_a_secret_is_made_changed_and_otherwise_left_alone(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    wanted = wanted_in(namespace)
    assert cluster.apply(wanted) is True
    found = read(kube_api, wanted.key)
    assert found is not None
    assert found["type"] == "Opaque"
    assert found["metadata"]["labels"] == {"secrets-store.csi.k8s.io/managed": "true"}
    assert found["metadata"]["annotations"] == {"secrets-store.csi.k8s.io/secretproviderclass": "app"}
    assert found["metadata"]["ownerReferences"] == [replica_set()]
    assert cluster.apply(wanted) is False
    assert cluster.apply(wanted_in(namespace, b"2")) is True
    assert value(kube_api, wanted.key) == b"2"
    assert verbs(kube_api, namespace) == ["get", "create", "get", "patch"]


def test_keys_that_the_class_does_not_name_go_and_what_others_added_to_metadata_stays(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    wanted = wanted_in(namespace)
    cluster.apply(wanted)
    edit = {
        "metadata": {"labels": {"theirs": "x"}, "annotations": {"theirs": "y"}},
        "data": {"stray": "eA=="},
    }
    kube_api.client().patch(path_of(wanted.key), edit, content_type=STRATEGIC_PATCH)
    assert cluster.apply(wanted_in(namespace, b"2"))
    found = read(kube_api, wanted.key)
    assert found is not None
    assert found["data"].keys() == {"password"}
    assert found["metadata"]["labels"]["theirs"] == "x"
    assert found["metadata"]["annotations"]["theirs"] == "y"


def test_many_nodes_at_once_lose_no_owner(kube_api: KubeApi, namespace: str, syncing: None) -> None:
    uids = [f"{number:08d}-0000-0000-0000-000000000000" for number in range(8)]

    def apply_of_one_node(uid: str) -> None:
        with adapter(kube_api, node=f"node-{uid}") as cluster:
            for _ in range(20):
                try:
                    cluster.apply(wanted_in(namespace, name=f"rs-{uid}", uid=uid))
                    return
                except ClusterUnavailableError:
                    continue

    with futures.ThreadPoolExecutor(len(uids)) as nodes:
        list(nodes.map(apply_of_one_node, uids))
    found = read(kube_api, wanted_in(namespace).key)
    assert found is not None
    assert {owner["uid"] for owner in found["metadata"]["ownerReferences"]} == set(uids)


def test_a_former_incarnation_of_an_owner_is_replaced_and_nobody_else(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    cluster.apply(wanted_in(namespace, name="web-1", uid="old"))
    cluster.apply(wanted_in(namespace, name="web-2", uid="other"))
    cluster.apply(wanted_in(namespace, name="web-1", uid="new"))
    found = read(kube_api, wanted_in(namespace).key)
    assert found is not None
    owners = {(owner["name"], owner["uid"]) for owner in found["metadata"]["ownerReferences"]}
    assert owners == {("web-1", "new"), ("web-2", "other")}


def test_a_secret_of_somebody_else_is_left_alone_unless_its_owner_lets_it_go(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    wanted = wanted_in(namespace)
    put_secret(kube_api, wanted.key, data={"theirs": "eA=="})
    with pytest.raises(ObjectNotOursError, match="was not made by this driver"):
        cluster.apply(wanted)
    found = read(kube_api, wanted.key)
    assert found is not None
    assert found["data"] == {"theirs": "eA=="}
    offer = {"metadata": {"annotations": {"secrets-store.csi.k8s.io/allow-takeover": "true"}}}
    kube_api.client().patch(path_of(wanted.key), offer)
    assert cluster.apply(wanted)
    assert value(kube_api, wanted.key) == b"1"


def test_upstreams_secret_is_taken_over(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    wanted = wanted_in(namespace)
    metadata = {"labels": {"secrets-store.csi.k8s.io/managed": "true"}, "ownerReferences": [replica_set()]}
    put_secret(kube_api, wanted.key, metadata=metadata, data={"password": "eA=="})
    assert cluster.apply(wanted)
    assert value(kube_api, wanted.key) == b"1"


def test_two_classes_that_make_one_secret_are_told(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    cluster.apply(wanted_in(namespace))
    other = secret_object(
        class_in(namespace, name="other"),
        {"p": b"2"},
        replica_set("web-2", "22222222-1111-1111-1111-111111111111"),
    )
    with pytest.raises(ObjectNotOursError, match="made by SecretProviderClass app already"):
        cluster.apply(other)
    assert value(kube_api, other.key) == b"1"


@pytest.mark.parametrize("change", ["type", "immutable"])
def test_what_cannot_be_changed_is_made_anew(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster, change: str
) -> None:
    wanted = wanted_in(namespace)
    cluster.apply(wanted)
    before = read(kube_api, wanted.key)
    if change == "immutable":
        kube_api.client().patch(path_of(wanted.key), {"immutable": True})
        after = wanted_in(namespace, b"2")
    else:
        entry = make_secret_object("db", "example.com/own", password="p")
        after = secret_object(class_in(namespace, entry), {"p": b"2"}, replica_set())
    assert cluster.apply(after)
    found = read(kube_api, wanted.key)
    assert found is not None
    assert before is not None
    assert found["metadata"]["uid"] != before["metadata"]["uid"]
    assert value(kube_api, wanted.key) == b"2"


def test_an_immutable_secret_that_is_right_is_left_alone(
    kube_api: KubeApi, namespace: str, syncing: None
) -> None:
    wanted = wanted_in(namespace)
    with adapter(kube_api) as cluster:
        cluster.apply(wanted)
    kube_api.client().patch(path_of(wanted.key), {"immutable": True})
    with adapter(kube_api) as cluster:
        assert cluster.apply(wanted) is False


def test_a_secret_that_was_deleted_is_made_again(kube_api: KubeApi, namespace: str, syncing: None) -> None:
    wanted = wanted_in(namespace)
    with adapter(kube_api) as cluster:
        cluster.apply(wanted)
    kube_api.client().delete(path_of(wanted.key))
    with adapter(kube_api) as cluster:
        assert cluster.apply(wanted) is True


def test_without_the_right_to_write_secrets_it_says_so_and_does_not_ask_again_and_again(
    kube_api: KubeApi, namespace: str
) -> None:
    with adapter(kube_api) as cluster:
        for _ in range(5):
            with pytest.raises(ClusterUnavailableError, match="secretprovidersyncing-role"):
                cluster.apply(wanted_in(namespace))
        assert cluster.apply(
            status_object(make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace)))
        )
    assert verbs(kube_api, namespace) == ["get"]


def test_a_secret_that_the_api_refuses_is_an_error_without_its_content(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    wanted = wanted_in(namespace, b"canary-canary")
    manifest: Any = dict(wanted.manifest)
    manifest["data"] = {"not a key": "Y2FuYXJ5LWNhbmFyeQ=="}
    with pytest.raises(SecretDataError, match="Invalid") as caught:
        cluster.apply(dataclasses.replace(wanted, manifest=manifest))
    assert "canary" not in str(caught.value)
    assert "Y2FuYXJ5" not in str(caught.value)


def test_a_secret_without_any_owner_is_not_made(namespace: str, cluster: KubernetesCluster) -> None:
    with pytest.raises(ClusterUnavailableError, match="no pod that uses it"):
        cluster.apply(secret_object(class_in(namespace), {"p": b"1"}))


def test_owners_are_the_pods_own_reduced_to_four_fields(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    owner = replica_set()
    uid = make_pod(kube_api, namespace, owners=({**owner, "controller": True},))  # type: ignore[dict-item]
    volume = make_volume(pod_namespace=namespace, pod_uid=uid)
    status = status_object(volume).key
    assert cluster.owned_by_status(volume, timeout_seconds=5.0) is False
    assert list(cluster.owners(volume, status)) == [owner]
    gone = make_volume(pod_namespace=namespace, pod_uid="another")
    assert list(cluster.owners(gone, status)) == []


def test_a_pod_without_owners_has_its_status_object_for_one(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    volume = make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace))
    wanted = status_object(volume)
    assert cluster.owned_by_status(volume, timeout_seconds=5.0) is True
    with pytest.raises(ClusterUnavailableError, match="not there yet"):
        cluster.owners(volume, wanted.key)
    cluster.apply(wanted)
    (owner,) = cluster.owners(volume, wanted.key)
    found = read(kube_api, wanted.key)
    assert found is not None
    assert owner["uid"] == found["metadata"]["uid"]
