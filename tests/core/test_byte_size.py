import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.byte_size import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4194304", 4194304),
        ("64Mi", 64 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("0.1Ki", 102),
        ("96Ki", 96 * 1024),
        ("2Ti", 2**41),
        ("200M", 200_000_000),
        ("5k", 5000),
        ("1G", 10**9),
        ("1T", 10**12),
        ("0064Mi", 64 * 2**20),
    ],
)
def test_a_size_is_read_as_kubernetes_reads_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mi",
        "-1",
        "+1",
        "64 Mi",
        " 64Mi",
        "64mi",
        "64MiB",
        "64MB",
        "64K",
        "1e6",
        "100m",
        ".5Gi",
        "1.Gi",
        "1,5Gi",
        "٣Mi",
    ],
)
def test_what_is_no_size_is_named_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write it like 64Mi") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1Ki"),
        (96 * 2**20, "96Mi"),
        (3 * 2**29, "1.5Gi"),
        (81_368_900, "77.6Mi"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_that_it_reaches(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(min_value=0, max_value=2**45))
def test_what_is_shown_reads_as_the_size_to_a_decimal_of_its_unit(size: int) -> None:
    assert abs(parse_size(format_size(size)) - size) <= max(1, 0.05 * 1.001 * max(size, 1))


@given(st.integers(min_value=0, max_value=2**40), st.sampled_from(["Ki", "Mi", "Gi"]))
def test_a_unit_is_a_factor(number: int, unit: str) -> None:
    factor = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}[unit]
    assert parse_size(f"{number}{unit}") == number * factor == parse_size(f"{number}.0{unit}")
