"""Who owns the Secrets of a volume, so that the API's garbage collector removes them in the end (upstream, 6.6).

The owners of the volume's pod, a ReplicaSet for one, so that a Secret outlives the pods of a rollout; of a pod without
owners its status object, which goes with the volume.
"""

import collections
import threading
from collections.abc import Mapping, Sequence

from sidecars.statussync.kube.api import KubeApi, Object
from sidecars.statussync.kube.api_errors import ApiError, unavailable
from sidecars.statussync.kube.pods import read_pod
from sidecars.statussync.kube.status_objects import KubeStatusObjects
from sscsi.core import pod_status
from sscsi.core.published_volume import PublishedVolume
from sscsi.errors import ClusterUnavailableError
from sscsi.ports import ObjectKey

_CALL_SECONDS = 10.0
# It is being written just now, by another thread.
_STATUS_SECONDS = 0.5
_MAX_PODS = 1000
_NO_RIGHT = "the service account may not read pods: see the role secretproviderclasses-role (kubectl apply -f deploy/rbac.yaml; with the chart: rbac.install=true)"

Reference = Mapping[str, str]


class KubeOwners:
    """Owner references by volume. A pod is asked for once: who owns it does not change while it lives."""

    def __init__(self, api: KubeApi, status_objects: KubeStatusObjects) -> None:
        self._api = api
        self._status_objects = status_objects
        self._lock = threading.Lock()
        self._pods: collections.OrderedDict[str, tuple[Reference, ...]] = collections.OrderedDict()

    def owned_by_status(self, volume: PublishedVolume, *, timeout_seconds: float) -> bool:
        """Whether the pod has no owners. Raises ClusterUnavailableError."""
        return self._of_pod(volume, timeout_seconds) == ()

    def owners(self, volume: PublishedVolume, status: ObjectKey) -> Sequence[Reference]:
        """References with uids that the API told; none for a pod that is gone. Raises ClusterUnavailableError."""
        owners = self._of_pod(volume, _CALL_SECONDS)
        if owners is None:
            return ()
        return owners or (self._status_reference(status),)

    def _status_reference(self, status: ObjectKey) -> Reference:
        uid = self._status_objects.uid(status, timeout_seconds=_STATUS_SECONDS)
        if not uid:
            raise ClusterUnavailableError(f"{status} is not there yet; it is to own the Secret")
        return {
            "apiVersion": pod_status.API_VERSION,
            "kind": status.kind,
            "name": status.name,
            "uid": uid,
        }

    def _of_pod(self, volume: PublishedVolume, timeout_seconds: float) -> tuple[Reference, ...] | None:
        """The pod's owners; None when the API does not have that very pod."""
        with self._lock:
            known = self._pods.get(volume.pod_uid)
        if known is not None:
            return known
        try:
            metadata = read_pod(
                self._api,
                volume.pod_namespace,
                volume.pod_name,
                volume.pod_uid,
                timeout_seconds=timeout_seconds,
            )
        except ApiError as error:
            raise unavailable(error, no_right=_NO_RIGHT) from error
        if metadata is None:
            return None
        found = tuple(_reference(owner) for owner in metadata.get("ownerReferences") or ())
        with self._lock:
            self._pods[volume.pod_uid] = found
            if len(self._pods) > _MAX_PODS:
                self._pods.popitem(last=False)
        return found


def _reference(owner: Object) -> Reference:
    return {field: str(owner.get(field, "")) for field in ("apiVersion", "kind", "name", "uid")}
