"""Notices: what went wrong with a volume, for Events on its pod. Kept until status-sync takes them, or too old."""

import collections
import time
from collections.abc import Callable

from sscsi.core.pod_event import PodEvent
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import (
    ClassInvalidError,
    ClassMissingInRequestError,
    ClassNotFoundError,
    ClusterUnavailableError,
    InvalidRequestError,
    ProviderNotFoundError,
    SscsiError,
)
from sscsi.node.publish_request import PublishRequest

MAX_NOTICES = 100
# While status-sync is away: what is older is no news, and kubelet's next try tells it again if it is still so.
_KEPT_SECONDS = 600.0
_CURES: dict[type[SscsiError], str] = {
    ClassMissingInRequestError: "name a SecretProviderClass in volumeAttributes.secretProviderClass of the pod's volume",
    ClassNotFoundError: "create it in the pod's own namespace, {namespace}, or correct the name in the pod's volume",
    ClassInvalidError: "correct the SecretProviderClass",
    ClusterUnavailableError: "it is tried again; if that lasts, see the log of status-sync on the pod's node",
    InvalidRequestError: "set readOnly: true in the pod's volume",
    ProviderNotFoundError: "install that provider on the pod's node, or correct spec.provider of the SecretProviderClass",
}


class Notices:
    """The notices that nobody took yet: of one volume only the last, the oldest dropped. Its user has the lock.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pending: collections.OrderedDict[str, tuple[float, PodEvent]] = collections.OrderedDict()

    def add(self, target_path: str, notice: PodEvent) -> None:
        """Keep a notice about the volume at `target_path`."""
        self._pending[target_path] = (self._clock(), notice)
        self._pending.move_to_end(target_path)
        if len(self._pending) > MAX_NOTICES:
            self._pending.popitem(last=False)

    def take(self) -> list[PodEvent]:
        """All of them, the oldest first; they are not kept any longer."""
        oldest = self._clock() - _KEPT_SECONDS
        taken = [notice for added_at, notice in self._pending.values() if added_at >= oldest]
        self._pending.clear()
        return taken


def make_notice(request: PublishRequest | VolumeRecord, reason: str, error: SscsiError) -> PodEvent:
    """The notice of a publish or a refresh that failed: the text that kubelet gets, which has no secret in it, and the cure."""
    cure = _CURES.get(type(error), "").format(namespace=request.pod_namespace)
    return PodEvent(
        pod_namespace=request.pod_namespace,
        pod_name=request.pod_name,
        pod_uid=request.pod_uid,
        reason=reason,
        message=f"{error}; {cure}" if cure else str(error),
    )
