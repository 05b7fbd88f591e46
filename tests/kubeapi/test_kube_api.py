"""What the tests build on: that the API server does what it is asked, and tells what it was asked."""

import time

import pytest
import urllib3

from tests.kubeapi.kube_api import SERVICE_ACCOUNT, KubeApi, user_name
from tests.kubeapi.rest import RestError


def secret(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "stringData": {"key": "value"}}


def test_an_object_is_made_read_changed_listed_and_deleted(kube_api: KubeApi, namespace: str) -> None:
    client = kube_api.client()
    path = f"/api/v1/namespaces/{namespace}/secrets"
    made = client.create(path, secret("one"))
    patched = client.patch(f"{path}/one", {"metadata": {"labels": {"a": "b"}}})
    assert patched["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    replaced = client.replace(f"{path}/one", secret("one"))
    assert "labels" not in replaced["metadata"]
    assert [item["metadata"]["name"] for item in client.list(path)] == ["one"]
    client.delete(f"{path}/one")
    with pytest.raises(RestError) as refused:
        client.get(f"{path}/one")
    assert refused.value.code == 404


def test_a_pod_is_made_without_any_controller_and_goes_with_the_test(kube_api: KubeApi) -> None:
    pod = {
        "metadata": {"name": "one"},
        "spec": {"nodeName": "node", "containers": [{"name": "c", "image": "i"}]},
    }
    with kube_api.namespace() as name:
        kube_api.client().create(f"/api/v1/namespaces/{name}/pods", pod)
    assert kube_api.client().list(f"/api/v1/namespaces/{name}/pods") == []


def test_requests_are_counted_by_user_verb_and_resource(kube_api: KubeApi, namespace: str) -> None:
    client = kube_api.client(kube_api.token(SERVICE_ACCOUNT))
    since = time.time()
    client.get(f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{namespace}/secretproviderclasses")
    with pytest.raises(RestError):
        client.create(f"/api/v1/namespaces/{namespace}/secrets", secret("one"))
    kube_api.client().list(f"/api/v1/namespaces/{namespace}/pods")
    requests = kube_api.requests(since, user=user_name(SERVICE_ACCOUNT))
    assert [(request.verb, request.resource, request.namespace) for request in requests] == [
        ("list", "secretproviderclasses", namespace),
        ("create", "secrets", namespace),
    ]


def test_a_stopped_api_server_comes_back_with_its_objects_and_tokens(
    kube_api: KubeApi, namespace: str
) -> None:
    client = kube_api.client(kube_api.token(SERVICE_ACCOUNT))
    path = f"/api/v1/namespaces/{namespace}/pods/none"
    with kube_api.stopped(), pytest.raises(urllib3.exceptions.HTTPError):
        client.get(path)
    with pytest.raises(RestError) as refused:
        client.get(path)
    assert refused.value.code == 404
    kube_api.client().get(f"/api/v1/namespaces/{namespace}")


def test_a_paused_api_server_does_not_answer_until_it_goes_on(kube_api: KubeApi) -> None:
    with (
        urllib3.PoolManager(ca_certs=kube_api.ca_file, retries=False, timeout=0.3) as pool,
        kube_api.paused(),
        pytest.raises(urllib3.exceptions.TimeoutError),
    ):
        pool.request("GET", f"{kube_api.url}/livez")
    kube_api.client().get("/api/v1/namespaces/kube-system")
