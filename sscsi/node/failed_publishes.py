"""Publishes that failed and whose volumes are not there yet: the pods that wait in ContainerCreating, and why."""

import dataclasses
import time
from collections.abc import Callable

from sscsi.node.publish_request import PublishRequest

MAX_FAILED = 100
# Kubelet tries again after two minutes at most, and a try may last two; a pod that was deleted is not heard of again.
_KEPT_SECONDS = 300.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailedPublish:
    """One volume's last try. `time`: seconds since the epoch; `error`: the text that kubelet got, which is redacted."""

    target_path: str
    pod_namespace: str
    pod_name: str
    class_name: str
    time: float
    error: str


class FailedPublishes:
    """Of each volume the last try that failed, until it is forgotten or not tried any more. Its user has the lock.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[float, FailedPublish]] = {}

    def add(self, failed: FailedPublish) -> None:
        """Keep a try that failed; when there are too many, the oldest goes."""
        self._failed.pop(failed.target_path, None)
        self._failed[failed.target_path] = (self._clock(), failed)
        if len(self._failed) > MAX_FAILED:
            self.forget(next(iter(self._failed)))

    def forget(self, target_path: str) -> None:
        """The volume is gone, or there is no room for it."""
        self._failed.pop(target_path, None)

    def all(self) -> list[FailedPublish]:
        """Those of the last minutes, the oldest first."""
        oldest = self._clock() - _KEPT_SECONDS
        return [failed for added_at, failed in self._failed.values() if added_at >= oldest]


def make_failed(request: PublishRequest, error: Exception, at: float) -> FailedPublish:
    """The try of `request` that ended with `error`, `at` seconds since the epoch."""
    return FailedPublish(
        target_path=request.target_path,
        pod_namespace=request.pod_namespace,
        pod_name=request.pod_name,
        class_name=request.class_name,
        time=at,
        error=str(error),
    )
