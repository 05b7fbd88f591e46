import pytest

from sscsi.core.provider_labels import ABSENT_PROVIDER_LIMIT, OTHER, PROVIDER_LIMIT, ProviderLabels


def test_who_comes_first_keeps_its_name_and_the_others_are_one() -> None:
    labels = ProviderLabels()
    names = [f"p{number}" for number in range(PROVIDER_LIMIT + 5)]
    assert [labels.label(name) for name in names] == names[:PROVIDER_LIMIT] + [OTHER] * 5
    assert labels.label("p0") == "p0"


def test_names_without_a_socket_leave_room_for_those_that_have_one() -> None:
    labels = ProviderLabels()
    for number in range(1000):
        labels.label(f"nobody{number}", is_absent=True)
    found = [labels.label(f"p{number}") for number in range(PROVIDER_LIMIT - ABSENT_PROVIDER_LIMIT)]
    assert OTHER not in found
    assert labels.label("one-more") == OTHER


@pytest.mark.parametrize("name", ["a/b", "x" * 31, "a b", "é", "\n", "../x"])
def test_what_is_no_name_of_a_provider_is_another(name: str) -> None:
    labels = ProviderLabels()
    assert labels.label(name) == OTHER
    assert labels.label("x" * 30) == "x" * 30


def test_nobody_stays_nobody() -> None:
    assert ProviderLabels().label("") == ""
