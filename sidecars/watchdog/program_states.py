"""From one state of a program to the next, as supervisord's events tell it. Pure."""

import dataclasses

from sidecars.watchdog.events import Event
from sscsi.core.crash_loop import EXIT_LIMIT
from sscsi.core.watchdog_state import PROGRAM_STATES, ProgramState

_WITH_PROCESS = frozenset({"RUNNING", "STOPPING"})
# States in which a process is there, or soon will be.
ALIVE = _WITH_PROCESS | {"STARTING"}
# BACKOFF is how supervisord calls an end before `startsecs`, and a start that came to nothing.
_UNASKED_ENDS = frozenset({"EXITED", "BACKOFF"})

UNKNOWN_PROGRAM = ProgramState(
    state="UNKNOWN",
    pid=0,
    start_time=0.0,
    restarts=0,
    rss_bytes=0,
    pss_bytes=None,
    cpu_seconds=0.0,
    memory_budget_bytes=None,
    over_budget_restarts=0,
    last_exit_time=None,
)


def is_exit(event: Event) -> bool:
    """Whether a program ended, and nobody had asked supervisord for it.

    `sscsi run` lets one that keeps ending pause by BACKOFF after EXITED: that is one end, not two.
    """
    return event.state in _UNASKED_ENDS and event.from_state != "EXITED"


def after_event(known: ProgramState | None, event: Event, *, at: float) -> ProgramState:
    """The program's state after `event`, seen `at` seconds since the epoch.

    `known` is its state before; None for one that was never heard of.
    """
    before = known or UNKNOWN_PROGRAM
    state = event.state if event.state in PROGRAM_STATES else "UNKNOWN"
    pid = event.pid if state in _WITH_PROCESS else 0
    after = dataclasses.replace(before, state=state) if pid and pid == before.pid else without_process(before)
    after = dataclasses.replace(after, state=state, pid=pid)
    if state == "STARTING" and _is_restart(before, event):
        after = dataclasses.replace(after, restarts=before.restarts + 1)
    if is_exit(event):
        recent = (*before.recent_exit_times, at)[-EXIT_LIMIT:]
        return dataclasses.replace(after, last_exit_time=at, recent_exit_times=recent)
    if state == "STOPPED" and event.from_state == "STOPPING":
        return dataclasses.replace(after, last_exit_time=at)
    return after


def without_process(known: ProgramState) -> ProgramState:
    """The state with nothing in it of a process."""
    return dataclasses.replace(known, pid=0, start_time=0.0, rss_bytes=0, pss_bytes=None, cpu_seconds=0.0)


def _is_restart(before: ProgramState, event: Event) -> bool:
    # A first start comes from STOPPED, and so does one after an operator's stop or after supervisord's own reload.
    return event.from_state != "STOPPED" or before.last_exit_time is not None
