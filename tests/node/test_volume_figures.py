from typing import Any

import pytest

from sscsi.core.prometheus import text
from sscsi.node.volume_figures import VolumeFigures, circuit_families, is_due, is_late, volume_families
from tests.livenessprobe.metrics_text import Samples, named, names, parse

NOW = 1_000_000.0


def volume(**changes: Any) -> VolumeFigures:
    values: dict[str, Any] = {
        "namespace": "default",
        "class_name": "app",
        "provider": "vault",
        "success_time": NOW - 30,
        "interval_seconds": 120.0,
        "due_time": NOW + 90,
        "is_failing": False,
    }
    return VolumeFigures(**{**values, **changes})


def page(*volumes: VolumeFigures) -> Samples:
    return parse(text(volume_families(volumes, NOW)))


@pytest.mark.parametrize(
    ("interval", "due_since", "due", "late"),
    [
        (120.0, -1.0, False, False),
        (120.0, 0.0, True, False),
        (120.0, 12.0, True, False),
        (120.0, 12.1, True, True),
        # A tenth of it is less than anybody need care for.
        (10.0, 5.0, True, False),
        (10.0, 5.1, True, True),
        # Whenever kubelet asks, which is no promise that anybody could break.
        (0.0, 1000.0, True, False),
    ],
)
def test_a_volume_is_due_at_its_time_and_late_a_tenth_of_its_interval_after_it(
    interval: float, due_since: float, due: bool, late: bool
) -> None:
    one = volume(interval_seconds=interval, due_time=NOW - due_since)
    assert (is_due(one, NOW), is_late(one, NOW)) == (due, late)
    samples = page(one, volume())
    assert named(samples, "sscsi_volumes") == 2
    assert named(samples, "sscsi_volumes_due") == due
    assert named(samples, "sscsi_volumes_late") == late


def test_what_is_never_due_is_not_due() -> None:
    assert not is_due(volume(due_time=0.0), NOW)


def test_without_volumes_the_numbers_of_them_are_zero_and_no_class_is_there() -> None:
    samples = page()
    assert samples == {
        (name, frozenset()): 0
        for name in ("sscsi_volumes", "sscsi_volumes_due", "sscsi_volumes_late", "sscsi_volumes_failing")
    }


def test_a_class_has_the_oldest_content_and_the_shortest_interval_of_its_volumes() -> None:
    samples = page(
        volume(success_time=NOW - 10, interval_seconds=300.0),
        volume(success_time=NOW - 500, interval_seconds=60.0, is_failing=True),
        volume(success_time=0.0, interval_seconds=0.0),
        volume(namespace="other", success_time=NOW - 7),
    )
    assert named(samples, "sscsi_oldest_content_age_seconds", namespace="default", **{"class": "app"}) == 500
    assert named(samples, "sscsi_oldest_content_age_seconds", namespace="other", **{"class": "app"}) == 7
    assert named(samples, "sscsi_refresh_interval_seconds", namespace="default") == 60
    assert named(samples, "sscsi_class_failing_volumes", namespace="default") == 1
    assert named(samples, "sscsi_class_failing_volumes", namespace="other") == 0
    assert named(samples, "sscsi_volumes_failing") == 1
    assert named(samples, "sscsi_provider_volumes", provider="vault") == 4


def test_what_nobody_knows_is_absent() -> None:
    found = names(page(volume(success_time=0.0, interval_seconds=-1.0)))
    assert not found & {"sscsi_oldest_content_age_seconds", "sscsi_refresh_interval_seconds"}


def test_an_age_is_not_negative_when_the_clock_was_set_back() -> None:
    assert named(page(volume(success_time=NOW + 50)), "sscsi_oldest_content_age_seconds") == 0


def test_each_providers_circuit_is_told() -> None:
    samples = parse(text(circuit_families({"vault": True, "aws": False})))
    assert named(samples, "sscsi_provider_circuit_open", provider="vault") == 1
    assert named(samples, "sscsi_provider_circuit_open", provider="aws") == 0
