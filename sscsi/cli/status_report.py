"""From what was seen to a verdict: what is well, what is not, and the reasons in words. Pure.

Not healthy is whatever somebody has to see to: a program that does not run or does not answer, a driver that kubelet
has not confirmed, a status-sync that is cut off, anything that a room itself says does not work. A volume whose last
refresh failed is among it: its pod works on with what it has, which is why nobody else will notice, and the operator
who asks is the one who can do something about it.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from sscsi.cli.status_facts import boolean, count, moment, names
from sscsi.cli.status_observation import Observation, Silence
from sscsi.cli.status_programs import (
    NODE,
    REGISTRAR,
    STATUSSYNC,
    ProgramReport,
    halted_text,
    report_programs,
    watchdog_trouble,
)
from sscsi.cli.status_volumes import VolumesReport, report_volumes, volume_reasons
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import is_current


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationReport:
    """What the registrar says of kubelet. None: nobody told."""

    wanted: bool | None
    """Whether it is meant to run."""
    registered: bool
    state: str
    registered_since: float | None
    """Seconds since the epoch."""
    registrations: int | None
    """How often kubelet confirmed it since the registrar started."""
    driver: str
    endpoint: str
    """The CSI socket as kubelet was told it."""
    socket: str
    last_error: str
    """Also when it is over."""
    last_error_time: float | None
    """Seconds since the epoch."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StatusSyncReport:
    """What status-sync says of its two sides. None: nobody told."""

    node_connected: bool | None
    snapshot_seen: bool | None
    queue_depth: int | None
    problems: int | None
    last_problem: str
    """Also when it is over."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorReport:
    """supervisord, as the watchdog names it. None: nobody told."""

    pid: int | None
    alive: bool | None
    reported_seconds_ago: float | None
    """Age of what the watchdog wrote last."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """Bytes. None: nobody told, or there is no limit."""

    programs_pss_bytes: int | None
    """The programs together, each page counted once."""
    container_bytes: int | None
    """What the kernel charges to the container, the volumes' contents among it."""
    container_max_bytes: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole answer; `sscsi status --json` is these fields by their names (docs/status.md)."""

    healthy: bool
    reasons: tuple[str, ...]
    """Why it is not healthy, the most important first; empty when it is."""
    time: float
    run_directory: str
    running: bool
    """False when there is no appliance to tell anything of; all that follows is empty then."""
    supervisor: SupervisorReport
    programs: Mapping[str, ProgramReport]
    registration: RegistrationReport
    volumes: VolumesReport
    providers: tuple[str, ...] | None
    """Names of the providers whose sockets are there; None: nobody told."""
    status_sync: StatusSyncReport
    memory: MemoryReport


def judge(observation: Observation) -> Report:
    """The verdict on one observation."""
    absence = observation.directory_trouble or _absence(observation)
    return _nothing(observation, absence) if absence else _judge(observation)


def _judge(observation: Observation) -> Report:
    programs = report_programs(observation)
    facts = {name: _facts(observation, name) for name in (NODE, REGISTRAR, STATUSSYNC)}
    supervisor = _supervisor(observation)
    volumes = report_volumes(observation, facts[NODE])
    status_sync = _status_sync(facts[STATUSSYNC])
    reasons = (
        *_supervisor_reasons(supervisor, observation),
        *(f"{name} {program.fault}" for name, program in programs.items() if program.fault),
        *_status_sync_reasons(status_sync, programs[STATUSSYNC]),
        *volume_reasons(observation, volumes, node_is_well=not programs[NODE].fault),
        *_problem_reasons(programs, volumes),
    )
    return Report(
        healthy=not reasons,
        reasons=reasons,
        time=observation.time,
        run_directory=observation.run_directory,
        running=True,
        supervisor=supervisor,
        programs=programs,
        registration=_registration(
            programs.get(REGISTRAR), facts[REGISTRAR], watchdog_reports=not watchdog_trouble(observation)
        ),
        volumes=volumes,
        providers=names(facts[NODE].get("providers")),
        status_sync=status_sync,
        memory=_memory(observation, programs),
    )


def _nothing(observation: Observation, why: str) -> Report:
    """The report of no appliance: nobody told anything."""
    return Report(
        healthy=False,
        reasons=(why,),
        time=observation.time,
        run_directory=observation.run_directory,
        running=False,
        supervisor=SupervisorReport(pid=None, alive=None, reported_seconds_ago=None),
        programs={},
        registration=_registration(None, {}, watchdog_reports=False),
        volumes=VolumesReport(
            count=None,
            adopted=None,
            failing=None,
            late=None,
            unknown=None,
            unpublished=None,
            last_failed_publish=None,
            oldest_success_seconds_ago=None,
            trouble=why,
            items=(),
        ),
        providers=None,
        status_sync=_status_sync({}),
        memory=MemoryReport(programs_pss_bytes=None, container_bytes=None, container_max_bytes=None),
    )


def _absence(observation: Observation) -> str:
    """A sentence for a directory in which nobody lives any more; empty when somebody does."""
    if observation.alive or any(
        room is not Silence.NO_SOCKET and room is not Silence.REFUSED for room in observation.rooms.values()
    ):
        return ""
    return (
        f"the appliance does not run: what is in {observation.run_directory!r} was left behind by one that ended; "
        "start it: sscsi run"
    )


def _facts(observation: Observation, name: str) -> Mapping[str, str]:
    room = observation.rooms.get(name)
    return room.facts if isinstance(room, RoomStatus) else {}


def _supervisor(observation: Observation) -> SupervisorReport:
    state = observation.watchdog
    if state is None:
        return SupervisorReport(pid=None, alive=None, reported_seconds_ago=None)
    return SupervisorReport(
        pid=state.supervisor_pid,
        # An old file may name the supervisord of an earlier appliance.
        alive=state.supervisor_pid in observation.alive if is_current(state, observation.time) else None,
        reported_seconds_ago=observation.time - state.time,
    )


def _registration(
    program: ProgramReport | None, facts: Mapping[str, str], *, watchdog_reports: bool
) -> RegistrationReport:
    state = program.says if program else ""
    return RegistrationReport(
        wanted=program.wanted if program else False if watchdog_reports else None,
        registered=state == "registered",
        state=state,
        registered_since=moment(facts.get("registered_since")),
        registrations=count(facts.get("registrations")),
        driver=facts.get("driver", ""),
        endpoint=facts.get("endpoint", ""),
        socket=facts.get("socket", ""),
        last_error=facts.get("last_error", ""),
        last_error_time=moment(facts.get("last_error_time")),
    )


def _status_sync(facts: Mapping[str, str]) -> StatusSyncReport:
    return StatusSyncReport(
        node_connected=boolean(facts.get("node_connected")),
        snapshot_seen=boolean(facts.get("snapshot_seen")),
        queue_depth=count(facts.get("queue_depth")),
        problems=count(facts.get("problems")),
        last_problem=facts.get("last_problem", ""),
    )


def _memory(observation: Observation, programs: Mapping[str, ProgramReport]) -> MemoryReport:
    sizes = [program.pss_bytes for program in programs.values() if program.pss_bytes is not None]
    watchdog = None if watchdog_trouble(observation) else observation.watchdog
    container = watchdog.container if watchdog else None
    return MemoryReport(
        programs_pss_bytes=sum(sizes) if sizes else None,
        container_bytes=container.current_bytes if container else None,
        container_max_bytes=container.max_bytes if container else None,
    )


def _supervisor_reasons(supervisor: SupervisorReport, observation: Observation) -> Iterator[str]:
    if supervisor.pid in observation.halted:
        yield f"supervisord starts nothing again: {halted_text(supervisor.pid)}"
    if supervisor.alive is False:
        yield f"supervisord (process {supervisor.pid}) has ended: nothing starts again what dies"


def _status_sync_reasons(report: StatusSyncReport, program: ProgramReport) -> Iterator[str]:
    """The connection counts as soon as status-sync itself is well; what it does not say is not taken for good."""
    if not program.fault and not report.node_connected:
        yield "statussync is not connected to node: status objects and Secrets do not follow the volumes"


def _problem_reasons(programs: Mapping[str, ProgramReport], volumes: VolumesReport) -> Iterator[str]:
    for name, program in programs.items():
        problems = untold_problems(program, volumes)
        # Who may not list the volumes has their problems from node, and their number as a reason already.
        is_told = program.fault or (name == NODE and volumes.failing and volumes.trouble)
        if problems and not is_told:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            yield f"{name} has a problem: {problems[0]}{more}"


def untold_problems(program: ProgramReport, volumes: VolumesReport) -> list[str]:
    """What the program says does not work, without what its fault or the list of volumes tells already."""
    told = [item.last_error for item in volumes.items if item.failing]
    return [
        problem
        for problem in program.problems
        if problem not in program.fault and not any(error in problem for error in told)
    ]
