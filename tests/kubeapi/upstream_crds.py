"""Upstream's CRDs, made of ours by taking our additions out: what a cluster has that only the driver was replaced in."""

import contextlib
import json
from collections.abc import Iterator

from tests.kubeapi import manifests
from tests.kubeapi.kube_api import DRIVER_NAMESPACE, GROUP, KubeApi
from tests.kubeapi.rest import Object, Rest
from tests.support.waiting import wait_until


@contextlib.contextmanager
def upstream_crds(kube_api: KubeApi) -> Iterator[None]:
    """The API server has upstream's CRDs in here, and ours afterwards. Objects stay, without what is not in the CRDs."""
    for crd in manifests.documents(manifests.CRDS):
        manifests.apply(kube_api.client(), upstream_shape(crd))
    try:
        wait_until(lambda: not any(_kept(kube_api.client())), "what we add is pruned")
        yield
    finally:
        kube_api.apply(manifests.CRDS)
        wait_until(lambda: all(_kept(kube_api.client())), "what we add is kept again")


def upstream_shape(crd: Object) -> Object:
    """The CRD without the fields and columns that upstream's has not."""
    # Both versions may share a part, as YAML's anchors have it; in JSON each has its own.
    shape: Object = json.loads(json.dumps(crd))
    for version in shape["spec"]["versions"]:
        del version["additionalPrinterColumns"]
        properties = version["schema"]["openAPIV3Schema"]["properties"]
        if crd["spec"]["names"]["kind"] == "SecretProviderClass":
            secret_object = properties["spec"]["properties"]["secretObjects"]["items"]
            del secret_object["properties"]["data"]["items"]["properties"]["jsonKey"]
        else:
            del properties["status"]["properties"]["conditions"]
            del properties["status"]["properties"]["lastChangeTime"]
    return shape


def _kept(client: Rest) -> tuple[bool, bool]:
    """Whether a class and a status object keep what we add. A changed CRD counts a moment after it was written."""
    secret_object = {"data": [{"jsonKey": "probe"}]}
    made_class = _dry_run(client, "secretproviderclasses", {"spec": {"secretObjects": [secret_object]}})
    (data,) = made_class["spec"]["secretObjects"][0]["data"]
    status = {"conditions": [{"type": "Ready"}]}
    made_status = _dry_run(client, "secretproviderclasspodstatuses", {"status": status})
    return "jsonKey" in data, "conditions" in made_status["status"]


def _dry_run(client: Rest, plural: str, content: Object) -> Object:
    """What the API server would make of it."""
    kind = {
        "secretproviderclasses": "SecretProviderClass",
        "secretproviderclasspodstatuses": "SecretProviderClassPodStatus",
    }[plural]
    path = f"/apis/{GROUP}/v1/namespaces/{DRIVER_NAMESPACE}/{plural}?dryRun=All"
    return client.create(
        path, {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"generateName": "probe-"}, **content}
    )
