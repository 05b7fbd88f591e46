"""The ClassSource port in memory."""

import threading
from collections.abc import Sequence

from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import ClassNotFoundError, ClusterUnavailableError, SscsiError


class FakeClasses:
    """Answers from `classes`; `error` goes before. `hold` makes look-ups wait until it is set, or time out."""

    def __init__(self, *classes: SecretProviderClass) -> None:
        self.classes = {(each.namespace, each.name): each for each in classes}
        self.error: SscsiError | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.asked: list[tuple[str, str, float]] = []
        self.ensured: list[VolumeRecord] = []

    def get(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        self.asked.append((namespace, name, timeout_seconds))
        if not self.hold.wait(timeout_seconds):
            raise ClusterUnavailableError("status-sync did not answer in time; is it running?")
        if self.error is not None:
            raise self.error
        if (namespace, name) not in self.classes:
            raise ClassNotFoundError(f"no {namespace}/{name}")
        return self.classes[namespace, name]

    def ensure_secrets(self, record: VolumeRecord, *, timeout_seconds: float) -> Sequence[str]:
        self.ensured.append(record)
        return []
