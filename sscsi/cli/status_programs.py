"""Program by program: what supervisord's watchdog, the process table and the program itself tell, and what is wrong.

A program is meant to run when no appliance goes without it, or when supervisord has it and it is not off from the
start on (the registrar without a registration path, the file provider without a root). While the watchdog does not
tell, a socket stands for its program.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from sscsi.cli.status_observation import Observation, Silence
from sscsi.cli.status_units import age_text
from sscsi.core.crash_loop import WINDOW_SECONDS
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import ProgramState, is_current

NODE = "node"
REGISTRAR = "registrar"
STATUSSYNC = "statussync"
WATCHDOG = "watchdog"
# The order of the screen; what is not here follows by name.
_ORDER = (NODE, REGISTRAR, "livenessprobe", STATUSSYNC, "provider-file", WATCHDOG)
# No appliance goes without these.
_REQUIRED = frozenset({NODE, STATUSSYNC})
# Their socket is a provider's, for root alone; that another user may not ask there says nothing.
_ROOT_ONLY = frozenset({"provider-file"})
# What a program must say of itself; of the others any word will do.
_GOOD_WORDS = {NODE: "serving", REGISTRAR: "registered", STATUSSYNC: "serving"}
# supervisord takes a program for RUNNING after 3 s (`startsecs`), and its word is up to 5 s old.
STARTING_SECONDS = 10.0
# Of unasked ends within WINDOW_SECONDS: two may be an accident and its consequence. Five are a crash loop to supervisord.
EXITS_TO_WORRY = 3
_STATE_FAULTS = {
    "BACKOFF": "keeps ending (BACKOFF): it is started again after a pause; its log says why it ends",
    "FATAL": "kept ending and was given up (FATAL); its log says why it ended",
    "EXITED": "has ended (EXITED)",
    "STOPPED": "was stopped (STOPPED)",
    "STOPPING": "is stopping (STOPPING)",
    "UNKNOWN": "is in no state that supervisord knows (UNKNOWN)",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProgramReport:
    """One program. None: nobody told. Times are in seconds, sizes in bytes."""

    wanted: bool
    """Whether it is meant to run."""
    fault: str
    """What is wrong with it, to be read after its name; empty when nothing is."""
    state: str
    """supervisord's word, as the watchdog wrote it; empty while the watchdog does not report."""
    says: str
    """What it answered when asked what it does now; empty for one that nobody can ask, or that did not answer."""
    answers: bool | None
    """None for a program without a socket for such questions."""
    version: str
    pid: int | None
    uptime_seconds: float | None
    restarts: int | None
    over_budget_restarts: int | None
    """Those of the restarts that the watchdog made because it took more memory than its budget."""
    last_exit_seconds_ago: float | None
    pss_bytes: int | None
    rss_bytes: int | None
    memory_budget_bytes: int | None
    cpu_seconds: float | None
    problems: tuple[str, ...]
    """What it says does not work now."""


def report_programs(observation: Observation) -> dict[str, ProgramReport]:
    """Every program there is or ought to be, in the order of the screen."""
    states = observation.watchdog.programs if observation.watchdog else {}
    watchdog_fault = watchdog_trouble(observation)
    reports = {
        name: _report(name, observation, states.get(name), watchdog_reports=not watchdog_fault)
        for name in _names(observation, states)
    }
    reports[WATCHDOG] = dataclasses.replace(
        reports[WATCHDOG],
        # It has no socket: that it writes is its answer.
        answers=not watchdog_fault,
        says="" if watchdog_fault else "reporting",
        fault=f"does not report: {watchdog_fault}" if watchdog_fault else reports[WATCHDOG].fault,
        pid=observation.watchdog.pid if observation.watchdog and not watchdog_fault else None,
    )
    return reports


def watchdog_trouble(observation: Observation) -> str:
    """Why what the watchdog wrote is not to be relied on; empty when it is."""
    state = observation.watchdog
    if state is None:
        return observation.watchdog_trouble
    if state.pid not in observation.alive:
        return f"its process {state.pid} has ended"
    if state.pid in observation.halted:
        return halted_text(state.pid)
    if is_current(state, observation.time):
        return ""
    age = observation.time - state.time
    return (
        f"what it wrote last is {age_text(age)} old"
        if age > 0
        else f"what it wrote last is dated {age_text(-age)} ahead"
    )


def halted_text(pid: int) -> str:
    """What is so of a halted process, and the cure."""
    return f"process {pid} was halted, by SIGSTOP or a debugger; kill -CONT {pid} lets it go on"


def _names(observation: Observation, states: Mapping[str, ProgramState]) -> list[str]:
    names = {name for name, room in observation.rooms.items() if room is not Silence.NO_SOCKET}
    names |= states.keys() | _REQUIRED | {WATCHDOG}
    known = [name for name in _ORDER if name in names]
    return known + sorted(names.difference(known))


def _report(
    name: str, observation: Observation, state: ProgramState | None, *, watchdog_reports: bool
) -> ProgramReport:
    room = observation.rooms.get(name)
    if room is Silence.FORBIDDEN and name in _ROOT_ONLY:
        room = None
    status = room if isinstance(room, RoomStatus) else None
    wanted = _is_wanted(name, state, room, watchdog_reports=watchdog_reports)
    # What an old file says of processes and memory is not so any more.
    fresh = state if watchdog_reports else None
    faults = (
        _faults(name, observation, fresh, room, watchdog_reports=watchdog_reports) if wanted else iter(())
    )
    started = fresh.start_time if fresh else status.start_time if status else 0.0
    pid = fresh.pid if fresh else status.pid if status else 0
    return ProgramReport(
        wanted=wanted,
        fault=next(faults, ""),
        state=fresh.state if fresh else "",
        says=status.state if status else "",
        answers=None if room is None or not wanted else status is not None,
        version=status.version if status else "",
        pid=pid or None,
        uptime_seconds=observation.time - started if pid and started else None,
        restarts=fresh.restarts if fresh else None,
        over_budget_restarts=fresh.over_budget_restarts if fresh else None,
        last_exit_seconds_ago=(
            observation.time - fresh.last_exit_time if fresh and fresh.last_exit_time is not None else None
        ),
        pss_bytes=fresh.pss_bytes if fresh and fresh.pid else None,
        rss_bytes=fresh.rss_bytes if fresh and fresh.pid else None,
        memory_budget_bytes=fresh.memory_budget_bytes if fresh else None,
        cpu_seconds=fresh.cpu_seconds if fresh and fresh.pid else None,
        problems=tuple(status.problems) if status else (),
    )


def _is_wanted(
    name: str, state: ProgramState | None, room: RoomStatus | Silence | None, *, watchdog_reports: bool
) -> bool:
    if name in _REQUIRED or name == WATCHDOG:
        return True
    if state is not None:
        return not _is_off(state)
    # A socket that supervisord has no program for, and at which nobody answers, was left behind.
    return not watchdog_reports or isinstance(room, RoomStatus)


def _is_off(state: ProgramState) -> bool:
    """Not started since supervisord is: nobody can stop a program but supervisord at its own end."""
    return state.state == "STOPPED" and state.last_exit_time is None and not state.restarts


def _faults(
    name: str,
    observation: Observation,
    state: ProgramState | None,
    room: RoomStatus | Silence | None,
    *,
    watchdog_reports: bool,
) -> Iterator[str]:
    """What is wrong, the cause before what follows from it."""
    if state is not None:
        yield from _process_faults(state, observation)
    elif watchdog_reports and name in _REQUIRED and _has_heard_of_all(observation):
        yield "is not among supervisord's programs"
    if isinstance(room, Silence):
        limit = f" within {observation.timeout_seconds:g} s" if room is Silence.HANGING else ""
        yield f"{room}{limit}"
    elif room is not None:
        yield from _word_faults(name, state, room)


def _has_heard_of_all(observation: Observation) -> bool:
    """Whether the watchdog is up for long enough: it hears of a program when that is RUNNING, at the latest."""
    watchdog = observation.watchdog.programs.get(WATCHDOG) if observation.watchdog else None
    return watchdog is not None and observation.time - watchdog.start_time > STARTING_SECONDS


def _process_faults(state: ProgramState, observation: Observation) -> Iterator[str]:
    if state.state in _STATE_FAULTS:
        yield _STATE_FAULTS[state.state]
        return
    now = observation.time
    if state.state == "STARTING":
        # In the moment between two ends everything looks well.
        if state.last_exit_time is not None:
            yield f"is starting again (STARTING): it ended {age_text(now - state.last_exit_time)} ago"
        elif state.start_time and now - state.start_time > STARTING_SECONDS:
            yield f"has been starting for {age_text(now - state.start_time)} (STARTING)"
    recent = sum(now - at <= WINDOW_SECONDS for at in state.recent_exit_times)
    if recent >= EXITS_TO_WORRY:
        yield f"keeps ending: {recent} times in the last {age_text(WINDOW_SECONDS)}; its log says why"
    if state.pid and state.pid not in observation.alive:
        yield f"is gone: process {state.pid} has ended"
    if state.pid in observation.halted:
        yield f"does nothing: {halted_text(state.pid)}"


def _word_faults(name: str, state: ProgramState | None, room: RoomStatus) -> Iterator[str]:
    if state is not None and state.state == "RUNNING" and state.pid not in {0, room.pid}:
        yield (
            f"is process {state.pid}, and process {room.pid} answers on its socket: "
            "one that an earlier appliance left behind?"
        )
    good = _GOOD_WORDS.get(name)
    if good is not None and room.state != good:
        why = f": {room.problems[0]}" if room.problems else ""
        yield f"is {room.state or 'silent about its state'}{why}"
