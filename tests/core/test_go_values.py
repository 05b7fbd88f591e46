import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.go_values import format_duration, parse_bool, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("5s", 5.0),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("1h1m1.5s", 3661.5),
        ("100ms", 0.1),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("250μs", 0.00025),
        ("7ns", 7e-9),
        ("+5s", 5.0),
        ("-1.5m", -90.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("30m1h", 5400.0),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "+",
        "5",
        "5 s",
        " 5s",
        "5s ",
        "s",
        ".s",
        "5d",
        "5S",
        "--5s",
        "+-5s",
        "1e3s",
        "1,5s",
        "1_000s",
        "٣s",
        "inf",
        "nan",
        "300000000h",
        "9" * 400 + "h",
    ],
)
def test_what_go_refuses_as_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it like 90s, 2m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1.0, "1s"),
        (90.0, "1m30s"),
        (120.0, "2m"),
        (5400.0, "1h30m"),
        (3600.0, "1h"),
        (3661.5, "1h1m1.5s"),
        (-5.0, "-5s"),
        (3600.0 * 1_000_000, "1000000h"),
    ],
)
def test_durations_are_written_shortly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_a_written_duration_of_whole_milliseconds_reads_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=5e-4)


@given(st.text(alphabet="0123456789.hmsnuµ+-e ", max_size=12))
def test_any_text_is_a_finite_duration_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert abs(seconds) < 2**63 / 1e9


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_go_truths(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_go_falsehoods(text: str) -> None:
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", "yes", "no", "on", "tRUE", " true", "2"])
def test_what_go_refuses_as_a_boolean_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a boolean; write true or false"):
        parse_bool(text)
