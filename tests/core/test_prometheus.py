import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sscsi.core.prometheus import UPSTREAM_BOUNDS, Counter, Histogram, counter, format_number, gauge, text
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


def test_upstreams_bounds_are_eleven_steps_from_a_tenth_to_two() -> None:
    rounded = [round(bound, 6) for bound in UPSTREAM_BOUNDS]
    # As the reference has them (upstream-driver, 8.1).
    assert rounded == [
        0.1,
        0.134928,
        0.182056,
        0.245646,
        0.331445,
        0.447214,
        0.603418,
        0.814181,
        1.098561,
        1.482269,
        2,
    ]


class TestWhatIsKept:
    def test_a_counter_without_labels_is_there_with_zero_when_it_is_told_so(self) -> None:
        counted = Counter("a_total", "A.")
        assert counted.family().samples == []
        counted.zero()
        assert text([counted.family()]).splitlines()[-1] == "a_total 0"
        counted.add()
        counted.add(n=2.5)
        counted.zero()
        assert text([counted.family()]).splitlines()[-1] == "a_total 3.5"

    def test_a_counter_keeps_label_values_apart_and_shows_the_constant_ones_behind_them(self) -> None:
        counted = Counter("a_total", "A.", label_names=("x", "y"), const={"os": "linux"})
        counted.zero(("1", "2"))
        counted.add(("1", "1"))
        assert text([counted.family()]).splitlines()[2:] == [
            'a_total{x="1",y="1",os="linux"} 1',
            'a_total{x="1",y="2",os="linux"} 0',
        ]

    def test_a_histogram_is_there_with_zeros_when_it_is_told_so(self) -> None:
        histogram = Histogram("h", "H.", bounds=(1,), const={"os": "linux"})
        assert histogram.family().samples == []
        histogram.zero()
        empty = ['h_bucket{os="linux",le="1"} 0', 'h_bucket{os="linux",le="+Inf"} 0']
        assert text([histogram.family()]).splitlines()[2:] == [
            *empty,
            'h_sum{os="linux"} 0',
            'h_count{os="linux"} 0',
        ]
        histogram.observe((), 3)
        histogram.zero()
        assert text([histogram.family()]).splitlines()[-2:] == [
            'h_sum{os="linux"} 3',
            'h_count{os="linux"} 1',
        ]


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


@given(st.text(), st.text(), st.floats(allow_nan=False))
def test_prometheus_own_parser_reads_the_same(label: str, about: str, value: float) -> None:
    histogram = Histogram("h_seconds", about, label_names=("x",), bounds=(0.1, 1))
    histogram.observe((label,), 0.5)
    page = text([gauge("a", about, [({"x": label}, value)]), histogram.family()])
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert [(sample.labels, sample.value) for sample in families["a"].samples] == [({"x": label}, value)]
    assert families["h_seconds"].type == "histogram"
    assert [sample.value for sample in families["h_seconds"].samples] == [0, 1, 1, 0.5, 1]
