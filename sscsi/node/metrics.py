"""What the node room counts: upstream's metrics with upstream's names and labels, and ours (docs/metrics.md).

Series are there, with 0, before anything happens: those without a provider from the start, those of a provider from
its first use. Of what can go wrong, that is each of upstream's five words for `error_type` and each reason of a failed
refresh; of the gRPC codes only those that providers have for what happens to them (`_USUAL_RESULTS`). That makes about
60 lines a provider; `ProviderLabels` bounds the providers.
"""

import threading
from collections.abc import Mapping

import grpc

from sscsi.core.failure_reason import REASONS, failure_reason
from sscsi.core.prometheus import UPSTREAM_BOUNDS, UPSTREAM_OS, Counter, Family, Histogram
from sscsi.core.provider_labels import ProviderLabels
from sscsi.edges.grpc_status import GO_NAMES
from sscsi.errors import ProviderNotFoundError, SscsiError
from sscsi.node.error_types import UPSTREAM_WORDS, error_type
from sscsi.node.provider_gates import CIRCUIT, CONCURRENCY, RATE

ANSWER_INVALID = "AnswerInvalid"
RESULTS = (*GO_NAMES.values(), ANSWER_INVALID)
"""Values of `result` of a call to a provider."""
STAGES = {
    "publish": ("class", "attach", "provider", "write", "prove", "record", "secrets"),
    "refresh": ("class", "provider", "write", "prove", "record"),
}
REFRESH_RESULTS = ("changed", "unchanged", "failed")
PUT_OFF_REASONS = (RATE, CONCURRENCY, CIRCUIT, "backoff", "tokens")
"""A provider's gate, its volume's own pause after a failure, and kubelet's tokens, which have expired."""

_UNKNOWN = GO_NAMES[grpc.StatusCode.UNKNOWN]
_USUAL_RESULTS = (
    "OK",
    "DeadlineExceeded",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    _UNKNOWN,
    ANSWER_INVALID,
)
_OS = UPSTREAM_OS
# Upstream's code knows no other value.
_ROTATED = {**_OS, "rotated": "true"}
_STAGE_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CALL_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_LATENESS_BOUNDS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class NodeMetrics:
    """Counts for life. Threads may share it: one lock, held for microseconds, and for a page a few milliseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels = ProviderLabels()
        self._shown: set[str] = set()
        self._make_publish_counters()
        self._make_rotation_counters()
        self._make_refresh_counters()
        self._make_provider_counters()
        # The class is not known yet: upstream's label, too.
        self._zero_upstream("")

    def publish_succeeded(self, provider: str, seconds: float) -> None:
        """Count a publish that was answered OK, also one that had nothing to do."""
        with self._lock:
            self._publishes.add((self._label(provider),))
            self._publish_seconds.observe(("ok",), seconds)

    def publish_failed(self, provider: str, error: SscsiError, seconds: float) -> None:
        """Count a publish that failed. `provider` is empty when nobody knows the class."""
        with self._lock:
            self._publish_errors.add((self._label(provider, error), error_type(error)))
            self._publish_seconds.observe(("error",), seconds)

    def unpublish_succeeded(self) -> None:
        """Count an unpublish that was answered OK."""
        with self._lock:
            self._unpublishes.add()

    def unpublish_failed(self) -> None:
        """Count an unpublish that failed."""
        with self._lock:
            self._unpublish_errors.add()

    def observe_stages(self, operation: str, stages: Mapping[str, float]) -> None:
        """Note where the time of one `publish` or `refresh` went: seconds by stage."""
        with self._lock:
            for stage, seconds in stages.items():
                self._stages.observe((operation, stage), seconds)

    def refresh_succeeded(self, provider: str, seconds: float, *, changed: bool) -> None:
        """Count a refresh for which the provider gave its content, whether or not that was new."""
        with self._lock:
            label = self._label(provider)
            self._reconciles.add((label,))
            self._reconcile_seconds.observe((), seconds)
            self._count_refresh(label, "changed" if changed else "unchanged", seconds)

    def refresh_failed(self, provider: str, error: SscsiError, seconds: float) -> None:
        """Count a refresh after which the content is as old as before."""
        with self._lock:
            label = self._label(provider, error)
            self._reconcile_errors.add((label, error_type(error)))
            self._refresh_failures.add((label, failure_reason(error)))
            self._count_refresh(label, "failed", seconds)

    def refresh_lateness(self, seconds: float) -> None:
        """Note how long after its time a refresh succeeded; earlier is 0."""
        with self._lock:
            self._lateness.observe((), max(seconds, 0.0))

    def provider_called(self, provider: str, result: str, seconds: float) -> None:
        """Count a call to a provider; a `result` that is none of RESULTS counts as Unknown."""
        with self._lock:
            label = self._label(provider)
            self._calls.add((label, result if result in RESULTS else _UNKNOWN))
            self._call_seconds.observe((label,), seconds)

    def provider_call_shared(self, provider: str) -> None:
        """Count a delivery that had the answer of a call made for another pod."""
        with self._lock:
            self._shared_calls.add((self._label(provider),))

    def provider_call_spared(self, provider: str, reason: str) -> None:
        """Count a refresh that was put off; `reason` is one of PUT_OFF_REASONS."""
        with self._lock:
            self._put_off.add((self._label(provider), reason))

    def families(self) -> list[Family]:
        """Everything, as it is now."""
        with self._lock:
            return [
                self._publishes.family(),
                self._publish_errors.family(),
                self._unpublishes.family(),
                self._unpublish_errors.family(),
                self._publish_seconds.family(),
                self._stages.family(),
                self._reconciles.family(),
                self._reconcile_errors.family(),
                self._reconcile_seconds.family(),
                self._refreshes.family(),
                self._refresh_failures.family(),
                self._refresh_seconds.family(),
                self._lateness.family(),
                self._calls.family(),
                self._call_seconds.family(),
                self._shared_calls.family(),
                self._put_off.family(),
            ]

    def _make_publish_counters(self) -> None:
        self._publishes = Counter(
            "node_publish_total", "Total number of node publish calls", label_names=("provider",), const=_OS
        )
        self._publish_errors = Counter(
            "node_publish_error_total",
            "Total number of node publish calls with error",
            label_names=("provider", "error_type"),
            const=_OS,
        )
        self._unpublishes = Counter("node_unpublish_total", "Total number of node unpublish calls", const=_OS)
        self._unpublish_errors = Counter(
            "node_unpublish_error_total", "Total number of node unpublish calls with error", const=_OS
        )
        self._publish_seconds = Histogram(
            "sscsi_publish_duration_seconds",
            "How long a NodePublishVolume call took, by whether it succeeded.",
            label_names=("result",),
            bounds=_CALL_BOUNDS,
        )
        self._stages = Histogram(
            "sscsi_stage_duration_seconds",
            "How long each stage of a first publish or a refresh took.",
            label_names=("operation", "stage"),
            bounds=_STAGE_BOUNDS,
        )
        self._unpublishes.zero()
        self._unpublish_errors.zero()
        for result in ("ok", "error"):
            self._publish_seconds.zero((result,))
        for operation, stages in STAGES.items():
            for stage in stages:
                self._stages.zero((operation, stage))

    def _make_rotation_counters(self) -> None:
        self._reconciles = Counter(
            "rotation_reconcile_total",
            "Total number of rotation reconciles",
            label_names=("provider",),
            const=_ROTATED,
        )
        self._reconcile_errors = Counter(
            "rotation_reconcile_error_total",
            "Total number of rotation reconciles with error",
            label_names=("provider", "error_type"),
            const=_ROTATED,
        )
        self._reconcile_seconds = Histogram(
            "rotation_reconcile_duration_sec",
            "Distribution of how long it took to rotate secrets-store content for pods",
            bounds=UPSTREAM_BOUNDS,
            const=_OS,
        )
        self._reconcile_seconds.zero()

    def _make_refresh_counters(self) -> None:
        self._refreshes = Counter(
            "sscsi_refreshes_total",
            "Refreshes by what came of them: new content, the same content, or none.",
            label_names=("provider", "result"),
        )
        self._refresh_failures = Counter(
            "sscsi_refresh_failures_total",
            "Refreshes that failed, by the reason that the condition Refreshed has.",
            label_names=("provider", "reason"),
        )
        self._refresh_seconds = Histogram(
            "sscsi_refresh_duration_seconds",
            "How long a refresh took, by what came of it.",
            label_names=("result",),
            bounds=_CALL_BOUNDS,
        )
        self._lateness = Histogram(
            "sscsi_refresh_lateness_seconds",
            "How long after its due time a refresh succeeded.",
            bounds=_LATENESS_BOUNDS,
        )
        for result in REFRESH_RESULTS:
            self._refresh_seconds.zero((result,))
        self._lateness.zero()

    def _make_provider_counters(self) -> None:
        self._calls = Counter(
            "sscsi_provider_calls_total",
            "Mount calls to providers, by gRPC code, or AnswerInvalid for an answer that can't be used.",
            label_names=("provider", "result"),
        )
        self._call_seconds = Histogram(
            "sscsi_provider_call_duration_seconds",
            "How long Mount calls to providers took.",
            label_names=("provider",),
            bounds=_CALL_BOUNDS,
        )
        self._shared_calls = Counter(
            "sscsi_provider_calls_shared_total",
            "Deliveries that had the answer of a call made for another pod of equal identity.",
            label_names=("provider",),
        )
        self._put_off = Counter(
            "sscsi_refreshes_put_off_total",
            "Refreshes that were due and not tried yet, by what they wait for.",
            label_names=("provider", "reason"),
        )

    def _label(self, provider: str, error: SscsiError | None = None) -> str:
        """The value of the label `provider`, with every series of it there from now on."""
        label = self._labels.label(provider, is_absent=isinstance(error, ProviderNotFoundError))
        if label and label not in self._shown:
            self._shown.add(label)
            self._zero_upstream(label)
            self._zero_ours(label)
        return label

    def _count_refresh(self, label: str, result: str, seconds: float) -> None:
        self._refreshes.add((label, result))
        self._refresh_seconds.observe((result,), seconds)

    def _zero_upstream(self, provider: str) -> None:
        self._publishes.zero((provider,))
        self._reconciles.zero((provider,))
        for word in UPSTREAM_WORDS:
            self._publish_errors.zero((provider, word))
            self._reconcile_errors.zero((provider, word))

    def _zero_ours(self, provider: str) -> None:
        for result in REFRESH_RESULTS:
            self._refreshes.zero((provider, result))
        for reason in REASONS:
            self._refresh_failures.zero((provider, reason))
        for result in _USUAL_RESULTS:
            self._calls.zero((provider, result))
        self._call_seconds.zero((provider,))
        self._shared_calls.zero((provider,))
        for reason in PUT_OFF_REASONS:
            self._put_off.zero((provider, reason))
