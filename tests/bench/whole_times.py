"""How long the whole appliance takes to start, to get over the death of each of its programs, and to stop."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from sscsi.cli.appliance import is_served
from sscsi.core import run_files, watchdog_state
from sscsi.pb import provider_pb2, sscsi_pb2
from tests.bench.errors import BenchError
from tests.bench.registrations import REGISTERED, SEEN
from tests.bench.unary_call import CallFailedError, Method, answer
from tests.bench.whole import WholeAppliance
from tests.bench.whole_memory import settle_whole

REGISTRAR = "registrar"
# In the order in which they are killed.
KILLED = ("node", REGISTRAR, "livenessprobe", "statussync", "provider-file", "watchdog")
# supervisord takes a program that ends sooner for one that does not start, and waits before it tries again
# (startsecs in supervisord.conf is 3).
_OLD_ENOUGH_SECONDS = 4.0
_CALL_SECONDS = 1
_STATUS = Method("/sscsi.v1.Room/Status", timeout_seconds=_CALL_SECONDS)
_VERSION = Method("/v1alpha1.CSIDriverProvider/Version", timeout_seconds=_CALL_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StartTimes:
    """Seconds from the start of the appliance's first process.

    `rooms` is when everything serves, with kubelet or without. `registered` is when kubelet had registered the driver;
    `kubelet` of it passed since it saw the registration socket: its loop comes by once a second.
    """

    csi: float
    rooms: float
    registered: float
    kubelet: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Seconds from the death of a program until it was back; of the registrar's, how many were kubelet's."""

    seconds: float
    kubelet: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LifeTimes:
    """One life of the appliance. `recoveries` is by program."""

    start: StartTimes
    recoveries: Mapping[str, Recovery]
    stop_seconds: float


def measure_start(appliance: WholeAppliance) -> StartTimes:
    """Wait until everything serves and kubelet has confirmed. Raises BenchError."""
    place = appliance.place
    begun = appliance.started_at
    rooms: dict[str, Callable[[], bool]] = {
        path: lambda path=path: is_served(path)  # type: ignore[misc] # mypy has no type for such a default
        for path in place.sockets
    }
    rooms["health pages"] = lambda: place.get("/livez")[0] != 0
    rooms["watchdog"] = lambda: _watchdog_pid(place.path("run", run_files.WATCHDOG_STATE)) is not None
    found = appliance.when_all(
        {**rooms, "csi": appliance.kubelet.answers, "registered": lambda: _is_registered(appliance, begun)}
    )
    registered_at = _registered_at(appliance, begun)
    return StartTimes(
        csi=found["csi"] - begun,
        rooms=max(found[what] for what in rooms) - begun,
        registered=registered_at - begun,
        kubelet=registered_at - _seen_at(appliance, begun),
    )


def measure_recoveries(appliance: WholeAppliance) -> dict[str, Recovery]:
    """Kill every program but supervisord once, one after the other, each time when all are at rest.

    Raises BenchError when one does not come back.
    """
    return {name: _kill(appliance, name) for name in KILLED}


def _kill(appliance: WholeAppliance, name: str) -> Recovery:
    program = appliance.programs()[name]
    appliance.when(f"an old {name}", lambda: time.time() - program.create_time() > _OLD_ENOUGH_SECONDS)
    settle_whole(appliance)
    killed_at = appliance.kill(program)
    if name == REGISTRAR:
        return _registrar_recovery(appliance, killed_at)
    is_back = _BACK[name](appliance, program.pid)
    return Recovery(seconds=appliance.when(f"{name} is back", is_back) - killed_at)


def _registrar_recovery(appliance: WholeAppliance, killed_at: float) -> Recovery:
    appliance.when("registered again", lambda: _is_registered(appliance, killed_at))
    registered_at = _registered_at(appliance, killed_at)
    return Recovery(seconds=registered_at - killed_at, kubelet=registered_at - _seen_at(appliance, killed_at))


def _is_registered(appliance: WholeAppliance, since: float) -> bool:
    return appliance.registrations.first(REGISTERED, since=since) is not None


def _registered_at(appliance: WholeAppliance, since: float) -> float:
    return _time_of(appliance, REGISTERED, since)


def _seen_at(appliance: WholeAppliance, since: float) -> float:
    return _time_of(appliance, SEEN, since)


def _time_of(appliance: WholeAppliance, what: str, since: float) -> float:
    at = appliance.registrations.first(what, since=since)
    if at is None:
        raise BenchError(f"kubelet registered a driver, but has no event {what!r}")
    return at


def _node_is_back(appliance: WholeAppliance, _old_pid: int) -> Callable[[], bool]:
    return appliance.kubelet.answers


def _livenessprobe_is_back(appliance: WholeAppliance, _old_pid: int) -> Callable[[], bool]:
    return lambda: appliance.place.get("/healthz")[0] == 200


def _statussync_is_back(appliance: WholeAppliance, _old_pid: int) -> Callable[[], bool]:
    run = appliance.place.path("run")
    state, classes = (
        os.path.join(run, name) for name in (run_files.STATE_SOCKETS["statussync"], run_files.STATUSSYNC)
    )
    return lambda: is_served(classes) and _answers(state, _STATUS, sscsi_pb2.RoomStatusRequest())


def _provider_is_back(appliance: WholeAppliance, _old_pid: int) -> Callable[[], bool]:
    path = appliance.place.path("run", run_files.FILE_PROVIDER)
    return lambda: _answers(path, _VERSION, provider_pb2.VersionRequest(version="v1alpha1"))


def _watchdog_is_back(appliance: WholeAppliance, old_pid: int) -> Callable[[], bool]:
    path = appliance.place.path("run", run_files.WATCHDOG_STATE)
    return lambda: _watchdog_pid(path) not in {None, old_pid}


# By program, what makes the question whether it is back. The registrar is back when kubelet says so.
_BACK: Mapping[str, Callable[[WholeAppliance, int], Callable[[], bool]]] = {
    "node": _node_is_back,
    "livenessprobe": _livenessprobe_is_back,
    "statussync": _statussync_is_back,
    "provider-file": _provider_is_back,
    "watchdog": _watchdog_is_back,
}


def _answers(socket_path: str, method: Method, request: Any) -> bool:
    try:
        answer(socket_path, method, request.SerializeToString(), timeout_seconds=_CALL_SECONDS)
    except CallFailedError:
        return False
    return True


def _watchdog_pid(path: str) -> int | None:
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        return watchdog_state.from_json(file.read()).pid
    return None
