"""The room, put together from its parts, from its first listener to its last call."""

import logging
import os
import threading
from collections.abc import Callable, Mapping

from sidecars.livenessprobe.answers import Answers
from sidecars.livenessprobe.call_metrics import CallMetrics
from sidecars.livenessprobe.config import HEALTHZ, LIVEZ, READYZ, LivenessProbeConfig
from sidecars.livenessprobe.driver_name import learn_driver_name
from sidecars.livenessprobe.health import HealthCheck
from sidecars.livenessprobe.pages import Metrics, Readyz, livez
from sidecars.livenessprobe.ready import REGISTRAR
from sscsi.core.log_keys import ADDRESS
from sscsi.core.prometheus import Family
from sscsi.core.room_status import RoomStatus
from sscsi.core.run_files import STATE_SOCKETS
from sscsi.edges.csi_identity import IdentityCalls
from sscsi.edges.http_pages import HttpPages
from sscsi.edges.room_status import RoomStates

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
# A room that hangs is asked again when this is over; no page waits that long.
_ROOM_SECONDS = 5.0
# A room that is busy, which is when its figures matter, is not missing: the ones before stand in for so long.
_LASTING_SECONDS = 15.0


class LivenessProbeRoom:
    """Everything behind the command line. `states` are the rooms to be asked, none when standing alone."""

    def __init__(
        self,
        config: LivenessProbeConfig,
        *,
        calls: IdentityCalls,
        metrics: CallMetrics,
        states: Mapping[str, RoomStates],
    ) -> None:
        self._timeout_seconds = config.probe_timeout_seconds
        self._calls = calls
        self._call_metrics = metrics
        self._states = states
        self._answers = Answers({room: _question(room, asked) for room, asked in states.items()})
        self._figures = Answers(
            {room: _metrics_question(room, asked) for room, asked in states.items()},
            lasting_seconds=_LASTING_SECONDS,
        )
        self._listeners = self._make_listeners(config)

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; the exit code. Raises ConfigError for an address that can't be had."""
        try:
            for listener in self._listeners:
                listener.start()
            threading.Thread(target=self._learn_name, args=(stop,), name="driver-name", daemon=True).start()
            return self._stay(stop)
        finally:
            stop.set()
            self._leave()

    def _stay(self, stop: threading.Event) -> int:
        while not stop.wait(_LOOK_SECONDS):
            for listener in self._listeners:
                if not listener.is_serving():
                    log.error("a listener ended unasked", extra={ADDRESS: listener.address})
                    return 1
        return 0

    def _leave(self) -> None:
        for listener in self._listeners:
            listener.stop_accepting()
        self._answers.close()
        self._figures.close()
        self._calls.close()
        for states in self._states.values():
            states.close()
        for listener in self._listeners:
            listener.close()

    def _make_listeners(self, config: LivenessProbeConfig) -> list[HttpPages]:
        """The health pages first; each page is one object, whichever listeners have it."""
        health = HealthCheck(self._calls, self._call_metrics, timeout_seconds=config.probe_timeout_seconds)
        readyz = Readyz(health, self._answers, require_registration=config.require_registration)
        metrics = Metrics(
            self._call_metrics, self._answers, self._figures, run_directory=config.run_directory
        )
        metrics_alone = {config.metrics_path: metrics.page}
        listeners = [HttpPages(address, metrics_alone) for address in config.metrics_addresses]
        if config.health_address:
            pages = {HEALTHZ: health.page, LIVEZ: livez, READYZ: readyz.page}
            if config.health_has_metrics:
                pages |= metrics_alone
            listeners.insert(0, HttpPages(config.health_address, pages))
        return listeners

    def _learn_name(self, stop: threading.Event) -> None:
        def learned(name: str) -> None:
            self._call_metrics.driver_name = name

        learn_driver_name(self._calls, timeout_seconds=self._timeout_seconds, stop=stop, learned=learned)


def room_states(config: LivenessProbeConfig) -> dict[str, RoomStates]:
    """The rooms to be asked, each on its own, so that one's silence is not another's."""
    if not config.run_directory:
        return {}
    return {
        room: RoomStates({room: os.path.join(config.run_directory, socket)}, timeout_seconds=_ROOM_SECONDS)
        for room, socket in STATE_SOCKETS.items()
        if room != REGISTRAR or config.require_registration
    }


def _question(room: str, states: RoomStates) -> Callable[[], RoomStatus | None]:
    return lambda: states.ask()[room]


def _metrics_question(room: str, states: RoomStates) -> Callable[[], list[Family] | None]:
    return lambda: states.ask_metrics()[room]
