"""What `/metrics` tells of the appliance: its rooms, its registration, and each program by the watchdog's figures.

Nothing that is missing fails a scrape: it is a 0 where there is a yes or no to tell, and no sample otherwise.
"""

from collections.abc import Callable, Mapping

from sidecars.livenessprobe.ready import REGISTERED, REGISTRAR
from sscsi.core.prometheus import Family, Labels, counter, gauge
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import PROGRAM_STATES, ProgramState, WatchdogState, is_current

States = Mapping[str, RoomStatus | None]


def room_families(states: States) -> list[Family]:
    """Whether each room answers, and whether kubelet has confirmed, where there is a registrar."""
    families = [
        gauge(
            "sscsi_room_up",
            "Whether the room answers on its state socket.",
            [({"room": room}, float(state is not None)) for room, state in states.items()],
        )
    ]
    if REGISTRAR in states:
        registrar = states[REGISTRAR]
        families.append(
            gauge(
                "sscsi_kubelet_registered",
                "Whether kubelet has confirmed the registration of the driver.",
                [({}, float(registrar is not None and registrar.state == REGISTERED))],
            )
        )
    return families


def watchdog_families(state: WatchdogState | None, now: float) -> list[Family]:
    """The programs' figures, if they are present ones; `state` is None when there is no such file or it can't be
    read. `now`: seconds since the epoch.
    """
    is_up = state is not None and is_current(state, now)
    families = [
        gauge(
            "sscsi_watchdog_up",
            "Whether the watchdog's figures are there and current.",
            [({}, float(is_up))],
        )
    ]
    if state is None:
        return families
    age = now - state.time
    families.append(
        gauge("sscsi_watchdog_age_seconds", "How long ago the watchdog wrote its figures.", [({}, age)])
    )
    if not is_up:
        return families
    if state.container is not None:
        families += _container_families(state.container.current_bytes, state.container.max_bytes)
    return families + _program_families(state.programs)


def _container_families(current_bytes: int, max_bytes: int | None) -> list[Family]:
    return [
        gauge(
            "sscsi_container_memory_bytes",
            "Memory that the kernel charges to the container, the content of volumes included.",
            [({}, current_bytes)],
        ),
        gauge(
            "sscsi_container_memory_limit_bytes",
            "The container's memory limit; absent when there is none.",
            [] if max_bytes is None else [({}, max_bytes)],
        ),
    ]


def _program_families(programs: Mapping[str, ProgramState]) -> list[Family]:
    def values(
        value: Callable[[ProgramState], float | None], *, running: bool = False
    ) -> list[tuple[Labels, float]]:
        """One value for each program that has it; with `running`, for each that has a process."""
        found = [(name, value(program)) for name, program in programs.items() if program.pid or not running]
        return [({"program": name}, number) for name, number in found if number is not None]

    return [
        gauge(
            "sscsi_program_state",
            "The program's state in supervisord's words: 1 for the present one, 0 for the others.",
            [
                ({"program": name, "state": state}, float(program.state == state))
                for name, program in programs.items()
                for state in PROGRAM_STATES
            ],
        ),
        counter(
            "sscsi_program_restarts_total",
            "How often the program was started again.",
            values(lambda program: program.restarts),
        ),
        counter(
            "sscsi_program_over_budget_restarts_total",
            "How often the watchdog had the program started again for its memory.",
            values(lambda program: program.over_budget_restarts),
        ),
        gauge(
            "sscsi_program_start_time_seconds",
            "Start time of the program's process since unix epoch in seconds.",
            values(lambda program: program.start_time, running=True),
        ),
        gauge(
            "sscsi_program_resident_memory_bytes",
            "Resident memory of the program's process (RSS).",
            values(lambda program: program.rss_bytes, running=True),
        ),
        gauge(
            "sscsi_program_proportional_memory_bytes",
            "Memory of the program's process with its part of what is shared (PSS).",
            values(lambda program: program.pss_bytes, running=True),
        ),
        gauge(
            "sscsi_program_memory_budget_bytes",
            "Memory above which the watchdog has the program started again; absent when it has no budget.",
            values(lambda program: program.memory_budget_bytes),
        ),
        counter(
            "sscsi_program_cpu_seconds_total",
            "Processor time of the program's process.",
            values(lambda program: program.cpu_seconds, running=True),
        ),
    ]
