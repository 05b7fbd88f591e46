import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.watchdog_state import (
    PROGRAM_STATES,
    ContainerMemory,
    ProgramState,
    WatchdogState,
    from_json,
    is_current,
    to_json,
)

TIMES = st.floats(0, 2**40, allow_nan=False)
COUNTS = st.integers(0, 2**62)
PROGRAMS = st.builds(
    ProgramState,
    state=st.sampled_from(PROGRAM_STATES),
    pid=COUNTS,
    start_time=TIMES,
    restarts=COUNTS,
    rss_bytes=COUNTS,
    pss_bytes=st.none() | COUNTS,
    cpu_seconds=TIMES,
    memory_budget_bytes=st.none() | COUNTS,
    over_budget_restarts=COUNTS,
    last_exit_time=st.none() | TIMES,
    recent_exit_times=st.lists(TIMES, max_size=3).map(tuple),
)
STATES = st.builds(
    WatchdogState,
    time=TIMES,
    pid=COUNTS,
    supervisor_pid=COUNTS,
    programs=st.dictionaries(st.text(), PROGRAMS, max_size=3),
    container=st.none() | st.builds(ContainerMemory, current_bytes=COUNTS, max_bytes=st.none() | COUNTS),
    last_event=st.none() | COUNTS,
)


def document() -> dict[str, Any]:
    """The file as the project's brief writes it."""
    return {
        "version": 1,
        "time": 1795495513.25,
        "pid": 12,
        "supervisor_pid": 1,
        "programs": {
            "node": {
                "state": "RUNNING",
                "pid": 14,
                "start_time": 1795495500,
                "restarts": 2,
                "rss_bytes": 1024,
                "pss_bytes": None,
                "cpu_seconds": 1.5,
                "memory_budget_bytes": None,
                "over_budget_restarts": 0,
                "last_exit_time": None,
            }
        },
    }


def test_the_file_is_read_as_it_is_written_down() -> None:
    state = from_json(json.dumps(document()))
    assert (state.time, state.pid, state.supervisor_pid) == (1795495513.25, 12, 1)
    assert state.programs["node"] == ProgramState(
        state="RUNNING",
        pid=14,
        start_time=1795495500.0,
        restarts=2,
        rss_bytes=1024,
        pss_bytes=None,
        cpu_seconds=1.5,
        memory_budget_bytes=None,
        over_budget_restarts=0,
        last_exit_time=None,
    )


@given(STATES)
def test_what_is_written_reads_back_the_same(state: WatchdogState) -> None:
    assert from_json(to_json(state)) == state
    assert to_json(state).count("\n") == 1


def test_a_key_that_nobody_knows_yet_is_passed_over() -> None:
    newer = document()
    newer["new"] = {}
    newer["programs"]["node"]["new"] = 1
    assert from_json(json.dumps(newer)) == from_json(json.dumps(document()))


@pytest.mark.parametrize("key", document())
def test_a_missing_key_is_named(key: str) -> None:
    broken = document()
    del broken[key]
    with pytest.raises(ValueError, match=f"no {key}"):
        from_json(json.dumps(broken))


@pytest.mark.parametrize("key", document()["programs"]["node"])
def test_a_programs_missing_key_is_named_with_the_program(key: str) -> None:
    broken = document()
    del broken["programs"]["node"][key]
    with pytest.raises(ValueError, match=f"program 'node': no {key}"):
        from_json(json.dumps(broken))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("version", "1"),
        ("time", "now"),
        ("time", -1),
        ("time", float("nan")),
        ("time", float("inf")),
        ("time", 10**400),
        ("pid", True),
        ("pid", 1.5),
        ("pid", 10**400),
        ("programs", []),
        ("container", 7),
        ("last_event", "x"),
    ],
)
def test_a_wrong_value_is_no_state(key: str, value: object) -> None:
    with pytest.raises(ValueError, match="watchdog state"):
        from_json(json.dumps({**document(), key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state", "RUNING"),
        ("state", 20),
        ("restarts", None),
        ("pss_bytes", -1),
        ("pss_bytes", 10**400),
        ("rss_bytes", 10**400),
        ("recent_exit_times", [None]),
    ],
)
def test_a_programs_wrong_value_is_no_state(key: str, value: object) -> None:
    broken = document()
    broken["programs"]["node"][key] = value
    with pytest.raises(ValueError, match=f"program 'node': {key}"):
        from_json(json.dumps(broken))


@pytest.mark.parametrize(
    ("age", "is_so"), [(0.0, True), (14.0, True), (16.0, False), (-4.0, True), (-6.0, False)]
)
def test_what_was_written_long_ago_or_is_dated_ahead_is_not_so_any_more(age: float, is_so: bool) -> None:
    state = from_json(json.dumps({**document(), "time": 1_000.0}))
    assert is_current(state, 1_000.0 + age) is is_so


@given(st.binary() | st.text())
def test_anything_else_is_a_value_error(data: bytes | str) -> None:
    with pytest.raises(ValueError, match="watchdog state"):
        from_json(data)


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, '{"version": 1', "null"])
def test_what_tires_a_parser_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="watchdog state"):
        from_json(text)
