"""`/healthz`: the driver's own word, by CSI Probe, with upstream's codes and bodies (sidecars reference, B3)."""

import logging
import threading

from sidecars.livenessprobe.call_metrics import CallMetrics
from sscsi.core.log_keys import PATH, REASON
from sscsi.edges.csi_identity import IdentityCalls
from sscsi.edges.http_pages import Page, Query
from sscsi.errors import DriverCallError, DriverUnreachableError, StoppingError

log = logging.getLogger(__name__)

# CSI says "initialising, and well" by this; upstream takes it for a failure all the same.
_NOT_READY = "driver responded but is not ready"


class HealthCheck:
    """Probes the driver. Any number of threads may do so at once, each with a probe of its own.

    `last_problem` is what the check that ended last found.
    """

    def __init__(self, calls: IdentityCalls, metrics: CallMetrics, *, timeout_seconds: float) -> None:
        self._calls = calls
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self.last_problem = ""

    def problem(self) -> str:
        """Why the driver is not healthy; empty when it is. Changes are logged, once each."""
        try:
            ready = self._calls.probe(timeout_seconds=self._timeout_seconds)
            problem = "" if ready else _NOT_READY
        except StoppingError as error:
            return str(error)
        except DriverUnreachableError as error:
            self._metrics.count_connect_failure(error.reason)
            problem = str(error)
        except DriverCallError as error:
            problem = str(error)
        self._log_change(problem)
        return problem

    def page(self, _query: Query) -> Page:
        problem = self.problem()
        return Page(500, problem) if problem else Page(200, "ok")

    def _log_change(self, problem: str) -> None:
        with self._lock:
            is_same, self.last_problem = problem == self.last_problem, problem
        if is_same:
            return
        if problem:
            log.error("the driver is not healthy", extra={PATH: self._calls.socket_path, REASON: problem})
        else:
            log.info("the driver is healthy again", extra={PATH: self._calls.socket_path})
