"""The adapter as status-sync of one node has it, on the test run's API server, with the rights that deploy/ grants."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from sidecars.statussync.kube.cluster import KubernetesCluster
from sidecars.statussync.kube.connection import loader
from sscsi.core.annotations import REFRESH_AT
from sscsi.core.pod_status import KIND as STATUS_KIND
from sscsi.core.pod_status import build_status
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.secret_data import build_secret
from sscsi.core.status_conditions import Condition
from sscsi.ports import ClusterObject, ObjectKey
from tests.kubeapi.kube_api import GROUP, SERVICE_ACCOUNT, KubeApi, user_name
from tests.kubeapi.rest import RestError
from tests.statussync.making import RULES

NODE = "node-1"
USER = user_name(SERVICE_ACCOUNT)

Owner = dict[str, str]


@contextlib.contextmanager
def adapter(
    kube_api: KubeApi,
    *,
    node: str = NODE,
    watch_seconds: float = 600.0,
    requests_per_second: float = 1000.0,
    on_change: Callable[[ObjectKey], None] = lambda _key: None,
    on_return: Callable[[], None] = lambda: None,
    pod_annotations: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[KubernetesCluster]:
    """A started adapter with a token of the driver's service account."""
    cluster = KubernetesCluster(
        loader(kube_api.kubeconfig_for(SERVICE_ACCOUNT)),
        node_id=node,
        requests_per_second=requests_per_second,
        burst=100,
        watch_seconds=watch_seconds,
        pod_annotations=pod_annotations,
        clock=clock,
    )
    cluster.start(on_change, on_return)
    try:
        yield cluster
    finally:
        cluster.stop()


def make_pod(
    kube_api: KubeApi, namespace: str, name: str = "web", *, owners: tuple[Owner, ...] = (), node: str = NODE
) -> str:
    """A pod that nobody starts; its uid."""
    pod = {
        "metadata": {"name": name, "ownerReferences": list(owners)},
        "spec": {"containers": [{"name": "main", "image": "none"}], "nodeName": node},
    }
    uid: str = kube_api.client().create(f"/api/v1/namespaces/{namespace}/pods", pod)["metadata"]["uid"]
    return uid


def annotate_pod(kube_api: KubeApi, namespace: str, name: str, value: str | None) -> None:
    """Write the annotation that asks for a refresh; None takes it away."""
    patch = {"metadata": {"annotations": {REFRESH_AT: value}}}
    kube_api.client().patch(f"/api/v1/namespaces/{namespace}/pods/{name}", patch)


def replica_set(name: str = "web-1", uid: str = "11111111-1111-1111-1111-111111111111") -> Owner:
    """An owner of a pod, who need not exist: there is no garbage collector."""
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid}


def put_class(
    kube_api: KubeApi, namespace: str, name: str, spec: object, *, annotations: dict[str, str] | None = None
) -> None:
    """Make the class, or make it another."""
    path = f"/apis/{GROUP}/v1/namespaces/{namespace}/secretproviderclasses"
    existing = {item["metadata"]["name"]: item for item in kube_api.client().list(path)}
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "annotations": annotations or {}}
    document = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "SecretProviderClass",
        "metadata": metadata,
        "spec": spec,
    }
    if name in existing:
        metadata["resourceVersion"] = existing[name]["metadata"]["resourceVersion"]
        kube_api.client().replace(f"{path}/{name}", document)
    else:
        kube_api.client().create(path, document)


def remove_class(kube_api: KubeApi, namespace: str, name: str) -> None:
    kube_api.client().delete(f"/apis/{GROUP}/v1/namespaces/{namespace}/secretproviderclasses/{name}")


def path_of(key: ObjectKey) -> str:
    """Where the API has the object."""
    if key.kind == STATUS_KIND:
        return f"/apis/{GROUP}/v1/namespaces/{key.namespace}/secretproviderclasspodstatuses/{key.name}"
    return f"/api/v1/namespaces/{key.namespace}/secrets/{key.name}"


def read(kube_api: KubeApi, key: ObjectKey) -> dict[str, Any] | None:
    """The object as the API has it; None when there is none."""
    try:
        return kube_api.client().get(path_of(key))
    except RestError as error:
        if error.code != 404:
            raise
        return None


def status_object(
    *volumes: PublishedVolume, node: str = NODE, synced: Condition | None = None
) -> ClusterObject:
    """The status object of the volumes, as the reconciler wants it."""
    manifest: Any = build_status(volumes, node_id=node, synced=synced)
    metadata = manifest["metadata"]
    return ClusterObject(
        key=ObjectKey(STATUS_KIND, metadata["namespace"], metadata["name"]), manifest=manifest
    )


def secret_object(spc: SecretProviderClass, files: dict[str, bytes], *owners: Owner) -> ClusterObject:
    """The first Secret of the class, as the reconciler wants it."""
    manifest: Any = build_secret(spc, 0, files, owners, RULES)
    metadata = manifest["metadata"]
    return ClusterObject(key=ObjectKey("Secret", metadata["namespace"], metadata["name"]), manifest=manifest)
