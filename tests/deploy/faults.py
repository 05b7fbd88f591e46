"""What happens to a simulated node, and which alerts must fire of it: exactly these."""

import dataclasses
import functools
from collections.abc import Callable

from sscsi.core.room_status import RoomStatus
from sscsi.errors import ProviderCallError, ProviderNotFoundError
from sscsi.node.provider_gates import OPEN_AFTER
from tests.deploy.rule_file import Scrapes
from tests.deploy.simulated_node import PROVIDER, SimulatedNode, Volume

HEALTHY_MINUTES = 20
FAULT_MINUTES = 45
_UNAVAILABLE = ProviderCallError("the provider is away", code=14)
_DENIED = ProviderCallError("not allowed", code=7)
_SECRET = "/api/v1/namespaces/default/secrets/app"

Step = Callable[[SimulatedNode, int], None]
"""What happens in a minute; they are counted from 0."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """`happens` in each minute after the healthy ones; `is_there` tells whether there is a target at all by then."""

    happens: Step
    alerts: frozenset[str]
    is_there: bool = True


def well(node: SimulatedNode, minute: int) -> None:
    """A node as it should be, with what is no reason to wake anybody."""
    if minute == 0:
        # Of one class, with an interval of its own each: as old as that, and on time.
        node.volumes = [Volume("app", interval, node.now) for interval in (60, 60, 600)]
        # Whenever kubelet asks, and never again.
        node.volumes += [Volume("tls", 0, node.now), Volume("job", -1, node.now)]
    if minute == 5:
        node.metrics.publish_failed(PROVIDER, _DENIED, 0.1)
        node.change_program("statussync", restarts=1)
        node.queue_depth = 3
    if minute == 7:
        node.queue_depth = 0


def idle(node: SimulatedNode, minute: int) -> None:
    """Nothing but Probe."""


def _scrape_fails(node: SimulatedNode, minute: int) -> None:
    node.is_scraped = False


def _room_down(room: str, node: SimulatedNode, minute: int) -> None:
    node.rooms[room] = None


def _not_registered(node: SimulatedNode, minute: int) -> None:
    node.rooms["registrar"] = RoomStatus(state="waiting for kubelet")


def _no_socket(node: SimulatedNode, minute: int) -> None:
    for _ in range(6):
        node.calls.count_connect_failure("missing")


def _no_watchdog(node: SimulatedNode, minute: int) -> None:
    node.watchdog_writes = False


def _restarts(node: SimulatedNode, minute: int) -> None:
    node.change_program("statussync", restarts=node.programs["statussync"].restarts + 1)


def _given_up(node: SimulatedNode, minute: int) -> None:
    node.change_program("provider-file", state="FATAL", pid=0)


def _clock_stands(node: SimulatedNode, minute: int) -> None:
    node.is_refreshing = False


def _denied(node: SimulatedNode, minute: int) -> None:
    node.fetch_error = _DENIED


def _away(node: SimulatedNode, minute: int) -> None:
    node.fetch_error = _UNAVAILABLE


def _away_without_volumes(node: SimulatedNode, minute: int) -> None:
    """Long ago; whoever used the provider is gone, and nobody asks it again."""
    if minute == 0:
        node.volumes = []
        node.fetch_error = _UNAVAILABLE
        for _ in range(OPEN_AFTER):
            node.fetch()
        # A circuit that stayed closed would make this fault none.
        assert node.circuits()[PROVIDER]


def _class_is_wrong(node: SimulatedNode, minute: int) -> None:
    node.metrics.publish_failed("nobody", ProviderNotFoundError("no socket"), 0.01)
    node.unpublished = 1


def _slow_start(node: SimulatedNode, minute: int) -> None:
    """What a rollout, or a node that boots, may look like: all of it is over within two minutes."""
    if minute == 0:
        # Kubelet's first tries come within seconds of each other.
        for _ in range(8):
            node.metrics.publish_failed("late", ProviderNotFoundError("no socket yet"), 0.01)
        for _ in range(30):
            node.calls.count_connect_failure("missing")
        for _ in range(20):
            node.sync.api_request("PATCH", _SECRET, 503, is_watch=False)
    node.fetch_error, node.unpublished = (_UNAVAILABLE, 1) if minute == 0 else (None, 0)
    if minute == 0:
        for _ in range(OPEN_AFTER - 5):
            node.fetch()


def _sync_problem(node: SimulatedNode, minute: int) -> None:
    node.sync_problems = 1


def _queue_stands(node: SimulatedNode, minute: int) -> None:
    node.queue_depth = 7


def _writes_refused(node: SimulatedNode, minute: int) -> None:
    node.sync.api_request("PATCH", _SECRET, 403, is_watch=False)


def _memory_grows(node: SimulatedNode, minute: int) -> None:
    program = node.programs["registrar"]
    assert program.memory_budget_bytes
    node.change_program("registrar", pss_bytes=int(program.memory_budget_bytes * 0.95))


def _memory_restarts(node: SimulatedNode, minute: int) -> None:
    if minute % 15 == 0:
        program = node.programs["node"]
        node.change_program(
            "node", restarts=program.restarts + 1, over_budget_restarts=program.over_budget_restarts + 1
        )


def _fault(happens: Step, *alerts: str, is_there: bool = True) -> Fault:
    return Fault(happens, frozenset(alerts), is_there)


FAULTS = {
    "idle": _fault(idle),
    "a provider that failed and that no volume has": _fault(_away_without_volumes),
    "a start that takes its time": _fault(_slow_start),
    "no target": _fault(idle, "SscsiNoNodes", is_there=False),
    # The figures are gone from this, the only node; so is what SscsiNoNodes looks for.
    "scrapes fail": _fault(_scrape_fails, "SscsiScrapeFails", "SscsiNoNodes"),
    "node room down": _fault(functools.partial(_room_down, "node"), "SscsiNodeRoomDown"),
    "status-sync down": _fault(functools.partial(_room_down, "statussync"), "SscsiRoomDown"),
    "registrar down": _fault(
        functools.partial(_room_down, "registrar"), "SscsiRoomDown", "SscsiNotRegistered"
    ),
    "kubelet refuses": _fault(_not_registered, "SscsiNotRegistered"),
    "socket gone": _fault(_no_socket, "SscsiSocketUnreachable"),
    "no watchdog": _fault(_no_watchdog, "SscsiWatchdogStale"),
    "restart loop": _fault(_restarts, "SscsiRestartLoop"),
    "given up": _fault(_given_up, "SscsiProgramGivenUp"),
    "no refresh": _fault(_clock_stands, "SscsiVolumesLate", "SscsiContentStale"),
    "provider refuses": _fault(
        _denied, "SscsiRefreshFailing", "SscsiVolumesLate", "SscsiContentStale", "SscsiProviderFailing"
    ),
    "provider away": _fault(
        _away,
        "SscsiRefreshFailing",
        "SscsiVolumesLate",
        "SscsiContentStale",
        "SscsiProviderFailing",
        "SscsiProviderCircuitOpen",
    ),
    "publishes fail": _fault(_class_is_wrong, "SscsiPublishesFailing"),
    "sync problem": _fault(_sync_problem, "SscsiSyncProblems"),
    "queue stands": _fault(_queue_stands, "SscsiQueueNotDraining"),
    "writes refused": _fault(_writes_refused, "SscsiApiWritesFailing"),
    "memory near its budget": _fault(_memory_grows, "SscsiMemoryNearBudget"),
    "restarts for memory": _fault(_memory_restarts, "SscsiMemoryRestarts"),
}


@functools.cache
def scrapes_of(name: str) -> Scrapes:
    """The scrapes of a node that is well for HEALTHY_MINUTES, then has a fault of FAULTS for FAULT_MINUTES."""
    node, scrapes, fault = SimulatedNode(), Scrapes(), FAULTS[name]
    scrapes.add(node.page())
    for minute in range(HEALTHY_MINUTES + FAULT_MINUTES):
        if name != "idle":
            well(node, minute)
        if minute >= HEALTHY_MINUTES:
            fault.happens(node, minute - HEALTHY_MINUTES)
        node.minute()
        if minute >= HEALTHY_MINUTES and not fault.is_there:
            scrapes.add_nothing()
        else:
            scrapes.add(node.page() if node.is_scraped else None)
    return scrapes
