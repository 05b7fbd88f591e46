"""Events on pods, best effort, from a thread of its own: nobody waits for them, and they take no other request's turn."""

import collections
import dataclasses
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

from sidecars.statussync.kube.api import JSON, MERGE_PATCH, Object, jittered
from sidecars.statussync.kube.api_errors import ApiError
from sidecars.statussync.kube.event_correlation import Correlator, Occurrence
from sidecars.statussync.metrics import DROPPED, WRITTEN, SyncMetrics
from sscsi.core import log_keys
from sscsi.core.pod_event import PodEvent
from sscsi.core.redaction import clean_message
from sscsi.errors import ClusterUnavailableError

log = logging.getLogger(__name__)

# Upstream's name as the source of its Events: what filters by it goes on to work.
COMPONENT = "csi-secrets-store-controller"
REPORTER = "secrets-store.csi.k8s.io"
MAX_WAITING = 100
_CALL_SECONDS = 5.0
_PAUSES_SECONDS = (1.0, 4.0)
# Without the right, or in a namespace that is being deleted, nothing changes from one minute to the next.
_FORBIDDEN_SECONDS = 300.0
_NO_RIGHT = "the service account may not write Events: see the role secretproviderclasses-role (kubectl apply -f deploy/rbac.yaml; with the chart: rbac.install=true)"


class EventApi(Protocol):
    """The API server, as KubeApi has it."""

    def call(
        self,
        method: str,
        path: str,
        *,
        body: object,
        content_type: str,
        timeout_seconds: float,
        gives_way: bool,
    ) -> Object:
        """Raises ApiError, ClusterUnavailableError."""

    def pause(self, seconds: float) -> None:
        """Wait; no longer than until the API is closed."""


class KubeEvents:
    """Warnings about pods of the node `node_id`. `clock` is monotonic, `wall_clock` seconds since the epoch."""

    def __init__(
        self,
        api: EventApi,
        node_id: str,
        *,
        metrics: SyncMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._node_id = node_id
        self._metrics = metrics or SyncMetrics()
        self._clock = clock
        self._wall_clock = wall_clock
        self._correlator = Correlator(clock)
        self._condition = threading.Condition()
        # The oldest go when there are too many.
        self._waiting: collections.deque[tuple[PodEvent, float]] = collections.deque(maxlen=MAX_WAITING)
        self._closed = False
        # By namespace: until when nobody need ask.
        self._forbidden: dict[str, float] = {}
        self._problem = ""

    def start(self) -> None:
        """Have a thread write what is told."""
        threading.Thread(target=self._run, name="events", daemon=True).start()

    def close(self) -> None:
        """Write nothing more; what waits is dropped."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def tell(self, event: PodEvent) -> None:
        """Have the Event written soon, if that can be."""
        with self._condition:
            if len(self._waiting) == MAX_WAITING:
                self._metrics.event(DROPPED)
            self._waiting.append((event, self._wall_clock()))
            self._condition.notify_all()

    def write_next(self) -> bool:
        """Wait for an Event and write it; False when it is over."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return False
            event, at = self._waiting.popleft()
        event = dataclasses.replace(event, message=clean_message(event.message, ()))
        if self._clock() < self._forbidden.get(event.pod_namespace, float("-inf")):
            self._metrics.event(DROPPED)
            return True
        occurrence = self._correlator.take_in(event, at)
        if occurrence is None:
            self._metrics.event(DROPPED)
        else:
            self._write(event, occurrence)
        return True

    def _run(self) -> None:
        is_over = False
        while not is_over:
            try:
                is_over = not self.write_next()
            except Exception as error:
                self._metrics.event(DROPPED)
                log.error("a fault while writing an Event", exc_info=error)

    def _write(self, event: PodEvent, occurrence: Occurrence) -> None:
        pauses = list(_PAUSES_SECONDS)
        while True:
            try:
                self._put(event, occurrence)
            except (ApiError, ClusterUnavailableError) as error:
                if pauses and self._may_pass(error):
                    self._api.pause(jittered(pauses.pop(0)))
                    continue
                self._metrics.event(DROPPED)
                self._dropped(event, error)
            else:
                self._metrics.event(WRITTEN)
                self._tell_problem("")
            return

    def _put(self, event: PodEvent, occurrence: Occurrence) -> None:
        """Make the object, or count it up. Raises ApiError, ClusterUnavailableError."""
        collection = f"/api/v1/namespaces/{quote(event.pod_namespace, safe='')}/events"
        if occurrence.is_written:
            patch = {
                "count": occurrence.count,
                "lastTimestamp": _timestamp(occurrence.last_at),
                "message": occurrence.message,
            }
            try:
                self._call("PATCH", f"{collection}/{quote(occurrence.name, safe='')}", patch, MERGE_PATCH)
            except ApiError as error:
                # The API server keeps Events for an hour.
                if not error.is_not_found:
                    raise
            else:
                return
        try:
            self._call("POST", collection, _manifest(event, occurrence, self._node_id), JSON)
        except ApiError as error:
            # It was made by the last try, whose answer did not come.
            if not error.is_conflict:
                raise
        occurrence.is_written = True

    def _call(self, method: str, path: str, body: Object, content_type: str) -> None:
        self._api.call(
            method,
            path,
            body=body,
            content_type=content_type,
            timeout_seconds=_CALL_SECONDS,
            gives_way=True,
        )

    def _may_pass(self, error: ApiError | ClusterUnavailableError) -> bool:
        if isinstance(error, ApiError) and error.is_forbidden:
            # An API server that has just started does not know the roles yet.
            return True
        # While it does not work, each Event is tried once.
        return not self._problem and not (
            isinstance(error, ApiError) and (error.is_invalid or error.is_not_found)
        )

    def _dropped(self, event: PodEvent, error: ApiError | ClusterUnavailableError) -> None:
        problem = str(error)
        if isinstance(error, ApiError):
            if error.is_not_found:
                # The namespace has gone, and the pod with it.
                return
            if error.is_forbidden:
                now = self._clock()
                self._forbidden = {name: end for name, end in self._forbidden.items() if end > now}
                self._forbidden[event.pod_namespace] = now + _FORBIDDEN_SECONDS
                problem = f"{error}; {_NO_RIGHT}"
        if not self._closed:
            self._tell_problem(problem)

    def _tell_problem(self, problem: str) -> None:
        before, self._problem = self._problem, problem
        if problem and not before:
            log.warning("Events are dropped", extra={log_keys.REASON: problem})
        elif before and not problem:
            log.info("Events are written again")


def _manifest(event: PodEvent, occurrence: Occurrence, node_id: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": occurrence.name, "namespace": event.pod_namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": event.pod_namespace,
            "name": event.pod_name,
            "uid": event.pod_uid,
        },
        "type": "Warning",
        "reason": event.reason,
        "message": occurrence.message,
        "count": occurrence.count,
        "firstTimestamp": _timestamp(occurrence.first_at),
        "lastTimestamp": _timestamp(occurrence.last_at),
        "source": {"component": COMPONENT, "host": node_id},
        "reportingComponent": REPORTER,
        "reportingInstance": node_id,
    }


def _timestamp(at: float) -> str:
    """As metav1.Time has it."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
