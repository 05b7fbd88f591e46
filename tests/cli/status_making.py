"""What `sscsi status` might see: a healthy appliance, to be changed by a test in the one thing that it is about."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sscsi.cli.status_observation import Observation, SeenVolume, SeenVolumes, Silence
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import ContainerMemory, ProgramState, WatchdogState

NOW = 1_800_000_000.0
UPTIME = 11_520.0
MIB = 1024 * 1024
PIDS = {
    "node": 12,
    "registrar": 10,
    "livenessprobe": 13,
    "statussync": 14,
    "provider-file": 15,
    "watchdog": 16,
}
WATCHDOG_PID = PIDS["watchdog"]
SUPERVISOR_PID = 1
FACTS: Mapping[str, Mapping[str, str]] = {
    "node": {
        "volumes": "2",
        "volumes_adopted": "0",
        "volumes_whose_last_refresh_failed": "0",
        "volumes_whose_publish_fails": "0",
        "providers": "aws,file",
        "socket": "/csi/csi.sock",
    },
    "registrar": {
        "driver": "secrets-store.csi.k8s.io",
        "socket": "/registration/secrets-store.csi.k8s.io-reg.sock",
        "endpoint": "/var/lib/kubelet/plugins/csi-secrets-store/csi.sock",
        "registered_since": str(NOW - 11_500),
        "registrations": "1",
        "last_error": "",
    },
    "statussync": {
        "queue_depth": "0",
        "node_connected": "true",
        "snapshot_seen": "true",
        "problems": "0",
        "last_problem": "",
    },
    "provider-file": {},
}
WORDS = {"node": "serving", "registrar": "registered", "statussync": "serving", "provider-file": "serving"}


def make_program(name: str, **changes: Any) -> ProgramState:
    program = ProgramState(
        state="RUNNING",
        pid=PIDS[name],
        start_time=NOW - UPTIME,
        restarts=0,
        rss_bytes=30 * MIB,
        pss_bytes=12 * MIB,
        cpu_seconds=61.5,
        memory_budget_bytes=None,
        over_budget_restarts=0,
        last_exit_time=None,
    )
    return dataclasses.replace(program, **changes)


def make_watchdog(
    programs: Mapping[str, ProgramState] | None = None,
    *,
    lacks: str = "",
    only: Mapping[str, ProgramState] | None = None,
    **changes: Any,
) -> WatchdogState:
    """`programs` go in the place of their namesakes; `lacks` is left out; `only` are all there are."""
    everything = {name: make_program(name) for name in PIDS if name != lacks} | dict(programs or {})
    everything = everything if only is None else dict(only)
    state = WatchdogState(
        time=NOW - 2,
        pid=WATCHDOG_PID,
        supervisor_pid=SUPERVISOR_PID,
        programs=everything,
        container=ContainerMemory(current_bytes=100 * MIB, max_bytes=256 * MIB),
    )
    return dataclasses.replace(state, **changes)


def make_room(
    name: str, *, state: str | None = None, problems: Sequence[str] = (), **facts: str
) -> RoomStatus:
    counted = {"problems": str(len(problems))} if "problems" in FACTS[name] else {}
    return RoomStatus(
        room=name,
        version="0.1.0",
        pid=PIDS[name],
        start_time=NOW - UPTIME,
        state=WORDS[name] if state is None else state,
        facts={**FACTS[name], **counted, **facts},
        problems=tuple(problems),
    )


def make_rooms(**changes: RoomStatus | Silence) -> dict[str, RoomStatus | Silence]:
    """Every room; `provider_file` is `provider-file`."""
    rooms: dict[str, RoomStatus | Silence] = {name: make_room(name) for name in WORDS}
    return rooms | {name.replace("_", "-"): room for name, room in changes.items()}


def make_volume(name: str = "web-1", **changes: Any) -> SeenVolume:
    volume = SeenVolume(
        target_path=f"/pods/{name}/mount",
        pod_namespace="shop",
        pod_name=name,
        class_name="web-shop",
        provider="aws",
        adopted=False,
        last_attempt_time=NOW - 40,
        last_success_time=NOW - 40,
        last_error="",
        failure_reason="",
        failing_since=0.0,
        refresh_interval=120.0,
        due_time=NOW + 80,
        waits_for="",
    )
    return dataclasses.replace(volume, **changes)


def make_failing(
    name: str = "web-9", *, age: float = 192.0, error: str = "no such secret", **changes: Any
) -> SeenVolume:
    return make_volume(name, last_success_time=NOW - age, last_error=error, **changes)


def make_late(name: str = "web-8", *, due: float = 60.0, **changes: Any) -> SeenVolume:
    """Due for so many seconds, of an interval of 120."""
    return make_volume(name, last_success_time=NOW - due - 120, due_time=NOW - due, **changes)


def make_observation(**changes: Any) -> Observation:
    """A healthy appliance of six programs and two volumes."""
    observation = Observation(
        time=NOW,
        run_directory="/run/sscsi",
        directory_trouble="",
        watchdog=make_watchdog(),
        watchdog_trouble="",
        alive=frozenset({SUPERVISOR_PID, *PIDS.values()}),
        halted=frozenset(),
        rooms=make_rooms(),
        volumes=SeenVolumes(volumes=(make_volume("web-1"), make_volume("web-2")), unknown=0),
        timeout_seconds=0.6,
    )
    return dataclasses.replace(observation, **changes)
