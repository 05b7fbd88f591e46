"""What `sscsi status` saw, before anybody judges it. Values only; times are seconds since the epoch."""

import dataclasses
import enum
from collections.abc import Mapping

from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import WatchdogState


class Silence(enum.StrEnum):
    """Why nobody answered at a socket; the text follows a program's name."""

    NO_SOCKET = "has no socket"
    REFUSED = "does not listen on its socket"
    HANGING = "does not answer"
    FORBIDDEN = "may not be asked by this user: ask as root"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SeenVolume:
    """One published volume as the node room tells of it. `last_success_time` is 0 when there was none yet (an adopted
    volume); `last_error` is empty when the last refresh succeeded, and was redacted by who wrote it, `failure_reason` the same
    in one word, and `failing_since` is 0 then. `refresh_interval` is in seconds, 0: whenever kubelet asks, negative: never;
    `due_time` is 0 when it is never due; `waits_for` says why what is due waits, and is empty when it does not.
    """

    target_path: str
    pod_namespace: str
    pod_name: str
    class_name: str
    provider: str
    adopted: bool
    last_attempt_time: float
    last_success_time: float
    last_error: str
    failure_reason: str
    failing_since: float
    refresh_interval: float
    due_time: float
    waits_for: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SeenVolumes:
    """Every published volume, and how many mounts may be volumes that nobody knows."""

    volumes: tuple[SeenVolume, ...]
    unknown: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at the run directory and everything in it that answers."""

    time: float
    run_directory: str
    directory_trouble: str
    """Why the directory tells nothing at all, and the cure; empty when it does, and only then the rest counts."""
    watchdog: WatchdogState | None
    watchdog_trouble: str
    """Why there is no state of the watchdog's; empty when there is one."""
    alive: frozenset[int]
    """Those of the processes named by the watchdog that live."""
    halted: frozenset[int]
    """Those of them that a signal or a debugger has halted: they do nothing, and do not end."""
    rooms: Mapping[str, RoomStatus | Silence]
    """By program name: what each room with a socket says of itself."""
    volumes: SeenVolumes | Silence
    timeout_seconds: float
    """How long each was given to answer."""
