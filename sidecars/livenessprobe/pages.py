"""The pages, each put together from what its modules say."""

import logging
import threading
import time
from collections.abc import Mapping

from sidecars.livenessprobe import ready
from sidecars.livenessprobe.answers import Answers
from sidecars.livenessprobe.appliance_metrics import room_families, watchdog_families
from sidecars.livenessprobe.call_metrics import CallMetrics
from sidecars.livenessprobe.family_merge import FamilyMerge
from sidecars.livenessprobe.health import HealthCheck
from sscsi.core import prometheus
from sscsi.core.log_keys import PATH, REASON
from sscsi.core.prometheus import Family
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import WatchdogState
from sscsi.edges.http_pages import Page, Query
from sscsi.edges.watchdog_file import read_watchdog_state

log = logging.getLogger(__name__)

# A driver that takes its time is no room that hangs: it has most of what kubelet's readiness probe waits (2 s,
# docs/health.md). Later than that its last answer stands in, which covers three periods of that probe.
_DRIVER_SECONDS = 1.5
_LASTING_SECONDS = 15.0
_DRIVER = "driver"


def livez(query: Query) -> Page:
    """This process answers; nobody else is asked."""
    return ready.page("livez", [ready.PING], query)


class Readyz:
    """`/readyz`. `rooms` has no questions when there is no appliance around."""

    def __init__(
        self, health: HealthCheck, rooms: Answers[RoomStatus], *, require_registration: bool
    ) -> None:
        self._health = health
        self._driver = Answers(
            {_DRIVER: lambda: True if not health.problem() else None},
            patience_seconds=_DRIVER_SECONDS,
            lasting_seconds=_LASTING_SECONDS,
        )
        self._rooms = rooms
        self._require_registration = require_registration
        self._lock = threading.Lock()
        self._last_failed: list[str] = []

    def page(self, query: Query) -> Page:
        self._driver.ask()
        states = self._rooms.latest()
        checks = [ready.PING, ready.driver_check(self._driver.latest()[_DRIVER] is not None)]
        if self._require_registration:
            checks.append(ready.registration_check(states))
        if states:
            checks += ready.information(states)
        self._log_change(ready.failed(checks, {}), states)
        return ready.page("readyz", checks, query)

    def _log_change(self, failed: list[str], states: Mapping[str, RoomStatus | None]) -> None:
        with self._lock:
            is_same, self._last_failed = failed == self._last_failed, failed
        if is_same:
            return
        if failed:
            reasons = "; ".join(f"{name} failed: {self._reason(name, states)}" for name in failed)
            log.warning("not ready", extra={REASON: reasons})
        else:
            log.info("ready again")

    def _reason(self, failed: str, states: Mapping[str, RoomStatus | None]) -> str:
        if failed == ready.REGISTRATION:
            registrar = states.get(ready.REGISTRAR)
            if registrar is None:
                return "the registrar does not answer on its state socket"
            return f"the registrar is {registrar.state}"
        is_late = self._driver.is_pending(_DRIVER)
        return f"no answer within {_DRIVER_SECONDS:g} s" if is_late else self._health.last_problem


class Metrics:
    """`/metrics`: our own, the watchdog's figures, and what the rooms count, all on one page.

    `run_directory` is empty, and `rooms` and `figures` have no questions, when there is no appliance around.
    """

    def __init__(
        self,
        calls: CallMetrics,
        rooms: Answers[RoomStatus],
        figures: Answers[list[Family]],
        *,
        run_directory: str,
    ) -> None:
        self._calls = calls
        self._rooms = rooms
        self._figures = figures
        self._merge = FamilyMerge()
        self._run_directory = run_directory
        self._start_time = time.time()
        self._last_problem = ""

    def page(self, _query: Query) -> Page:
        families = [
            *self._calls.families(),
            prometheus.gauge(
                "process_start_time_seconds",
                "[ALPHA] Start time of the process since unix epoch in seconds.",
                [({}, self._start_time)],
            ),
        ]
        # Both at once: a room that hangs is waited for once.
        self._figures.ask()
        states = self._rooms.latest()
        if self._run_directory:
            families += room_families(states)
            families += watchdog_families(self._watchdog_state(), time.time())
        by_room = {"livenessprobe": families}
        for room, figures in self._figures.latest().items():
            by_room[room] = figures or []
        return Page(
            200,
            "".join(map(prometheus.family_text, self._merge.merged(by_room))),
            content_type=prometheus.CONTENT_TYPE,
            headers=[("Process-Start-Time-Unix", str(int(self._start_time)))],
        )

    def _watchdog_state(self) -> WatchdogState | None:
        state, problem = None, ""
        try:
            state = read_watchdog_state(self._run_directory)
        except FileNotFoundError:
            # It may be starting; whether it stays away is supervisord's concern.
            problem = "there is none"
        except (OSError, ValueError) as error:
            problem = str(error)
        if problem != self._last_problem:
            self._last_problem = problem
            log.info(
                "no figures of the programs" if problem else "figures of the programs again",
                extra={PATH: self._run_directory, **({REASON: problem} if problem else {})},
            )
        return state
