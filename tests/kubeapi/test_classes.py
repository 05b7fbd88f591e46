"""Classes on a real API server: asked for by name, followed while in use, the last good one while it is away."""

from collections.abc import Iterator

import pytest

from sidecars.statussync.kube.cluster import KubernetesCluster
from sscsi.errors import ClassInvalidError, ClassNotFoundError, ClusterUnavailableError
from sscsi.ports import ClassName
from tests.kubeapi.adapter import USER, adapter, put_class, remove_class
from tests.kubeapi.audit import Request
from tests.kubeapi.kube_api import KubeApi
from tests.support.waiting import wait_until

SPEC = {"provider": "one", "parameters": {"a": "b"}}


@pytest.fixture
def cluster(kube_api: KubeApi) -> Iterator[KubernetesCluster]:
    with adapter(kube_api) as made:
        yield made


def requests(kube_api: KubeApi, namespace: str) -> list[Request]:
    return [request for request in kube_api.requests(user=USER) if request.namespace == namespace]


def provider(cluster: KubernetesCluster, name: ClassName) -> str:
    return cluster.get_class(*name, timeout_seconds=5.0).provider


def follow(cluster: KubernetesCluster, *names: ClassName) -> None:
    """As the room does every other second, until changes are heard of."""
    wait_until(lambda: all(cluster.class_revisions(set(names)).values()), "the classes are known")


def test_a_missing_class_has_the_words_that_kubelet_has_from_upstream(
    namespace: str, cluster: KubernetesCluster
) -> None:
    with pytest.raises(ClassNotFoundError) as caught:
        cluster.get_class(namespace, "app", timeout_seconds=5.0)
    assert str(caught.value) == 'SecretProviderClass.secrets-store.csi.x-k8s.io "app" not found'


def test_a_class_that_is_made_is_found_at_once(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    with pytest.raises(ClassNotFoundError):
        provider(cluster, (namespace, "app"))
    put_class(kube_api, namespace, "app", SPEC)
    assert provider(cluster, (namespace, "app")) == "one"


def test_a_class_of_another_namespace_is_not_found(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    with kube_api.namespace() as other:
        put_class(kube_api, other, "app", SPEC)
        with pytest.raises(ClassNotFoundError):
            provider(cluster, (namespace, "app"))


def test_a_class_in_use_costs_a_list_and_a_watch_and_nothing_more(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    put_class(kube_api, namespace, "app", SPEC)
    put_class(kube_api, namespace, "nobodys", SPEC)
    name = (namespace, "app")
    provider(cluster, name)
    follow(cluster, name)
    wait_until(lambda: len(requests(kube_api, namespace)) >= 2, "it is watched")
    for _ in range(50):
        assert provider(cluster, name) == "one"
        cluster.class_revisions({name})
    found = requests(kube_api, namespace)
    assert [request.verb for request in found] == ["list", "watch"]
    assert all("fieldSelector=metadata.name%3Dapp" in request.uri for request in found)


def test_a_change_is_heard_of_and_so_is_the_end(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    name = (namespace, "app")
    put_class(kube_api, namespace, "app", SPEC)
    provider(cluster, name)
    follow(cluster, name)
    first = cluster.class_revisions({name})[name]
    put_class(kube_api, namespace, "app", {**SPEC, "provider": "two"})
    wait_until(lambda: cluster.class_revisions({name})[name] != first, "the change is heard of")
    assert provider(cluster, name) == "two"
    remove_class(kube_api, namespace, "app")
    wait_until(lambda: cluster.class_revisions({name})[name] is None, "the end is heard of")
    with pytest.raises(ClassNotFoundError):
        provider(cluster, name)


def test_a_class_that_no_volume_uses_is_watched_no_longer(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    name = (namespace, "app")
    put_class(kube_api, namespace, "app", SPEC)
    follow(cluster, name)
    assert cluster.class_revisions(set()) == {}
    put_class(kube_api, namespace, "app", {**SPEC, "provider": "two"})
    assert provider(cluster, name) == "two"


def test_while_the_api_server_is_away_the_last_good_class_serves(kube_api: KubeApi, namespace: str) -> None:
    put_class(kube_api, namespace, "app", SPEC)
    put_class(kube_api, namespace, "late", SPEC)
    with adapter(kube_api) as cluster:
        follow(cluster, (namespace, "app"))
        with kube_api.stopped():
            assert provider(cluster, (namespace, "app")) == "one"
            with pytest.raises(ClusterUnavailableError, match="no answer"):
                provider(cluster, (namespace, "late"))
        put_class(kube_api, namespace, "app", {**SPEC, "provider": "two"})
        wait_until(
            lambda: provider(cluster, (namespace, "app")) == "two", "changes are heard of again", seconds=60.0
        )


def test_an_api_server_that_hangs_costs_no_more_than_the_time_there_is(
    kube_api: KubeApi, namespace: str
) -> None:
    with adapter(kube_api) as cluster, kube_api.paused(), pytest.raises(ClusterUnavailableError):
        cluster.get_class(namespace, "app", timeout_seconds=0.5)


def test_a_class_whose_fields_have_the_wrong_type_cannot_be_made_or_is_told(
    kube_api: KubeApi, namespace: str, cluster: KubernetesCluster
) -> None:
    """The definition's schema refuses it; one without a schema would let it through to us."""
    put_class(kube_api, namespace, "app", {"provider": "", "parameters": {}})
    try:
        found = cluster.get_class(namespace, "app", timeout_seconds=5.0)
    except ClassInvalidError:
        pytest.fail("empty fields are for the node room to refuse, with upstream's words")
    assert (found.provider, dict(found.parameters)) == ("", {})


def test_without_the_right_to_read_classes_the_role_is_named(kube_api: KubeApi, namespace: str) -> None:
    from sidecars.statussync.kube.connection import loader  # noqa: PLC0415

    client = kube_api.client()
    client.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "nobody"}})
    nobody = KubernetesCluster(
        loader(kube_api.kubeconfig_for("nobody", namespace)),
        node_id="n",
        requests_per_second=100.0,
        burst=10,
        watch_seconds=600.0,
        pod_annotations=False,
    )
    with pytest.raises(ClusterUnavailableError, match="see the role secretproviderclasses-role"):
        nobody.get_class(namespace, "app", timeout_seconds=5.0)
    nobody.stop()
