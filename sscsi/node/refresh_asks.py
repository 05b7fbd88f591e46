"""What annotations ask for: of a class or a pod, a value that is honoured once content was fetched under it.

Status-sync tells all of them, again whenever one changes and after each start of either room; a volume's record
tells which value its content honours. So nothing is lost when a room dies, and nothing is fetched twice for one wish.
"""

import dataclasses
import threading
from collections.abc import Iterable

from sscsi.core.annotations import MAX_ASK
from sscsi.core.refresh_ask import RefreshAsk
from sscsi.core.volume_record import VolumeRecord


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewAsks:
    """Whose wish has changed: classes by namespace and name, and pods."""

    classes: frozenset[tuple[str, str]]
    pod_uids: frozenset[str]

    def concerns(self, record: VolumeRecord) -> bool:
        return (
            record.pod_namespace,
            record.class_name,
        ) in self.classes or record.pod_uid in self.pod_uids


class RefreshAsks:
    """The present wishes. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_classes: dict[tuple[str, str], str] = {}
        self._of_pods: dict[str, str] = {}

    def replace(self, asks: Iterable[RefreshAsk]) -> "NewAsks":
        """Take all that is asked for now; what of it is new."""
        classes: dict[tuple[str, str], str] = {}
        pods: dict[str, str] = {}
        for ask in asks:
            if ask.pod_uid:
                pods[ask.pod_uid] = ask.value[:MAX_ASK]
            else:
                classes[ask.namespace, ask.class_name] = ask.value[:MAX_ASK]
        with self._lock:
            old_classes, old_pods = self._of_classes, self._of_pods
            self._of_classes, self._of_pods = classes, pods
        return NewAsks(
            classes=frozenset(name for name, value in classes.items() if old_classes.get(name) != value),
            pod_uids=frozenset(uid for uid, value in pods.items() if old_pods.get(uid) != value),
        )

    def of_pod(self, pod_uid: str) -> str:
        """What the pod's annotation asks for; empty when it has none."""
        with self._lock:
            return self._of_pods.get(pod_uid, "")

    def is_honoured(self, record: VolumeRecord) -> bool:
        """Whether the volume's content was fetched under every wish there is."""
        with self._lock:
            of_class = self._of_classes.get((record.pod_namespace, record.class_name), "")
            of_pod = self._of_pods.get(record.pod_uid, "")
        return of_class in {"", record.class_ask} and of_pod in {"", record.pod_ask}
