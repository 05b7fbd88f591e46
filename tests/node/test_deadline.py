import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.node.deadline import Deadline


@pytest.mark.parametrize(
    ("remaining", "limit", "expected"),
    [
        (120, 100, 100),
        (120, 1000, 115),
        (60, 100, 55),
        (11, 100, 6),
        # Of a short deadline half is left, so that something is tried at all.
        (8, 100, 4),
        (1, 100, 0.5),
        (0, 100, 0),
        (-5, 100, 0),
    ],
)
def test_others_get_the_limit_or_what_the_caller_leaves_less_five_seconds(
    remaining: float, limit: float, expected: float
) -> None:
    assert Deadline(remaining).for_others(limit) == pytest.approx(expected, abs=0.2)


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_others_never_get_more_than_the_limit_nor_all_of_the_callers_time(
    remaining: float, limit: float
) -> None:
    seconds = Deadline(remaining).for_others(limit)
    assert 0 <= seconds <= limit
    assert seconds <= max(remaining - 5, remaining / 2)


@pytest.mark.parametrize(("remaining", "expected"), [(60.0, 55), (None, 115), (9.2e9, 115)])
def test_a_caller_without_a_deadline_is_given_kubelets(remaining: float | None, expected: float) -> None:
    class Context:
        def time_remaining(self) -> float | None:
            return remaining

    deadline = Deadline.of(Context())  # type: ignore[arg-type]
    assert deadline.for_others(1000) == pytest.approx(expected, abs=0.2)
