"""A cluster in memory, with the rules of the Cluster port: versions grow with writes, others' objects stay."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sscsi.core import pod_status, status_conditions
from sscsi.core.finding import Word
from sscsi.core.pod_event import PodEvent
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.refresh_ask import ask_value
from sscsi.errors import (
    ClassInvalidError,
    ClassNotFoundError,
    ClusterUnavailableError,
    ObjectNotOursError,
)
from sscsi.ports import ClassName, ClusterObject, ObjectKey, PodName


class FakeCluster:
    """`classes` holds classes, or the text of what is wrong with them. `is_away` makes every call fail.

    `status_owns` says that Secrets are owned by status objects; `now` is the time of transitions.
    `pod_annotations` are the values of REFRESH_AT by pod; without `knows_pods` the right to know them is missing.
    `writes` lists the key of every write and removal, in order; `resource_versions` counts them by object; `told` are the
    Events. `findings` are what there is to say of the installation, which was asked for the drivers `checked`, by
    `find`.
    """

    def __init__(self) -> None:
        self.classes: dict[ClassName, SecretProviderClass | str] = {}
        self.objects: dict[ObjectKey, Mapping[str, object]] = {}
        self.foreign: set[ObjectKey] = set()
        self.resource_versions: dict[ObjectKey, int] = {}
        self.writes: list[ObjectKey] = []
        self.told: list[PodEvent] = []
        self.class_calls = 0
        self.findings: list[tuple[str, Word]] = []
        self.checked: list[str] = []
        self.find: Callable[[], Sequence[tuple[str, Word]]] = lambda: self.findings
        self.pod_annotations: dict[PodName, str] = {}
        self.knows_pods = True
        self.is_away = False
        self.status_owns = False
        self.now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def start(self, on_change: Callable[[ObjectKey], None], on_return: Callable[[], None]) -> None:
        self.on_change, self.on_return = on_change, on_return

    def stop(self) -> None:
        self.is_away = True

    def close(self) -> None:
        pass

    def check_installation(self, driver_name: str) -> Sequence[tuple[str, Word]]:
        try:
            found = self.find()
        finally:
            self.checked.append(driver_name)
        self._check()
        return found

    def get_class(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        self._check()
        self.class_calls += 1
        found = self.classes.get((namespace, name))
        if found is None:
            raise ClassNotFoundError(f'SecretProviderClass.secrets-store.csi.x-k8s.io "{name}" not found')
        if isinstance(found, str):
            raise ClassInvalidError(found)
        return found

    def class_revisions(self, in_use: AbstractSet[ClassName]) -> Mapping[ClassName, object]:
        self._check()
        return {name: self.classes.get(name) for name in in_use}

    def pod_asks(self, in_use: AbstractSet[PodName]) -> Mapping[PodName, str]:
        if in_use and not self.knows_pods:
            raise ClusterUnavailableError("pods is forbidden; ask for the right")
        values = {pod: ask_value(self.pod_annotations.get(pod)) for pod in in_use}
        return {pod: value for pod, value in values.items() if value}

    def owners(self, _volume: PublishedVolume, status: ObjectKey, /) -> Sequence[Mapping[str, str]]:
        self._check()
        return (
            {
                "apiVersion": pod_status.API_VERSION,
                "kind": status.kind,
                "name": status.name,
                "uid": f"uid-{status.name}",
            },
        )

    def owned_by_status(self, _volume: PublishedVolume, *, timeout_seconds: float) -> bool:
        self._check()
        return self.status_owns

    def apply(self, wanted: ClusterObject) -> bool:
        self._check()
        if wanted.key in self.foreign:
            raise ObjectNotOursError(f"{wanted.key} is somebody else's")
        present = self.objects.get(wanted.key)
        manifest = dict(wanted.manifest)
        if wanted.key.kind == pod_status.KIND:
            before: Any = present.get("status") if present else None
            manifest = status_conditions.with_history(
                manifest, before, kept=wanted.kept_conditions, now=self.now
            )
        if present == manifest:
            return False
        self.objects[wanted.key] = manifest
        self._written(wanted.key)
        return True

    def delete(self, key: ObjectKey) -> bool:
        self._check()
        if key in self.foreign or key not in self.objects:
            return False
        del self.objects[key]
        self._written(key)
        return True

    def list_own(self, kind: str) -> set[ObjectKey]:
        self._check()
        return {key for key in self.objects if key.kind == kind and key not in self.foreign}

    def tell(self, event: PodEvent) -> None:
        self.told.append(event)

    def add_foreign(self, key: ObjectKey) -> None:
        """An object that somebody else made."""
        self.objects[key] = {"metadata": {"name": key.name, "namespace": key.namespace}}
        self.foreign.add(key)

    def _written(self, key: ObjectKey) -> None:
        self.writes.append(key)
        self.resource_versions[key] = self.resource_versions.get(key, 0) + 1

    def _check(self) -> None:
        if self.is_away:
            raise ClusterUnavailableError("the cluster is away")
