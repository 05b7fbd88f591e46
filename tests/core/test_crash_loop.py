import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.crash_loop import CRITICAL_PROGRAMS, CrashLoops


def test_the_fifth_exit_in_two_minutes_is_a_loop() -> None:
    loops = CrashLoops()
    assert [loops.exited("node", at) for at in (0.0, 30.0, 60.0, 90.0, 120.0)] == [False] * 4 + [True]
    assert loops.exits("node", 120.0) == 5


def test_five_exits_in_more_than_two_minutes_are_none() -> None:
    loops = CrashLoops()
    assert not any(loops.exited("node", at) for at in (0.0, 30.0, 60.0, 90.0, 120.1))


def test_a_program_that_goes_on_ending_stays_in_its_loop() -> None:
    loops = CrashLoops(limit=2, window_seconds=10.0)
    assert [loops.exited("node", at) for at in (0.0, 9.0, 18.0)] == [False, True, True]


def test_a_program_that_stayed_up_for_long_begins_anew() -> None:
    loops = CrashLoops(limit=2, window_seconds=10.0)
    assert [loops.exited("node", at) for at in (0.0, 9.0, 30.0)] == [False, True, False]


def test_exits_of_other_programs_do_not_count() -> None:
    loops = CrashLoops(limit=2)
    assert not loops.exited("node", 1.0)
    assert not loops.exited("registrar", 1.0)
    assert (loops.exits("node", 1.0), loops.exits("statussync", 1.0)) == (1, 0)


def test_exits_leave_the_window_without_another_exit() -> None:
    loops = CrashLoops(window_seconds=10.0)
    loops.exited("node", 0.0)
    assert (loops.exits("node", 10.0), loops.exits("node", 10.1)) == (1, 0)


def test_the_programs_without_which_there_are_no_mounts() -> None:
    assert frozenset({"node", "registrar"}) == CRITICAL_PROGRAMS


@given(
    st.lists(st.floats(min_value=0, max_value=60), min_size=1, max_size=40),
    st.integers(min_value=1, max_value=8),
    st.floats(min_value=0.1, max_value=200),
)
def test_a_loop_is_as_many_exits_as_the_limit_no_further_apart_than_the_window(
    pauses: list[float], limit: int, window: float
) -> None:
    loops = CrashLoops(limit=limit, window_seconds=window)
    times: list[float] = []
    for pause in pauses:
        times.append((times[-1] if times else 0.0) + pause)
        within = sum(time >= times[-1] - window for time in times)
        assert loops.exited("node", times[-1]) is (within >= limit)
        assert loops.exits("node", times[-1]) == within


@pytest.mark.parametrize("limit", [1, 3])
def test_the_limit_is_the_number_of_exits(limit: int) -> None:
    loops = CrashLoops(limit=limit)
    assert [loops.exited("node", 0.0) for _ in range(limit)] == [False] * (limit - 1) + [True]
