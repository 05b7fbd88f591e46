import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecars.watchdog.events import DONE, READY, Event, EventStream
from tests.watchdog.supervisord_words import envelope, state_envelope

# Copied from a run of supervisord 4.3.0.
_FATAL = (
    b"ver:3.0 server:supervisor serial:7 pool:fatal poolserial:2 eventname:PROCESS_STATE_FATAL len:48\n"
    b"processname:bad groupname:bad from_state:BACKOFF"
)


def test_an_event_is_a_header_and_a_body() -> None:
    (event,) = EventStream().feed(_FATAL)
    assert (event.name, event.serial) == ("PROCESS_STATE_FATAL", 7)
    assert (event.program, event.state, event.from_state, event.pid) == ("bad", "FATAL", "BACKOFF", 0)


def test_a_state_may_come_with_its_process() -> None:
    (event,) = EventStream().feed(state_envelope("node", "RUNNING", pid=4711))
    assert (event.program, event.state, event.from_state, event.pid) == ("node", "RUNNING", "STARTING", 4711)


@pytest.mark.parametrize("name", ["TICK_5", "SUPERVISOR_STATE_CHANGE_RUNNING", "PROCESS_GROUP_ADDED"])
def test_an_event_about_something_else_is_about_no_program(name: str) -> None:
    (event,) = EventStream().feed(envelope(name, "processname:node when:5"))
    assert (event.name, event.program) == (name, "")


def test_the_answer_is_ok_and_ready_for_the_next() -> None:
    assert READY == b"READY\n"
    assert DONE == b"RESULT 2\nOKREADY\n"


@pytest.mark.parametrize(
    "data",
    [
        b"READY\n",
        b"\n",
        b"ver:3.0 serial:1 eventname:TICK_5\n",
        b"serial:1 eventname:TICK_5 len:\n",
        b"serial:1 eventname:TICK_5 len:-1\n",
        b"serial:1 eventname:TICK_5 len:1e3\n",
        b"serial:1 eventname:TICK_5 len:99999999\n",
        b"serial:1 eventname:TICK_5 len:" + b"9" * 5000 + b"\n",
        "serial:1 eventname:TICK_5 len:\u0663\n".encode(),
        b"serial:x eventname:TICK_5 len:0\n",
        b"eventname:TICK_5 len:0\n",
        b"x" * 4096,
        b"\xff\xfe" * 3000,
    ],
)
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a header"):
        EventStream().feed(data)


def test_a_body_that_is_not_text_is_taken_for_what_can_be_read() -> None:
    (event,) = EventStream().feed(
        b"serial:1 eventname:PROCESS_STATE_FATAL len:20\nprocessname:node \xff\xff:"
    )
    assert (event.program, event.pid) == ("node", 0)


def test_a_header_is_waited_for() -> None:
    assert EventStream().feed(_FATAL[:40]) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["TICK_5", "PROCESS_STATE_EXITED", "PROCESS_LOG_STDOUT"]),
            st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=60),
        ),
        max_size=6,
    ),
    st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=20),
)
def test_events_are_the_same_however_they_are_cut(sent: list[tuple[str, str]], cuts: list[int]) -> None:
    data = b"".join(envelope(name, body, serial=serial) for serial, (name, body) in enumerate(sent))
    whole = EventStream().feed(data)
    stream = EventStream()
    pieces: list[Event] = []
    position, turn = 0, 0
    while position < len(data):
        size = cuts[turn % len(cuts)]
        pieces += stream.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    assert pieces == whole
    assert [(event.serial, event.name) for event in whole] == [(i, name) for i, (name, _) in enumerate(sent)]


@given(st.binary(max_size=300))
def test_nothing_but_events_and_refusals_comes_of_any_bytes(data: bytes) -> None:
    try:
        events = EventStream().feed(data)
    except ValueError:
        return
    assert all(isinstance(event.serial, int) for event in events)
