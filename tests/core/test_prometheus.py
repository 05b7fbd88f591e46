import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.prometheus import Histogram, counter, format_number, gauge, text
from tests.livenessprobe import metrics_text


def test_families_are_sorted_and_written_with_help_and_type() -> None:
    page = text([gauge("b_bytes", "Bytes.", [({}, 3.0)]), counter("a_total", "Things.", [({"x": "1"}, 2.0)])])
    assert page == (
        "# HELP a_total Things.\n# TYPE a_total counter\n"
        'a_total{x="1"} 2\n'
        "# HELP b_bytes Bytes.\n# TYPE b_bytes gauge\n"
        "b_bytes 3\n"
    )


def test_a_family_without_samples_is_left_out() -> None:
    assert text([gauge("a", "A.", [])]) == ""


def test_a_histograms_buckets_count_everything_up_to_their_bound() -> None:
    histogram = Histogram("h_seconds", "H.", label_names=("code",), bounds=(0.1, 1))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(("OK",), value)
    lines = text([histogram.family()]).splitlines()[2:]
    assert lines == [
        'h_seconds_bucket{code="OK",le="0.1"} 2',
        'h_seconds_bucket{code="OK",le="1"} 3',
        'h_seconds_bucket{code="OK",le="+Inf"} 4',
        'h_seconds_sum{code="OK"} 7.65',
        'h_seconds_count{code="OK"} 4',
    ]


def test_a_histogram_keeps_label_values_apart() -> None:
    histogram = Histogram("h", "H.", label_names=("code",), bounds=(1,))
    histogram.observe(("OK",), 0.5)
    histogram.observe(("Unavailable",), 0.5)
    samples = metrics_text.parse(text([histogram.family()]))
    assert samples["h_count", frozenset({("code", "OK")})] == 1
    assert samples["h_count", frozenset({("code", "Unavailable")})] == 1


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.25, "0.25"),
        (1795495513.5, "1795495513.5"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (2.0**60, "1.152921504606847e+18"),
    ],
)
def test_a_number_is_written_as_the_format_has_it(value: float, written: str) -> None:
    assert format_number(value) == written


@given(st.text(), st.text(), st.floats(allow_nan=False))
def test_whatever_a_label_or_a_help_text_holds_the_page_reads_back(
    label: str, about: str, value: float
) -> None:
    page = text([gauge("a", about, [({"x": label}, value)])])
    assert metrics_text.parse(page) == {("a", frozenset({("x", label)})): value}
