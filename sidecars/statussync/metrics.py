"""What status-sync counts: upstream's two metrics of Secrets, which upstream itself never shows, and ours of the API.

Series are there, with 0, before anything happens, but for providers and the codes that an API server has not given yet.
"""

import threading

from sscsi.core import pod_status, secret_data
from sscsi.core.prometheus import UPSTREAM_BOUNDS, UPSTREAM_OS, Counter, Family, Histogram, gauge
from sscsi.core.provider_labels import ProviderLabels

CREATE, PATCH, DELETE = "create", "patch", "delete"
VERBS = ("get", "watch", CREATE, PATCH, DELETE)
KINDS = (pod_status.KIND, secret_data.KIND, "Event")
WRITTEN, DROPPED = "written", "dropped"

_BY_METHOD = {"POST": CREATE, "PATCH": PATCH, "DELETE": DELETE}
_BY_RESOURCE = {
    "secretproviderclasspodstatuses": pod_status.KIND,
    "secrets": secret_data.KIND,
    "events": "Event",
}
# Where the resource is in a path, counted from `namespaces`.
_AFTER_NAMESPACES = 2
_NO_ANSWER = "none"


class SyncMetrics:
    """Counts for life; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels = ProviderLabels()
        self._secrets = Counter(
            "sync_k8s_secret_total",
            "Total number of Kubernetes Secrets created or changed from the content of volumes",
            label_names=("provider",),
            const=UPSTREAM_OS,
        )
        self._secret_seconds = Histogram(
            "k8s_secret_duration_sec",
            "Distribution of how long it took to create or change a Kubernetes Secret",
            bounds=UPSTREAM_BOUNDS,
            const=UPSTREAM_OS,
        )
        self._writes = Counter(
            "sscsi_api_writes_total",
            "Objects written to the cluster, retries among them, by kind, verb and whether it worked.",
            label_names=("kind", "verb", "result"),
        )
        self._requests = Counter(
            "sscsi_api_requests_total",
            "Requests to the Kubernetes API server by verb and first digit of the answer's code.",
            label_names=("verb", "code_class"),
        )
        self._events = Counter(
            "sscsi_events_total",
            "Events on pods: those that the API server took, and those that were dropped.",
            label_names=("result",),
        )
        self._zero()

    def secret_written(self, provider: str, seconds: float) -> None:
        """Count a Secret that was created or changed from the content of a volume of `provider`."""
        with self._lock:
            self._secrets.add((self._labels.label(provider),))
            self._secret_seconds.observe((), seconds)

    def object_write(self, kind: str, verb: str, *, is_ok: bool) -> None:
        """Count the try to write an object: one of KINDS by CREATE, PATCH or DELETE."""
        with self._lock:
            self._writes.add((kind, verb, "ok" if is_ok else "error"))

    def api_request(self, method: str, target: str, code: int, *, is_watch: bool) -> None:
        """Count a request to the API server. `target` is its path and query; `code` 0 where no answer came."""
        verb = "watch" if is_watch else _BY_METHOD.get(method, "get")
        code_class = f"{code // 100}xx" if 100 <= code < 600 else _NO_ANSWER
        with self._lock:
            self._requests.add((verb, code_class))
        kind = _kind(target)
        if kind and method in _BY_METHOD:
            self.object_write(kind, verb, is_ok=code_class == "2xx")

    def event(self, result: str, n: int = 1) -> None:
        """Count Events that were WRITTEN or DROPPED."""
        with self._lock:
            self._events.add((result,), n)

    def families(self, *, queue_depth: int, problems: int) -> list[Family]:
        """Everything, as it is now, with two figures that are the room's."""
        with self._lock:
            counted = [
                self._secrets.family(),
                self._secret_seconds.family(),
                self._writes.family(),
                self._requests.family(),
                self._events.family(),
            ]
        return [
            *counted,
            gauge(
                "sscsi_queue_depth", "Objects that wait to be made right in the cluster.", [({}, queue_depth)]
            ),
            gauge(
                "sscsi_sync_problems",
                "Objects and classes with which something does not work now, CSIDriver and CRDs among them.",
                [({}, problems)],
            ),
        ]

    def _zero(self) -> None:
        self._secret_seconds.zero()
        # Upstream's label of a provider that is not known; so the metric is there from the start.
        self._secrets.zero(("",))
        for kind in KINDS:
            for verb in (CREATE, PATCH, DELETE):
                # Nobody deletes an Event.
                if (kind, verb) != ("Event", DELETE):
                    for result in ("ok", "error"):
                        self._writes.zero((kind, verb, result))
        for verb in VERBS:
            self._requests.zero((verb, "2xx"))
        for result in (WRITTEN, DROPPED):
            self._events.zero((result,))


def _kind(target: str) -> str:
    """The kind of the object at a path `.../namespaces/NAMESPACE/RESOURCE...`; empty for what we do not write."""
    parts = target.partition("?")[0].split("/")
    if "namespaces" not in parts:
        return ""
    index = parts.index("namespaces") + _AFTER_NAMESPACES
    return _BY_RESOURCE.get(parts[index], "") if index < len(parts) else ""
