"""The arithmetic between passes and verdicts."""

import math

import pytest

from tests.bench.figures import Target, case_figures, targets
from tests.bench.kubelet_client import Timings
from tests.bench.passes import Case, Operation, Pass
from tests.bench.volumes import Content

CASE = Case(content=Content(files=3, file_bytes=64), in_flight=1, volumes=2)


def operation(*seconds: float, cpu: float = 1.0, second_process: float = 0.0) -> Operation:
    return Operation(
        timings=Timings(seconds=list(seconds), wall_seconds=sum(seconds) or 1.0),
        cpu_seconds={"node": cpu, "statussync": second_process},
        volumes=2,
    )


def one_pass(publish: Operation, unpublish: Operation | None = None) -> Pass:
    return Pass(publish=publish, unpublish=unpublish or operation(0.001, 0.001))


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The second round ran on a machine ten times slower, for both sides.
    pairs = [
        (one_pass(operation(0.010, 0.010)), one_pass(operation(0.011, 0.011))),
        (one_pass(operation(0.100, 0.100)), one_pass(operation(0.120, 0.120))),
        (one_pass(operation(0.010, 0.010)), one_pass(operation(0.013, 0.013))),
    ]
    assert case_figures(CASE, pairs).ratios.publish_p50 == pytest.approx(1.2)


def test_a_driver_of_half_the_rate_has_a_ratio_of_two() -> None:
    pairs = [(one_pass(operation(0.010, 0.010)), one_pass(operation(0.020, 0.020)))]
    assert case_figures(CASE, pairs).ratios.publish_rate == pytest.approx(2.0)


def test_cpu_is_that_of_all_processes_of_the_driver_for_one_volume() -> None:
    publish = operation(0.01, 0.01, cpu=0.010, second_process=0.004)
    unpublish = operation(0.01, 0.01, cpu=0.002, second_process=0.0)
    driver = case_figures(CASE, [(one_pass(publish, unpublish), one_pass(publish, unpublish))]).driver
    assert driver.cpu_publish_ms == pytest.approx(7.0)
    assert driver.cpu_both_ms == pytest.approx(8.0)
    assert driver.cpu_both_ms_by_process == pytest.approx({"node": 6.0, "statussync": 2.0})


def test_the_99th_percentile_is_of_all_rounds_together() -> None:
    quick = one_pass(operation(*[0.001] * 100))
    slow = one_pass(operation(*[0.001] * 97, *[0.5] * 3))
    figures = case_figures(CASE, [(quick, quick), (quick, slow)])
    assert figures.floor.publish_p99_ms == pytest.approx(1.0)
    assert figures.driver.publish_p99_ms == pytest.approx(500.0)


def test_a_pass_without_a_success_has_no_latency_and_no_rate() -> None:
    good, bad = one_pass(operation(0.01, 0.01)), one_pass(operation())
    figures = case_figures(CASE, [(good, bad)])
    assert math.isnan(figures.driver.publish_p50_ms)
    assert math.isnan(figures.driver.publishes_per_second)
    assert not any(target.met for target in targets([figures]) if target.what.startswith("publish p50"))


@pytest.mark.parametrize(("ratio", "met"), [(1.0, True), (1.3, True), (1.31, False), (math.nan, False)])
def test_a_target_is_met_up_to_its_limit(ratio: float, met: bool) -> None:
    assert Target(what="publish p50", ratio=ratio).met is met
