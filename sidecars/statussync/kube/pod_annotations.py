"""The annotation by which somebody asks for a refresh, of this node's pods.

One watch by node, as kubelet's own: the API server keeps an index of pods by node, so that it costs it what changes here and
nothing else. Only metadata comes, of which a uid and one value are kept. It begins with the node's first volume and ends
with the last.
"""

import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from sidecars.statussync.kube.api import KubeApi, Object
from sidecars.statussync.kube.watched import Name, Terms, Watched, metadata_of
from sscsi.core.annotations import REFRESH_AT
from sscsi.core.refresh_ask import ask_value
from sscsi.errors import ClusterUnavailableError
from sscsi.ports import PodName

_FORBIDDEN_SECONDS = 300.0
_NO_RIGHT = (
    "the service account may not list and watch pods: see the role secretproviderclasses-role (kubectl apply -f deploy/rbac.yaml; with the chart: rbac.install=true); without it "
    f"the annotation {REFRESH_AT} of pods has no effect (--pod-annotations=false: nobody asks)"
)

_Kept = tuple[str, str]
"""A pod's uid, and what it asks for."""


class KubePodAnnotations:
    """What the pods of the node `node_name` ask for. Threads may share it."""

    def __init__(self, api: KubeApi, node_name: str, *, watch_seconds: float) -> None:
        self._api = api
        self._node_name = node_name
        self._watch_seconds = watch_seconds
        self._lock = threading.Lock()
        self._watched: Watched[_Kept] | None = None
        self._is_closed = False

    def asks(self, in_use: AbstractSet[PodName]) -> Mapping[PodName, str]:
        """As `Cluster.pod_asks`. Raises ClusterUnavailableError when the right is missing."""
        watched = self._follow(is_wanted=bool(in_use))
        if watched is None:
            return {}
        if watched.is_forbidden:
            raise ClusterUnavailableError(f"{watched.problem}; {_NO_RIGHT}")
        found = {}
        for namespace, name, uid in in_use:
            known_uid, value = watched.get((namespace, name)) or ("", "")
            if value and known_uid == uid:
                found[namespace, name, uid] = value
        return found

    def close(self) -> None:
        """End the watch, for good."""
        with self._lock:
            self._is_closed = True
        self._follow(is_wanted=False)

    def _follow(self, *, is_wanted: bool) -> Watched[_Kept] | None:
        """The watch, begun or ended as wanted."""
        with self._lock:
            left = None
            if not is_wanted or self._is_closed:
                left, self._watched = self._watched, None
            elif self._watched is None:
                self._watched = self._begin()
            watched = self._watched
        if left is not None:
            left.close()
        return watched

    def _begin(self) -> Watched[_Kept]:
        watched = Watched(
            self._api,
            "/api/v1/pods",
            {"fieldSelector": f"spec.nodeName={self._node_name}"},
            keep=_keep,
            on_change=_ignore,
            watch_seconds=self._watch_seconds,
            terms=Terms(metadata_only=True, from_cache=True, forbidden_seconds=_FORBIDDEN_SECONDS),
        )
        threading.Thread(target=watched.run, name="pod-watch", daemon=True).start()
        return watched


def _keep(pod: Object) -> _Kept:
    metadata = metadata_of(pod)
    annotations = metadata.get("annotations") or {}
    return str(metadata.get("uid", "")), ask_value(annotations.get(REFRESH_AT))


def _ignore(_name: Name) -> None:
    """Whoever wants to know asks."""
