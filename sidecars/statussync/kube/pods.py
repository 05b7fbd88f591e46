"""Pods, asked for by name."""

from urllib.parse import quote

from sidecars.statussync.kube.api import KubeApi, Object
from sidecars.statussync.kube.api_errors import ApiError
from sidecars.statussync.kube.watched import metadata_of


def read_pod(api: KubeApi, namespace: str, name: str, uid: str, *, timeout_seconds: float) -> Object | None:
    """The pod's metadata; None when the API does not have that very pod. Raises ApiError, ClusterUnavailableError."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"
    try:
        metadata = metadata_of(api.call("GET", path, timeout_seconds=timeout_seconds))
    except ApiError as error:
        if error.is_not_found:
            return None
        raise
    return metadata if metadata.get("uid") == uid else None
