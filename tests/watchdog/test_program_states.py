"""A program's state after each of supervisord's events."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecars.watchdog.events import Event
from sidecars.watchdog.program_states import UNKNOWN_PROGRAM, after_event, without_process
from sscsi.core.watchdog_state import PROGRAM_STATES, ProgramState
from tests.watchdog.supervisord_words import state_event

# As supervisord's process.py has them.
_FIRST_START = [("STARTING", "STOPPED"), ("RUNNING", "STARTING")]
_ENDED_AND_AGAIN = [("EXITED", "RUNNING"), ("STARTING", "EXITED"), ("RUNNING", "STARTING")]


def replay(steps: list[tuple[str, str]], known: ProgramState | None = None) -> ProgramState:
    for at, (state, from_state) in enumerate(steps):
        known = after_event(known, state_event("node", state, from_state=from_state, pid=10), at=float(at))
    assert known
    return known


def test_the_first_start_is_no_restart() -> None:
    state = replay(_FIRST_START)
    assert (state.state, state.pid, state.restarts) == ("RUNNING", 10, 0)
    assert (state.last_exit_time, state.recent_exit_times) == (None, ())


@pytest.mark.parametrize(
    ("steps", "restarts", "exits"),
    [
        (_ENDED_AND_AGAIN, 1, 1),
        (_ENDED_AND_AGAIN * 3, 3, 3),
        ([("BACKOFF", "STARTING"), ("STARTING", "BACKOFF"), ("BACKOFF", "STARTING")], 1, 2),
        ([("EXITED", "RUNNING"), ("BACKOFF", "EXITED"), ("STARTING", "BACKOFF")], 1, 1),
        ([("STOPPING", "RUNNING"), ("STOPPED", "STOPPING"), ("STARTING", "STOPPED")], 1, 0),
        ([("BACKOFF", "STARTING"), ("FATAL", "BACKOFF"), ("STARTING", "FATAL")], 1, 1),
    ],
    ids=[
        "ends once",
        "ends three times",
        "ends too quickly",
        "ends and has to pause",
        "an operator's restart",
        "started after FATAL",
    ],
)
def test_restarts_are_starts_after_the_first(steps: list[tuple[str, str]], restarts: int, exits: int) -> None:
    state = replay([*_FIRST_START, *steps])
    assert (state.restarts, len(state.recent_exit_times)) == (restarts, exits)


def test_the_first_start_of_a_program_that_was_found_before_its_event_came_is_none_either() -> None:
    found = dataclasses.replace(UNKNOWN_PROGRAM, state="STARTING", pid=10, start_time=1.0)
    assert replay(_FIRST_START, found).restarts == 0


def test_a_stop_that_was_asked_for_is_an_end_and_no_exit() -> None:
    state = replay([*_FIRST_START, ("STOPPING", "RUNNING"), ("STOPPED", "STOPPING")])
    assert (state.pid, state.last_exit_time, state.recent_exit_times) == (0, 3.0, ())


def test_a_try_that_was_called_off_did_not_end() -> None:
    state = replay([("STARTING", "STOPPED"), ("STOPPED", "BACKOFF")])
    assert state.last_exit_time is None


def test_the_last_exits_are_kept_and_no_more() -> None:
    state = replay([*_FIRST_START, *_ENDED_AND_AGAIN * 9])
    assert len(state.recent_exit_times) == 5
    assert state.recent_exit_times[-1] == state.last_exit_time
    assert state.restarts == 9


def test_the_figures_of_a_process_stay_while_it_lives_and_go_with_it() -> None:
    measured = dataclasses.replace(
        UNKNOWN_PROGRAM,
        state="STARTING",
        pid=10,
        start_time=1.0,
        rss_bytes=2,
        pss_bytes=1,
        cpu_seconds=0.5,
        restarts=4,
        over_budget_restarts=3,
    )
    running = after_event(measured, state_event("node", "RUNNING", pid=10), at=5.0)
    assert running == dataclasses.replace(measured, state="RUNNING")
    other = after_event(measured, state_event("node", "RUNNING", pid=11), at=5.0)
    assert other == dataclasses.replace(without_process(measured), state="RUNNING", pid=11)
    ended = after_event(running, state_event("node", "EXITED", from_state="RUNNING", pid=10), at=5.0)
    assert (ended.pid, ended.start_time, ended.rss_bytes, ended.pss_bytes, ended.cpu_seconds) == (
        0,
        0.0,
        0,
        None,
        0.0,
    )
    assert (ended.restarts, ended.over_budget_restarts) == (4, 3)


def test_a_state_of_a_later_supervisord_is_unknown() -> None:
    event = Event(name="PROCESS_STATE_PONDERING", serial=1, values={"processname": "node"})
    assert after_event(None, event, at=0.0).state == "UNKNOWN"


@given(
    st.lists(
        st.tuples(st.sampled_from(PROGRAM_STATES), st.sampled_from(PROGRAM_STATES), st.integers(1, 3)),
        max_size=30,
    )
)
def test_counts_never_fall_and_only_what_may_have_a_process_has_one(
    steps: list[tuple[str, str, int]],
) -> None:
    known: ProgramState | None = None
    for at, (state, from_state, pid) in enumerate(steps):
        after = after_event(known, state_event("node", state, from_state=from_state, pid=pid), at=float(at))
        assert after.restarts >= (known.restarts if known else 0)
        assert list(after.recent_exit_times) == sorted(after.recent_exit_times)
        assert bool(after.pid) == (state in {"RUNNING", "STOPPING"})
        known = after
