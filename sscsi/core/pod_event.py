"""What the owner of a pod should read on the pod: a Warning, as `kubectl describe pod` shows it."""

import dataclasses

FAILED_MOUNT = "FailedToMountSecrets"
FAILED_REFRESH = "FailedToRefreshSecrets"
# An interval that is no duration, in an annotation or an attribute: another one counts.
INVALID_INTERVAL = "InvalidRefreshInterval"
# Upstream's, for whatever is wrong with a Secret of `secretObjects` (upstream-driver reference, 8.2).
FAILED_SECRET = "FailedToCreateSecret"  # noqa: S105 - a reason, not a password


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodEvent:
    """One Warning about a pod. `reason` is one of the above; `message` is redacted: cause, and cure where one is known."""

    pod_namespace: str
    pod_name: str
    pod_uid: str
    reason: str
    message: str
