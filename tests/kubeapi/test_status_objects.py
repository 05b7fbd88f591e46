"""Status objects on a real API server: one write when something changed, none otherwise, and nobody else's touched."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sidecars.statussync.kube.cluster import KubernetesCluster
from sscsi.core.pod_status import NODE_LABEL
from sscsi.core.status_conditions import synced
from sscsi.errors import ObjectNotOursError
from sscsi.ports import ObjectKey
from tests.kubeapi.adapter import NODE, USER, adapter, make_pod, path_of, read, status_object
from tests.kubeapi.kube_api import KubeApi
from tests.kubeapi.upstream_crds import upstream_crds
from tests.statussync.making import make_volume
from tests.support.waiting import wait_until


@pytest.fixture
def cluster(kube_api: KubeApi) -> Iterator[KubernetesCluster]:
    with adapter(kube_api) as made:
        yield made


def writes(kube_api: KubeApi, namespace: str) -> list[str]:
    """The verbs of the driver's writes to the namespace."""
    return [
        request.verb
        for request in kube_api.requests(user=USER)
        if request.namespace == namespace and request.verb not in {"get", "list", "watch"}
    ]


def test_a_status_object_has_upstream_crds_and_our_conditions(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    uid = make_pod(kube_api, namespace)
    volume = make_volume(pod_namespace=namespace, pod_uid=uid)
    wanted = status_object(volume)
    assert cluster.apply(wanted)
    found = read(kube_api, wanted.key)
    assert found is not None
    assert found["metadata"]["labels"] == {NODE_LABEL: NODE}
    assert found["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid}
    ]
    assert found["status"]["mounted"] is True
    assert found["status"]["targetPath"] == volume.target_path
    assert [entry["type"] for entry in found["status"]["conditions"]] == ["Ready", "Refreshed"]
    assert found["status"]["lastChangeTime"]


def test_a_publish_is_one_write_a_republish_none_and_an_unpublish_one(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    volume = make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace))
    wanted = status_object(volume)
    assert [cluster.apply(wanted), cluster.apply(wanted)] == [True, False]
    assert writes(kube_api, namespace) == ["create"]
    assert cluster.apply(
        status_object(make_volume(pod_namespace=namespace, pod_uid=volume.pod_uid, last_error="no"))
    )
    assert writes(kube_api, namespace) == ["create", "patch"]
    assert [cluster.delete(wanted.key), cluster.delete(wanted.key)] == [True, False]
    assert writes(kube_api, namespace) == ["create", "patch", "delete"]
    assert read(kube_api, wanted.key) is None


def test_an_object_that_somebody_edits_is_told_of_and_put_right(kube_api: KubeApi, namespace: str) -> None:
    changed: list[ObjectKey] = []
    with adapter(kube_api, on_change=changed.append) as cluster:
        wanted = status_object(make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace)))
        cluster.apply(wanted)
        kube_api.client().patch(path_of(wanted.key), {"status": {"targetPath": "/etc", "mounted": False}})
        wait_until(lambda: wanted.key not in cluster.list_own(wanted.key.kind), "the edit is heard of")
        assert wanted.key in changed
        assert cluster.apply(wanted)
        found = read(kube_api, wanted.key)
        assert found is not None
        assert found["status"]["targetPath"] == wanted.manifest["status"]["targetPath"]  # type: ignore[index]
        assert found["status"]["mounted"] is True


def test_an_object_whose_labels_somebody_took_away_is_taken_over_again(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    wanted = status_object(make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace)))
    cluster.apply(wanted)
    kube_api.client().patch(path_of(wanted.key), {"metadata": {"labels": None}})
    wait_until(lambda: wanted.key not in cluster.list_own(wanted.key.kind), "it is no longer this node's")
    assert cluster.apply(wanted)
    found = read(kube_api, wanted.key)
    assert found is not None
    assert found["metadata"]["labels"] == {NODE_LABEL: NODE}


def test_upstreams_object_is_taken_over_with_its_other_labels(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    uid = make_pod(kube_api, namespace)
    wanted = status_object(make_volume(pod_namespace=namespace, pod_uid=uid))
    old = {
        "apiVersion": wanted.manifest["apiVersion"],
        "kind": wanted.key.kind,
        "metadata": {
            "name": wanted.key.name,
            "labels": {NODE_LABEL: NODE, "theirs": "kept"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid}],
        },
        "status": {"podName": "web", "mounted": True, "targetPath": "/old", "objects": []},
    }
    kube_api.client().create(path_of(wanted.key).rpartition("/")[0], old)
    assert cluster.apply(wanted)
    found = read(kube_api, wanted.key)
    assert found is not None
    assert found["metadata"]["labels"]["theirs"] == "kept"
    assert found["status"]["objects"] == [{"id": "password", "version": "v1"}]


def test_a_pods_next_incarnation_on_another_node_takes_the_object_along(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    uid = make_pod(kube_api, namespace)
    old = status_object(make_volume(pod_namespace=namespace, pod_uid="old-uid"))
    cluster.apply(old)
    with adapter(kube_api, node="node-2") as other:
        new = status_object(make_volume(pod_namespace=namespace, pod_uid=uid), node="node-2")
        assert new.key == old.key
        assert other.apply(new)
        wait_until(lambda: old.key not in cluster.list_own(old.key.kind), "the first node lets go")
        assert cluster.delete(old.key) is False
        assert cluster.apply(old) is False
    found = read(kube_api, new.key)
    assert found is not None
    assert found["metadata"]["labels"] == {NODE_LABEL: "node-2"}


def test_an_object_of_another_pod_whose_name_reads_the_same_is_left_alone(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    with adapter(kube_api, node="node-2") as other:
        theirs = make_volume(
            pod_namespace=namespace, pod_name="web", class_name=f"x-{namespace}-app", pod_uid="u2"
        )
        other.apply(status_object(theirs, node="node-2"))
        ours = make_volume(
            pod_namespace=namespace, pod_name=f"web-{namespace}-x", class_name="app", pod_uid="u1"
        )
        wanted = status_object(ours)
        assert wanted.key == status_object(theirs).key
        with pytest.raises(ObjectNotOursError, match="of pod web on another node"):
            cluster.apply(wanted)


@pytest.mark.parametrize(
    "edit",
    [
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "other"}]}},
        {"metadata": {"ownerReferences": None}},
        {"status": {"targetPath": "/var/lib/kubelet/pods/other/volumes/kubernetes.io~csi/app/mount"}},
        {"status": {"targetPath": "/etc"}},
    ],
)
def test_an_object_that_is_not_as_it_was_written_is_not_removed(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster, edit: dict[str, Any]
) -> None:
    wanted = status_object(make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace)))
    cluster.apply(wanted)
    kube_api.client().patch(path_of(wanted.key), edit)
    wait_until(lambda: wanted.key not in cluster.list_own(wanted.key.kind), "the edit is heard of")
    assert cluster.delete(wanted.key) is False
    assert read(kube_api, wanted.key) is not None


def test_with_upstreams_definition_conditions_are_lost_and_nothing_is_written_twice(
    kube_api: KubeApi, namespace: str
) -> None:
    with upstream_crds(kube_api), adapter(kube_api) as cluster:
        wanted = status_object(make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace)))
        assert [cluster.apply(wanted) for _ in range(3)] == [True, False, False]
        found = read(kube_api, wanted.key)
        assert found is not None
        assert "conditions" not in found["status"]


def test_a_condition_is_written_on_transition_and_keeps_its_time(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    volume = make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace))
    cluster.apply(status_object(volume, synced=synced(["no rights"])))
    assert cluster.apply(status_object(volume, synced=synced(["in other words"]))) is False
    assert cluster.apply(status_object(volume, synced=synced([]))) is True


def test_a_node_name_over_the_limit_of_labels_is_derived(kube_api: KubeApi, namespace: str) -> None:
    node = "n" * 200 + ".example.com"
    with adapter(kube_api, node=node) as cluster:
        wanted = status_object(
            make_volume(pod_namespace=namespace, pod_uid=make_pod(kube_api, namespace)), node=node
        )
        assert [cluster.apply(wanted), cluster.apply(wanted)] == [True, False]
        wait_until(lambda: cluster.list_own(wanted.key.kind) == {wanted.key}, "it is found by its label")


def test_the_return_of_the_api_server_is_told(kube_api: KubeApi) -> None:
    returned = threading.Event()
    with adapter(kube_api, on_return=returned.set) as cluster:
        cluster.list_own("SecretProviderClassPodStatus")
        with kube_api.stopped():
            assert not returned.is_set()
        assert returned.wait(60.0)
