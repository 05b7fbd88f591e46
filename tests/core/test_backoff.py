import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.backoff import delays


def test_delays_grow_by_the_factor_up_to_the_longest() -> None:
    series = delays(first_seconds=0.5, factor=2.0, max_seconds=3.0)
    assert list(itertools.islice(series, 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_first_delay_is_not_over_the_longest_either() -> None:
    assert next(delays(first_seconds=9.0, factor=2.0, max_seconds=3.0)) == pytest.approx(3.0)


@given(
    st.floats(min_value=0.001, max_value=10),
    st.floats(min_value=1, max_value=100),
    st.floats(min_value=0.001, max_value=1000),
)
def test_delays_never_shrink_never_pass_the_longest_and_never_end(
    first: float, factor: float, longest: float
) -> None:
    series = list(itertools.islice(delays(first_seconds=first, factor=factor, max_seconds=longest), 1000))
    assert len(series) == 1000
    assert series == sorted(series)
    assert 0 < series[0] <= series[-1] <= longest
