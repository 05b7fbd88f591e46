"""The Cluster port, put together from its parts."""

import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from sidecars.statussync.kube.api import KubeApi
from sidecars.statussync.kube.classes import KubeClasses
from sidecars.statussync.kube.connection import LoadAccess
from sidecars.statussync.kube.events import KubeEvents
from sidecars.statussync.kube.installation import KubeInstallation
from sidecars.statussync.kube.owners import KubeOwners
from sidecars.statussync.kube.pod_annotations import KubePodAnnotations
from sidecars.statussync.kube.rate_limit import RateLimit
from sidecars.statussync.kube.secrets import KubeSecrets
from sidecars.statussync.kube.status_objects import KubeStatusObjects
from sidecars.statussync.metrics import SyncMetrics
from sscsi.core import pod_status
from sscsi.core.finding import Word
from sscsi.core.kubernetes_names import label_value
from sscsi.core.pod_event import PodEvent
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.published_volume import PublishedVolume
from sscsi.ports import ClassName, ClusterObject, ObjectKey, PodName


class KubernetesCluster:
    """The Kubernetes API as status-sync of one node uses it.

    `watch_seconds` is how long a watch lasts at least, before it is asked for anew; with `pod_annotations` the node's pods
    are watched for these; `clock`, monotonic and in seconds, says how old an answer is. Raises ConfigError for credentials that can't be read.
    """

    def __init__(
        self,
        load: LoadAccess,
        *,
        node_id: str,
        requests_per_second: float,
        burst: int,
        watch_seconds: float,
        pod_annotations: bool,
        metrics: SyncMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = KubeApi(load, RateLimit(per_second=requests_per_second, burst=burst), metrics)
        self._classes = KubeClasses(self._api, watch_seconds=watch_seconds, clock=clock)
        self._status_objects = KubeStatusObjects(self._api, label_value(node_id), watch_seconds=watch_seconds)
        self._owners = KubeOwners(self._api, self._status_objects)
        self._secrets = KubeSecrets(self._api, clock=clock)
        self._events = KubeEvents(self._api, node_id, metrics=metrics)
        self._installation = KubeInstallation(self._api, pod_annotations=pod_annotations)
        self._pod_annotations = (
            KubePodAnnotations(self._api, node_id, watch_seconds=watch_seconds) if pod_annotations else None
        )

    def start(self, on_change: Callable[[ObjectKey], None], on_return: Callable[[], None]) -> None:
        self._status_objects.start(on_change, on_return)
        self._events.start()

    def stop(self) -> None:
        self._classes.close()
        self._status_objects.close()
        self._events.close()
        if self._pod_annotations:
            self._pod_annotations.close()
        self._api.close()

    def close(self) -> None:
        """Nothing is held but connections, which `stop` closed."""

    def check_installation(self, driver_name: str) -> Sequence[tuple[str, Word]]:
        return self._installation.look(driver_name)

    def get_class(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        return self._classes.get(namespace, name, timeout_seconds=timeout_seconds)

    def class_revisions(self, in_use: AbstractSet[ClassName]) -> Mapping[ClassName, object]:
        return self._classes.revisions(in_use)

    def pod_asks(self, in_use: AbstractSet[PodName]) -> Mapping[PodName, str]:
        return self._pod_annotations.asks(in_use) if self._pod_annotations else {}

    def owned_by_status(self, volume: PublishedVolume, *, timeout_seconds: float) -> bool:
        return self._owners.owned_by_status(volume, timeout_seconds=timeout_seconds)

    def owners(self, volume: PublishedVolume, status: ObjectKey, /) -> Sequence[Mapping[str, str]]:
        return self._owners.owners(volume, status)

    def apply(self, wanted: ClusterObject) -> bool:
        if wanted.key.kind == pod_status.KIND:
            return self._status_objects.apply(wanted)
        return self._secrets.apply(wanted)

    def delete(self, key: ObjectKey) -> bool:
        # A Secret goes with its owners: another node may want it, which nobody can tell from here.
        return key.kind == pod_status.KIND and self._status_objects.delete(key)

    def list_own(self, kind: str) -> set[ObjectKey]:
        return self._status_objects.list_own() if kind == pod_status.KIND else set()

    def tell(self, event: PodEvent) -> None:
        self._events.tell(event)
