"""Refreshes: the content of a volume that is in place is fetched again, and what changed is swapped.

A failure leaves the content as it is. Kubelet is told OK all the same, because an error would do the pod harm and change
nothing for the better (docs/refresh.md has the table of cases); the record, the log, an Event, the metrics and the status
object's condition tell the truth (design P2).
"""

import contextlib
import logging
import time
from collections.abc import Sequence

from sscsi.core import failure_reason as reasons
from sscsi.core import log_keys, log_levels
from sscsi.core.failure_reason import failure_reason
from sscsi.core.refresh_outcome import Outcome, RefreshResult
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import (
    InvalidRequestError,
    ProviderCallError,
    SscsiError,
    VolumeBusyError,
    VolumeNotFoundError,
)
from sscsi.node.audit import (
    ASK,
    CLOCK,
    DELIVERED,
    PUBLISH,
    REFRESHED,
    REPUBLISH,
    UNCHANGED,
    AuditLog,
)
from sscsi.node.deadline import Deadline
from sscsi.node.delivery import Delivery
from sscsi.node.kept_requests import KeptRequests
from sscsi.node.metrics import NodeMetrics
from sscsi.node.provider_fetch import Fetched
from sscsi.node.provider_gates import CIRCUIT, ProviderGates, Refusal
from sscsi.node.publish_request import PublishRequest
from sscsi.node.refresh_asks import RefreshAsks
from sscsi.node.refresh_failures import RefreshFailures
from sscsi.node.refresh_pass import Attempt, Lock, RefreshPass
from sscsi.node.refresh_plans import RefreshPlans
from sscsi.node.refresh_schedule import RefreshSchedule
from sscsi.node.shared_calls import Moment
from sscsi.node.stages import Stages
from sscsi.node.volumes import Volumes

log = logging.getLogger(__name__)

# A provider that writes into the volume itself has it until its call ends, and a pod that is deleted waits for that.
_SELF_WRITING_SECONDS = 30.0
_GONE = RefreshResult(outcome=Outcome.FAILED, message="the volume has gone, or was published anew")
_SOON = RefreshResult(outcome=Outcome.PENDING, message="it is tried again soon")


class Refresher:
    """Refreshes volumes, in threads of kubelet's calls and of the room's own clock."""

    def __init__(
        self,
        *,
        delivery: Delivery,
        passes: RefreshPass,
        volumes: Volumes,
        schedule: RefreshSchedule,
        plans: RefreshPlans,
        failures: RefreshFailures,
        kept: KeptRequests,
        gates: ProviderGates,
        asks: RefreshAsks,
        metrics: NodeMetrics,
        audit: AuditLog,
    ) -> None:
        self._delivery = delivery
        self._passes = passes
        self._volumes = volumes
        self._schedule = schedule
        self._plans = plans
        self._failures = failures
        self._kept = kept
        self._gates = gates
        self._asks = asks
        self._metrics = metrics
        self._audit = audit
        self._is_closing = False

    def delivered(
        self,
        request: PublishRequest,
        record: VolumeRecord,
        fetched: Fetched,
    ) -> None:
        """A first publish has put content in place."""
        self._kept.keep(request)
        self._plan(request, record, fetched, is_first=True)
        self._audit.write(record, event=DELIVERED, trigger=PUBLISH, shared=fetched.is_shared)

    def found(self, record: VolumeRecord) -> None:
        """A volume is there, of before this room's start or of another driver, and its request is not."""
        self._plans.found(record, None)

    def forget(self, target_path: str) -> None:
        """The volume is gone."""
        self._schedule.forget(target_path)
        self._plans.forget(target_path)
        self._failures.forget(target_path)
        self._kept.forget(target_path)

    def keep(self, request: PublishRequest) -> None:
        """Kubelet called: what is asked for next is asked for with this request."""
        path = request.target_path
        is_first, record = self._kept.get(path) is None, self._volumes.get(path)
        self._kept.keep(request)
        if self._volumes.get(path) is None:
            # It went just now: nobody will forget this request any more.
            self._kept.forget(path)
            return
        if is_first and record is not None:
            self._plans.found(record, request)
        self._schedule.request_kept(path)

    def is_under_way(self, target_path: str) -> bool:
        """Whether somebody refreshes the volume just now."""
        return self._schedule.is_under_way(target_path)

    def on_republish(
        self, request: PublishRequest, record: VolumeRecord, deadline: Deadline, stages: Stages
    ) -> SscsiError | None:
        """Refresh if it is time; the caller has the volume's lock. The failure, of which kubelet is not told, or None.

        Raises InvalidRequestError and nothing else.
        """
        path, provider = request.target_path, self._schedule.provider(request.target_path)
        if not self._schedule.is_due_for_kubelet(path):
            if self._schedule.is_pausing(path):
                self._metrics.provider_call_spared(provider, "backoff")
            return None
        refusal = self._gates.enter(provider, is_forced=self._schedule.is_forced(path))
        if refusal is not None:
            self.refused(path, provider, refusal, contextlib.nullcontext)
            return None
        try:
            if not self._schedule.begin(path):
                return None
            attempt = Attempt(
                request=request,
                record=record,
                deadline=deadline,
                stages=stages,
                trigger=REPUBLISH,
                lock=contextlib.nullcontext,
                moment=None,
            )
            return self._begun(attempt).error
        finally:
            self._gates.leave(provider)

    def refresh_group(self, target_paths: Sequence[str], provider: str, *, timeout_seconds: float) -> None:
        """Refresh volumes whose attempts have begun, and which may share calls if they are several.

        The gate of `provider` was entered once, for the first of them.
        """
        moment = Moment()
        try:
            for path in target_paths:
                record, request = self._volumes.get(path), self._kept.get(path)
                if record is None or request is None:
                    self._schedule.end(path, _GONE)
                    continue
                with contextlib.suppress(InvalidRequestError):
                    self._begun(self._on_clock(request, record, moment, timeout_seconds))
        finally:
            # One call of the moment is paid for; those of a provider that shares nothing are not.
            for _ in range(moment.made - 1):
                self._gates.charge(provider)
            self._gates.leave(provider)

    def refused(self, target_path: str, provider: str, refusal: Refusal, lock: Lock) -> RefreshResult:
        """The volume is due and its `provider` is not asked. While its circuit is open, that is a failure like any other.

        `lock` is the volume's, to be entered.
        """
        record = self._volumes.get(target_path)
        if record is None:
            return _GONE
        self._metrics.provider_call_spared(provider, refusal.reason)
        if refusal.reason != CIRCUIT:
            return _SOON
        trouble = self._gates.trouble(provider)
        text = (
            f"provider {provider!r} is not asked for {refusal.retry_seconds:.0f} s: it failed too often; "
            f"last: {trouble}"
        )
        self._schedule.put_off(target_path, refusal.retry_seconds, f"provider {provider}: {trouble}")
        if not record.last_error:
            self._failures.note(record, ProviderCallError(text, code=reasons.UNAVAILABLE), lock)
        return RefreshResult(outcome=Outcome.FAILED, message=text)

    def close(self) -> None:
        """From now on calls are broken off: that is no failure of theirs."""
        self._is_closing = True

    def _on_clock(
        self, request: PublishRequest, record: VolumeRecord, moment: Moment, timeout_seconds: float
    ) -> Attempt:
        path = record.target_path
        if record.files:
            timeout_seconds = min(timeout_seconds, _SELF_WRITING_SECONDS)
        return Attempt(
            request=request,
            record=record,
            deadline=Deadline(timeout_seconds),
            stages=Stages(),
            trigger=self._schedule.asked_by(path) or CLOCK,
            lock=lambda: self._passes.lock(path),
            moment=moment,
        )

    def _begun(self, attempt: Attempt) -> RefreshResult:
        """Carry an attempt through, to its end in the schedule. Raises InvalidRequestError."""
        path = attempt.request.target_path
        result = RefreshResult(
            outcome=Outcome.FAILED, message="internal error; the log of node has the place"
        )
        try:
            result = self._attempt(attempt)
        except InvalidRequestError as error:
            self._schedule.failed(path, passes=False)
            result = RefreshResult(outcome=Outcome.FAILED, message=str(error))
            raise
        except Exception as error:
            log.error("a fault in a refresh", extra={log_keys.TARGET_PATH: path}, exc_info=error)
            self._schedule.failed(path, passes=False)
        finally:
            self._schedule.end(path, result)
        return result

    def _attempt(self, attempt: Attempt) -> RefreshResult:
        """Refresh one volume. Raises InvalidRequestError when the request itself is wrong, and nothing else."""
        request, begun = attempt.request, time.monotonic()
        try:
            fetched, record = self._passes.fetch_and_put(attempt)
        except InvalidRequestError:
            raise
        except VolumeNotFoundError:
            return _GONE
        except VolumeBusyError:
            self._schedule.failed(request.target_path, passes=True)
            return _SOON
        except SscsiError as error:
            return self._failed(attempt, error, time.monotonic() - begun)
        is_changed = (record.data_directory, record.files) != (
            attempt.record.data_directory,
            attempt.record.files,
        )
        self._metrics.refresh_lateness(self._schedule.lateness(request.target_path))
        self._metrics.refresh_succeeded(record.provider, time.monotonic() - begun, changed=is_changed)
        self._metrics.observe_stages("refresh", attempt.stages.seconds)
        self._failures.recovered(attempt.record, record)
        self._plan(request, record, fetched, is_first=False)
        event = REFRESHED if is_changed else UNCHANGED
        self._audit.write(record, event=event, trigger=attempt.trigger, shared=fetched.is_shared)
        log.log(
            log_levels.INFO if is_changed else log_levels.DECISIONS,
            event,
            extra={
                **request.about(),
                log_keys.PROVIDER: record.provider,
                log_keys.VERSIONS: len(record.object_versions),
                log_keys.TRIGGER: attempt.trigger,
                log_keys.SHARED: fetched.is_shared,
                log_keys.SECONDS: round(time.monotonic() - begun, 6),
                log_keys.STAGES: attempt.stages.seconds,
            },
        )
        return RefreshResult(outcome=Outcome.CHANGED if is_changed else Outcome.UNCHANGED)

    def _failed(self, attempt: Attempt, error: SscsiError, seconds: float) -> RefreshResult:
        path = attempt.request.target_path
        if self._is_closing:
            return _SOON
        self._metrics.refresh_failed(attempt.record.provider, error, seconds)
        if not attempt.record.provider:
            self._schedule.named(path, self._delivery.last_provider(attempt.request))
        passes = failure_reason(error) in reasons.PASSING
        self._schedule.failed(path, passes=passes)
        # A provider that writes files itself may have written some before it failed: the record must tell them.
        is_retried = passes and not attempt.record.files and self._schedule.is_on_clock(path)
        if not self._failures.note(attempt.record, error, attempt.lock, is_retried=is_retried):
            return _GONE
        return RefreshResult(outcome=Outcome.FAILED, message=str(error), error=error)

    def _plan(
        self, request: PublishRequest, record: VolumeRecord, fetched: Fetched, *, is_first: bool
    ) -> None:
        self._plans.fetched(request, record, fetched.identity, is_first=is_first)
        if not self._asks.is_honoured(record):
            # The class that was used is older than the wish: status-sync was asked a moment ago, or is away.
            self._schedule.ask_again(record.target_path, ASK)
