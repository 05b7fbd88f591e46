"""The loop itself, in this process and on pipes."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import pytest

from sidecars.watchdog.events import DONE, READY, Event
from sidecars.watchdog.listener import Listener
from tests.watchdog.supervisord_words import envelope


class Heard:
    """A room that remembers what it heard, and what had been answered by then."""

    def __init__(self) -> None:
        self.is_stopping = False
        self.noted: list[str] = []
        self.gone_on: list[str] = []
        self.on_note: Callable[[], None] = lambda: None

    def note(self, event: Event) -> None:
        self.noted.append(event.name)
        self.on_note()

    def go_on(self, event: Event) -> None:
        self.gone_on.append(event.name)


class Pipes:
    """Both of supervisord's pipes."""

    def __init__(self) -> None:
        self.stdin, self.events = os.pipe()
        self.answers, self.stdout = os.pipe()

    def close(self, *descriptors: int) -> None:
        for descriptor in descriptors or (self.stdin, self.events, self.answers, self.stdout):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


def listen(pipes: Pipes, room: Heard, stop: threading.Event) -> int:
    listener = Listener(stop, stdin=pipes.stdin, stdout=pipes.stdout)
    listener.say_ready()
    return listener.listen(room)


def test_each_event_is_answered_and_then_followed_up(pipes: Pipes) -> None:
    room = Heard()
    os.write(pipes.events, envelope("TICK_5") + envelope("SUPERVISOR_STATE_CHANGE_STOPPING", serial=1))
    pipes.close(pipes.events)
    assert listen(pipes, room, threading.Event()) == 1
    assert room.noted == room.gone_on == ["TICK_5", "SUPERVISOR_STATE_CHANGE_STOPPING"]
    assert os.read(pipes.answers, 1000) == READY + DONE * 2


def test_the_end_of_events_is_code_0_while_supervisord_stops(pipes: Pipes) -> None:
    room = Heard()
    room.is_stopping = True
    pipes.close(pipes.events)
    assert listen(pipes, room, threading.Event()) == 0


@pytest.mark.parametrize("data", [b"hello\n", b"x" * 5000])
def test_what_is_no_event_ends_it_with_code_1_unanswered(pipes: Pipes, data: bytes) -> None:
    room = Heard()
    os.write(pipes.events, data)
    assert listen(pipes, room, threading.Event()) == 1
    assert os.read(pipes.answers, 1000) == READY


def test_it_stops_while_it_reads(pipes: Pipes) -> None:
    stop = threading.Event()
    with futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(listen, pipes, Heard(), stop)
        assert os.read(pipes.answers, 100) == READY
        os.write(pipes.events, envelope("TICK_5")[:30])
        stop.set()
        assert future.result(10) == 0


def test_it_stops_when_it_was_asked_to_before_it_began(pipes: Pipes) -> None:
    stop = threading.Event()
    stop.set()
    os.write(pipes.events, envelope("TICK_5"))
    room = Heard()
    assert listen(pipes, room, stop) == 0


def test_an_answer_that_nobody_takes_ends_it_with_code_1(pipes: Pipes) -> None:
    room = Heard()
    room.on_note = lambda: pipes.close(pipes.answers)
    os.write(pipes.events, envelope("TICK_5"))
    assert listen(pipes, room, threading.Event()) == 1
    assert room.gone_on == []


def test_a_failure_of_the_room_is_not_taken_for_supervisords(pipes: Pipes) -> None:
    room = Heard()

    def fail() -> None:
        raise ValueError("the room's own")

    room.on_note = fail
    os.write(pipes.events, envelope("TICK_5"))
    threads = threading.active_count()
    with pytest.raises(ValueError, match="the room's own"):
        listen(pipes, room, threading.Event())
    assert threading.active_count() == threads


def test_no_descriptor_is_left_open(pipes: Pipes) -> None:
    before = os.listdir("/proc/self/fd")
    room = Heard()
    pipes.close(pipes.events)
    listen(pipes, room, threading.Event())
    assert len(os.listdir("/proc/self/fd")) == len(before) - 1


def test_without_a_stdin_it_is_not_ready(pipes: Pipes) -> None:
    pipes.close(pipes.stdin)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Listener(threading.Event(), stdin=pipes.stdin, stdout=pipes.stdout).say_ready()
