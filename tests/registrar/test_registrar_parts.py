"""The pure parts: when to remind and to give up, how long to pause, what is told, which names are taken."""

import itertools
import string
from collections.abc import Callable

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecars.registrar.driver import is_driver_name, kind_of_trouble
from sidecars.registrar.patience import GIVE_UP_SECONDS, REMIND_SECONDS, judge
from sidecars.registrar.pauses import Pauses
from sidecars.registrar.standing import Board, Standing
from sscsi.core.kubernetes_names import is_subdomain
from sscsi.edges.csi_identity import CONNECT_FAILURES
from sscsi.errors import DriverCallError, DriverUnreachableError

START = 1000.0


def test_kubelet_has_ten_seconds_to_ask_before_anything_is_said() -> None:
    verdict = judge(now=START + 4, published_at=START, asked_at=None)
    assert (verdict.reminder, verdict.is_hopeless, verdict.seconds) == ("", False, REMIND_SECONDS - 4)


def test_a_kubelet_that_never_asks_is_spoken_of_and_never_given_up() -> None:
    for seconds in (REMIND_SECONDS, 3600.0):
        verdict = judge(now=START + seconds, published_at=START, asked_at=None)
        assert "has not asked" in verdict.reminder
        assert not verdict.is_hopeless
        assert verdict.seconds > 0


def test_a_kubelet_that_asked_has_as_long_as_its_own_deadlines_to_say_how_it_ended() -> None:
    asked = START + 3600
    soon = judge(now=asked + 1, published_at=START, asked_at=asked)
    assert (soon.reminder, soon.is_hopeless, soon.seconds) == ("", False, REMIND_SECONDS - 1)
    later = judge(now=asked + 60, published_at=START, asked_at=asked)
    assert ("has asked" in later.reminder, later.is_hopeless) == (True, False)
    assert later.seconds == GIVE_UP_SECONDS - 60
    assert judge(now=asked + GIVE_UP_SECONDS, published_at=START, asked_at=asked).is_hopeless


@given(now=st.floats(0, 1e6), published=st.floats(0, 1e6), asked=st.none() | st.floats(0, 1e6))
def test_the_next_look_is_never_in_the_past_and_never_busy(
    now: float, published: float, asked: float | None
) -> None:
    verdict = judge(now=now, published_at=published, asked_at=asked)
    assert verdict.is_hopeless or verdict.seconds > 0


def test_refusals_make_the_pauses_grow_from_1_to_30_seconds() -> None:
    pauses = Pauses()
    assert [pauses.after_refusal(was_confirmed=False) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_confirmation_makes_them_start_from_1_again() -> None:
    pauses = Pauses()
    for _ in range(5):
        pauses.after_refusal(was_confirmed=False)
    assert pauses.after_refusal(was_confirmed=True) == 1
    assert pauses.after_refusal(was_confirmed=False) == 2


def test_a_removed_socket_comes_back_at_once_unless_it_is_removed_at_once() -> None:
    pauses = Pauses()
    assert pauses.after_removal(lived_seconds=0.1) == 0
    assert [pauses.after_removal(lived_seconds=0.1) for _ in range(6)] == [1, 2, 4, 8, 16, 30]
    assert pauses.after_removal(lived_seconds=3600) == 0


def test_a_driver_that_stays_late_is_the_same_trouble_however_long_it_had_and_whatever_it_says() -> None:
    late = DriverCallError("not answered in 1 s", code=grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    mute = DriverUnreachableError("not answered in 2 s", reason="timeout")
    assert kind_of_trouble(late) == kind_of_trouble(mute)
    internal = [DriverCallError(f"at {time} o'clock", code=13) for time in (1, 2)]
    assert kind_of_trouble(internal[0]) == kind_of_trouble(internal[1])


def test_other_trouble_is_told_from_it() -> None:
    kinds = [kind_of_trouble(DriverUnreachableError("", reason=reason)) for reason in CONNECT_FAILURES]
    kinds += [kind_of_trouble(DriverCallError("", code=code)) for code in (2, 12, 13, 14)]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    "name",
    ["secrets-store.csi.k8s.io", "a", "0", "x" * 63, "a.b", "Upper.Case", "a--b"],
)
def test_names_that_kubernetes_registers(name: str) -> None:
    assert is_driver_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "../x", ".hidden", "a.", "-a", "a-", "a..b", "a_b", "a b", "x" * 64, "é", "a\n", "a\0"],
)
def test_names_that_it_does_not(name: str) -> None:
    assert not is_driver_name(name)


@given(st.text(string.ascii_letters + string.digits + "-._/ \n", max_size=70))
def test_a_driver_name_is_what_names_an_object_in_lower_case_and_63_characters(name: str) -> None:
    assert is_driver_name(name) == (is_subdomain(name.lower()) and len(name) <= 63)


def test_what_is_told_follows_the_registration() -> None:
    start = Standing(endpoint="/csi.sock")
    assert start.room_status().state == "waiting for the driver"
    alone = start.without_driver("nobody listens")
    assert alone.room_status().problems == ("nobody listens",)
    published = alone.with_driver("driver", "/reg.sock")
    assert (published.state, published.problem) == ("waiting for kubelet", "")
    registered = published.registered(12.5)
    assert registered.room_status().facts == {
        "driver": "driver",
        "socket": "/reg.sock",
        "endpoint": "/csi.sock",
        "registered_since": "12.500",
        "registrations": "1",
        "last_error": "nobody listens",
        "last_error_time": "",
    }
    assert registered.room_status().problems == ()
    refused = registered.unregistered("kubelet said no")
    again = refused.with_driver("driver", "/reg.sock")
    assert (again.state, again.problem, again.registered_since) == (
        "waiting for kubelet",
        "kubelet said no",
        0.0,
    )
    assert again.registered(13.0).registrations == 2


def test_a_reminder_comes_too_late_for_a_driver_that_was_just_registered() -> None:
    board = Board("/csi.sock")
    board.with_driver("driver", "/reg.sock")
    seen = board.look()
    assert board.remind("kubelet has not asked", seen=seen)
    assert board.look().problem == "kubelet has not asked"
    board.registered(1.0)
    assert not board.remind("kubelet has not asked", seen=seen)
    assert (board.look().state, board.look().problem) == ("registered", "")


def test_a_reminder_turns_a_registered_driver_red_when_kubelet_asked_anew() -> None:
    board = Board("/csi.sock")
    board.registered(1.0)
    assert board.remind("kubelet has asked", seen=board.look())
    assert (board.look().state, board.look().problem) == ("waiting for kubelet", "kubelet has asked")


def test_a_problem_that_was_solved_is_forgotten_and_another_one_is_not() -> None:
    board = Board("/csi.sock")
    board.unregistered("the path is taken")
    board.solved("something else")
    assert board.look().problem == "the path is taken"
    board.solved("the path is taken")
    assert (board.look().problem, board.look().last_error) == ("", "the path is taken")


def test_a_problem_is_never_told_of_a_registered_driver() -> None:
    steps: tuple[Callable[[Standing], Standing], ...] = (
        lambda standing: standing.without_driver("a"),
        lambda standing: standing.with_driver("driver", "/reg.sock"),
        lambda standing: standing.unregistered("b"),
        lambda standing: standing.registered(1.0),
    )
    for order in itertools.product(steps, repeat=4):
        standing = Standing(endpoint="/csi.sock")
        for step in order:
            standing = step(standing)
        is_registered = standing.state == "registered"
        assert is_registered == (standing.registered_since > 0)
        assert not (is_registered and standing.problem)
