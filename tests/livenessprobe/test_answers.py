import sys
import threading
from collections.abc import Iterator

import pytest

from sidecars.livenessprobe.answers import Answers
from tests.support.waiting import wait_until

SECONDS = 60.0


class Room:
    """Answers with its count of questions, or None while `dead`; hangs while `go_on` is clear."""

    def __init__(self) -> None:
        self.questions = 0
        self.dead = False
        self.go_on = threading.Event()
        self.go_on.set()

    def ask(self) -> int | None:
        self.questions += 1
        count = self.questions
        self.go_on.wait(SECONDS)
        return None if self.dead else count


class Clock:
    """Stands, but for what a test adds to it and what is waited for in vain."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return self.ahead


class VainWaits(threading.Condition):
    """A wait for rooms that hang is over at once, and moves the clock by its time-out; any other one is a real one."""

    def __init__(self, clock: Clock, answers: Answers[int], rooms: dict[str, Room]) -> None:
        super().__init__()
        self._clock = clock
        self._answers = answers
        self._rooms = rooms

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        pending = [room for name, room in self._rooms.items() if self._answers.is_pending(name)]
        if any(room.go_on.is_set() for room in pending):
            return super().wait(timeout)
        self._clock.ahead += timeout
        return False


@pytest.fixture
def rooms() -> Iterator[tuple[Room, Room]]:
    made = Room(), Room()
    yield made
    for room in made:
        room.go_on.set()


def answers_of(
    rooms: dict[str, Room], clock: Clock | None = None, *, patience: float = 0.2, lasting: float = 0.0
) -> Answers[int]:
    clock = clock or Clock()
    answers = Answers(
        {name: room.ask for name, room in rooms.items()},
        patience_seconds=patience,
        lasting_seconds=lasting,
        clock=clock,
    )
    answers._condition = VainWaits(clock, answers, rooms)
    return answers


def two(rooms: tuple[Room, Room], clock: Clock | None = None, patience: float = 0.2) -> Answers[int]:
    first, second = rooms
    return answers_of({"first": first, "second": second}, clock, patience=patience)


def test_every_question_is_answered(rooms: tuple[Room, Room]) -> None:
    assert two(rooms).latest() == {"first": 1, "second": 1}


def test_a_fresh_answer_is_not_asked_for_again(rooms: tuple[Room, Room]) -> None:
    clock = Clock()
    answers = two(rooms, clock)
    answers.latest()
    assert answers.latest() == {"first": 1, "second": 1}
    clock.ahead = 1.1
    assert answers.latest() == {"first": 2, "second": 2}


def test_two_that_come_together_ask_once(rooms: tuple[Room, Room]) -> None:
    first, _ = rooms
    answers = Answers(
        {"first": rooms[0].ask, "second": rooms[1].ask}, patience_seconds=SECONDS, clock=Clock()
    )
    first.go_on.clear()
    found: list[dict[str, int | None]] = []
    callers = [threading.Thread(target=lambda: found.append(answers.latest())) for _ in range(5)]
    for caller in callers:
        caller.start()
    wait_until(lambda: first.questions, "the room is asked")
    first.go_on.set()
    for caller in callers:
        caller.join()
    assert found == [{"first": 1, "second": 1}] * 5


def test_a_room_that_hangs_delays_a_page_once_and_no_other_answer(rooms: tuple[Room, Room]) -> None:
    first, _ = rooms
    clock = Clock()
    answers = two(rooms, clock, patience=1.0)
    first.go_on.clear()
    assert answers.latest() == {"first": None, "second": 1}
    assert clock() == pytest.approx(1.0)
    for moment in range(1, 4):
        clock.ahead = 2.0 * moment
        assert answers.latest() == {"first": None, "second": 1 + moment}
        assert clock() == 2.0 * moment
    assert first.questions == 1


def test_rooms_that_hang_together_delay_a_page_no_longer_than_one(rooms: tuple[Room, Room]) -> None:
    for room in rooms:
        room.go_on.clear()
    clock = Clock()
    assert two(rooms, clock, patience=0.5).latest() == {"first": None, "second": None}
    assert clock() == pytest.approx(0.5)


def test_a_room_that_hung_is_waited_for_hardly_at_all_until_it_answers(rooms: tuple[Room, Room]) -> None:
    first, _ = rooms
    clock = Clock()
    answers = two(rooms, clock, patience=0.8)
    first.go_on.clear()
    assert answers.latest()["first"] is None
    # Its question ends without an answer, and the next one hangs again.
    first.dead = True
    first.go_on.set()
    wait_until(lambda: not answers.is_pending("first"), "the question has ended")
    first.go_on.clear()
    clock.ahead = 5.0
    assert answers.latest()["first"] is None
    assert clock() == pytest.approx(5.05)
    # It is well again, and told so.
    first.dead = False
    first.go_on.set()
    wait_until(lambda: not answers.is_pending("first"), "the question has ended")
    assert answers.latest()["first"] == 2
    # So it may take its time again.
    first.go_on.clear()
    clock.ahead = 10.0
    assert answers.latest()["first"] is None
    assert clock() == pytest.approx(10.8)


def waits_for(thread: threading.Thread) -> str:
    """Whose answer the thread waits for; nothing when it waits for none."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code is not Answers._wait.__code__:
        frame = frame.f_back
    return str(frame.f_locals["question"].name) if frame else ""


def test_an_answer_counts_though_another_page_asks_anew_while_the_next_one_is_waited_for(
    rooms: tuple[Room, Room],
) -> None:
    first, second = rooms
    clock = Clock()
    answers = Answers({"first": first.ask, "second": second.ask}, patience_seconds=SECONDS, clock=clock)
    second.go_on.clear()
    found: list[dict[str, int | None]] = []
    page = threading.Thread(target=lambda: found.append(answers.latest()))
    page.start()
    wait_until(lambda: second.questions and not answers.is_pending("first"), "the second is asked")
    wait_until(lambda: waits_for(page) == "second", "the page has the first answer and waits for the second")
    first.go_on.clear()
    clock.ahead = 2.0
    answers.ask()
    wait_until(lambda: first.questions == 2, "the first is asked anew")
    second.go_on.set()
    page.join()
    assert found == [{"first": 1, "second": 1}]


def test_a_room_that_died_is_not_what_it_said_last(rooms: tuple[Room, Room]) -> None:
    first, _ = rooms
    clock = Clock()
    answers = two(rooms, clock)
    assert answers.latest()["first"] == 1
    first.dead = True
    clock.ahead = 2.0
    assert answers.latest() == {"first": None, "second": 2}


def test_a_room_that_hangs_is_not_what_it_said_last(rooms: tuple[Room, Room]) -> None:
    first, _ = rooms
    clock = Clock()
    answers = two(rooms, clock)
    assert answers.latest()["first"] == 1
    first.go_on.clear()
    clock.ahead = 2.0
    assert answers.latest() == {"first": None, "second": 2}


def test_an_answer_that_is_late_may_be_stood_in_for_by_the_one_before_for_a_while(
    rooms: tuple[Room, Room],
) -> None:
    first, _ = rooms
    clock = Clock()
    answers = answers_of({"first": first}, clock, lasting=60.0)
    first.go_on.clear()
    assert answers.latest() == {"first": None}
    first.go_on.set()
    wait_until(lambda: not answers.is_pending("first"), "it has answered")
    first.go_on.clear()
    for ahead in (2.0, 30.0):
        clock.ahead = ahead
        assert answers.latest() == {"first": 1}
    clock.ahead = 70.0
    assert answers.latest() == {"first": None}


def test_no_answer_at_all_is_not_stood_in_for(rooms: tuple[Room, Room]) -> None:
    first, _ = rooms
    clock = Clock()
    answers = Answers({"first": first.ask}, patience_seconds=SECONDS, lasting_seconds=60.0, clock=clock)
    assert answers.latest() == {"first": 1}
    first.dead = True
    clock.ahead = 2.0
    assert answers.latest() == {"first": None}


def test_a_question_that_raises_is_no_answer_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> int:
        raise LookupError("canary")

    assert Answers({"broken": broken}).latest() == {"broken": None}
    assert [record.getMessage() for record in caplog.records] == ["a question for a page failed"]


def test_once_closed_nobody_is_asked(rooms: tuple[Room, Room]) -> None:
    answers = two(rooms)
    answers.close()
    assert answers.latest() == {"first": None, "second": None}
    assert rooms[0].questions == 0


def test_no_questions_are_no_answers() -> None:
    assert Answers[int]({}).latest() == {}
