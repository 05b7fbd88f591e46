"""A node whose rooms count what they would, minute by minute: the real counters, gates and gauges on a hand-driven clock."""

import dataclasses
from collections.abc import Mapping

from sidecars.livenessprobe.appliance_metrics import room_families, watchdog_families
from sidecars.livenessprobe.call_metrics import CallMetrics
from sidecars.registrar.metrics import registration_families
from sidecars.registrar.standing import Standing
from sidecars.statussync.metrics import SyncMetrics
from sscsi.core.prometheus import Family, text
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import ContainerMemory, ProgramState, WatchdogState
from sscsi.errors import SscsiError
from sscsi.node.call_observer import ProviderCallObserver
from sscsi.node.metrics import NodeMetrics
from sscsi.node.provider_gates import ProviderGates
from sscsi.node.volume_figures import (
    VolumeFigures,
    circuit_families,
    unpublished_family,
    volume_families,
)

MINUTE = 60.0
PROVIDER = "vault"
PROGRAMS = ("node", "statussync", "registrar", "livenessprobe", "provider-file", "watchdog")
_START = 1_700_000_000.0
_MIB = 2**20


@dataclasses.dataclass(slots=True)
class Volume:
    """A volume of the class default/NAME; `interval_seconds` as VolumeFigures has it."""

    class_name: str
    interval_seconds: float
    success_time: float = _START
    is_failing: bool = False


class SimulatedNode:
    """Healthy until told otherwise: what has no underscore may be changed between two minutes."""

    def __init__(self) -> None:
        self.now = _START
        self.is_scraped = True
        self.volumes: list[Volume] = []
        self.rooms: dict[str, RoomStatus | None] = {
            "node": RoomStatus(state="serving"),
            "statussync": RoomStatus(state="serving"),
            "registrar": RoomStatus(state="registered"),
        }
        self.programs = {name: _program() for name in PROGRAMS}
        self.watchdog_writes = True
        self.fetch_error: SscsiError | None = None
        self.is_refreshing = True
        self.metrics = NodeMetrics()
        self.sync = SyncMetrics()
        self.calls = CallMetrics()
        self.queue_depth = self.sync_problems = self.unpublished = 0
        self._gates = ProviderGates(calls_per_second=10, burst=10, places=4, clock=lambda: self.now)
        self._observer = ProviderCallObserver(self.metrics, self._gates)
        self._watchdog_time = self.now

    def minute(self) -> None:
        """Let a minute pass, with what happens by itself in it."""
        self.now += MINUTE
        self.calls.observe("/csi.v1.Identity/Probe", "OK", 0.001)
        if self.watchdog_writes:
            self._watchdog_time = self.now
        for volume in self.volumes:
            age = self.now - volume.success_time
            if self.is_refreshing and 0 < volume.interval_seconds <= age:
                self._refresh(volume)

    def fetch(self) -> SscsiError | None:
        """One call to the provider, for a publish or a refresh; what it ended with."""
        self._observer.provider_called(PROVIDER, self.fetch_error, 0.05, volume_id="volume")
        return self.fetch_error

    def circuits(self) -> Mapping[str, bool]:
        """By provider: whether its circuit is open."""
        return self._gates.circuits()

    def change_program(self, name: str, **changes: object) -> None:
        """Other figures of a program: fields of ProgramState."""
        self.programs[name] = dataclasses.replace(self.programs[name], **changes)  # type: ignore[arg-type]

    def page(self) -> str:
        """What a scrape gives now. A room that is down counts nothing, and takes its figures along."""
        by_room: dict[str, list[Family]] = {
            "node": [
                *self.metrics.families(),
                *volume_families([self._figures(volume) for volume in self.volumes], self.now),
                *circuit_families(self.circuits()),
                unpublished_family(self.unpublished),
            ],
            "statussync": self.sync.families(queue_depth=self.queue_depth, problems=self.sync_problems),
            "registrar": registration_families(Standing(endpoint="/csi.sock", registrations=1)),
        }
        state = WatchdogState(
            time=self._watchdog_time,
            pid=2,
            supervisor_pid=1,
            programs=self.programs,
            container=ContainerMemory(current_bytes=150 * _MIB, max_bytes=1024 * _MIB),
        )
        families = [
            *self.calls.families(),
            *room_families(self.rooms),
            *watchdog_families(state, self.now),
        ]
        for room, status in self.rooms.items():
            if status is not None:
                families += by_room[room]
        return text(families)

    def _refresh(self, volume: Volume) -> None:
        # Through an open circuit as well: a minute is longer than its first pauses.
        error = self.fetch()
        volume.is_failing = error is not None
        if error is not None:
            self.metrics.refresh_failed(PROVIDER, error, 0.06)
            # As upstream counts it, when kubelet's republish found the volume due; kubelet is told OK.
            self.metrics.publish_failed(PROVIDER, error, 0.06)
            return
        volume.success_time = self.now
        self.metrics.refresh_succeeded(PROVIDER, 0.06, changed=False)
        self.metrics.refresh_lateness(0.5)
        self.metrics.observe_stages("refresh", {"provider": 0.05, "prove": 0.001})
        # Kubelet's republish, which finds nothing to do.
        self.metrics.publish_succeeded(PROVIDER, 0.001)

    def _figures(self, volume: Volume) -> VolumeFigures:
        has_interval = volume.interval_seconds > 0
        return VolumeFigures(
            namespace="default",
            class_name=volume.class_name,
            provider=PROVIDER,
            success_time=volume.success_time,
            interval_seconds=volume.interval_seconds,
            due_time=volume.success_time + volume.interval_seconds if has_interval else 0,
            is_failing=volume.is_failing,
        )


def _program() -> ProgramState:
    return ProgramState(
        state="RUNNING",
        pid=10,
        start_time=_START,
        restarts=0,
        rss_bytes=39 * _MIB,
        pss_bytes=20 * _MIB,
        cpu_seconds=3.0,
        memory_budget_bytes=96 * _MIB,
        over_budget_restarts=0,
        last_exit_time=None,
    )
