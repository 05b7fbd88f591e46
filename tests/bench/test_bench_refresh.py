"""The arithmetic of refreshes: from a provider's calls to lateness, ages and a bucket's burst, and what is said of them."""

import dataclasses
import json
import math
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.bench import refresh_provider
from tests.bench.figures import CaseFigures, Ratios, SideFigures
from tests.bench.passes import Case
from tests.bench.refresh_burst import Starts, Together
from tests.bench.refresh_cost import PublishCost
from tests.bench.refresh_figures import (
    answers,
    are_all_answered,
    by_class,
    by_volume,
    gaps,
    lateness,
    most_in,
    needed_burst,
    oldest,
    percentiles,
)
from tests.bench.refresh_found import Load, Republished, Rest, Shared, Storm, Throttled
from tests.bench.refresh_lanes import bucket_rate, carry_on
from tests.bench.refresh_report import NO_API, RefreshReport
from tests.bench.store import Call, Store
from tests.bench.volumes import Content

LOAD = Load(volumes=100, classes=5, interval=10.0, rounds=2)


def call(ended: float, path: str = "a", *, succeeded: bool = True, class_name: str = "one") -> Call:
    return Call(begun=ended - 0.05, ended=ended, target_path=path, class_name=class_name, succeeded=succeeded)


class TestFetches:
    def test_only_what_succeeded_counts_by_volume_or_class(self) -> None:
        calls = [call(1, "a"), call(2, "b"), call(12, "a", succeeded=False), call(13, "a")]
        assert answers(calls, by_volume) == {"a": [1, 13], "b": [2]}
        assert answers(calls, by_class) == {"one": [1, 2, 13]}

    def test_lateness_is_against_the_success_before_and_the_interval(self) -> None:
        fetched = {"a": [0.0, 10.5, 21.0], "b": [3.0, 14.0], "c": [5.0]}
        assert gaps(fetched) == [10.5, 10.5, 11.0]
        assert lateness(fetched, 10.0) == [0.5, 0.5, 1.0]

    def test_the_oldest_content_may_be_what_is_not_fetched_yet(self) -> None:
        fetched = {"a": [0.0, 10.0], "b": [2.0]}
        assert oldest(fetched, until=11.0) == 10.0
        assert oldest(fetched, until=15.0) == 13.0
        assert math.isnan(oldest({}, until=15.0))

    @pytest.mark.parametrize(
        ("times", "since", "answer"), [(1, 0.0, True), (2, 0.0, False), (1, 2.0, False), (1, 1.0, True)]
    )
    def test_a_round_is_over_when_each_was_fetched(self, times: int, since: float, *, answer: bool) -> None:
        calls = [call(1, "a"), call(2, "b"), call(3, "b")]
        assert are_all_answered(calls, by_volume, "ab", times=times, since=since) is answer

    def test_percentiles_are_nearest_ranks(self) -> None:
        found = percentiles(float(number) for number in range(1, 201))
        assert (found.p50, found.p99, found.longest, found.count) == (100.5, 198.0, 200.0, 200)
        assert math.isnan(percentiles([]).p99)


class TestBucket:
    @pytest.mark.parametrize(
        ("begins", "burst"),
        [
            ([], 0.0),
            ([1.0], 1.0),
            ([1.0, 1.0, 1.0], 3.0),
            ([0.0, 0.5, 1.0, 1.5], 1.0),
            ([0.0, 0.0, 0.5], 2.0),
        ],
    )
    def test_the_burst_that_calls_took_at_two_a_second(self, begins: list[float], burst: float) -> None:
        assert needed_burst(begins, 2.0) == burst

    def test_a_rest_fills_it_no_further(self) -> None:
        assert needed_burst([0.0, 1000.0, 1000.0], 2.0) == 2.0

    def test_the_most_in_any_while(self) -> None:
        assert most_in([0.0, 9.0, 9.9, 10.1, 30.0], 10.0) == 3
        assert most_in([], 10.0) == 0

    def test_the_throttled_lane_has_six_times_what_it_needs(self) -> None:
        assert bucket_rate(LOAD) == 60


class TestLanes:
    def test_all_are_carried_on_to_their_own_ends(self) -> None:
        seen: list[str] = []

        def lane(name: str, steps: int) -> Generator[None, None, str]:
            for _ in range(steps):
                seen.append(name)
                yield
            return f"end of {name}"

        assert carry_on([lane("a", 2), lane("b", 1)], []) == ["end of a", "end of b"]
        assert seen == ["a", "b", "a"]


class TestStore:
    def test_what_it_is_told_is_what_the_provider_reads(self, tmp_path: Path) -> None:
        store = Store(str(tmp_path), 0.25)
        store.refuse(0.5)
        store.change()
        orders = json.loads(Path(store.orders).read_text())
        assert orders == {"seconds": 0.25, "generation": 2, "refused": 0.5}

    def test_calls_are_read_as_they_come_and_half_a_line_later(self, tmp_path: Path) -> None:
        store, path = Store(str(tmp_path), 0.0), tmp_path / "calls"
        line = json.dumps([1.0, 2.0, "/a", "one", True]) + "\n"
        path.write_text(line + line[:5])
        assert store.calls() == [Call(1.0, 2.0, "/a", "one", True)]
        path.write_text(line + line)
        assert len(store.calls()) == len(store.calls()) == 2

    @pytest.mark.parametrize("changes", [0, 1])
    def test_a_volume_shows_the_present_content_or_does_not(self, tmp_path: Path, changes: int) -> None:
        store = Store(str(tmp_path), 0.0)
        answer = refresh_provider._answer(1, 64, 1)
        (tmp_path / answer.files[0].path).write_bytes(answer.files[0].contents)
        for _ in range(changes):
            store.change()
        assert store.shows_change(str(tmp_path)) is (changes == 0)

    def test_content_is_the_same_until_it_changes(self) -> None:
        first, second, changed = (refresh_provider._answer(3, 64, n) for n in (1, 1, 2))
        assert first == second
        assert first.object_version[0].version != changed.object_version[0].version


def rest(*, writes: int | None, calls: float) -> Rest:
    return Rest(
        seconds=20.0,
        cpu_per_minute={"node": 1.25, "statussync": 0.25},
        calls_per_interval=calls,
        lateness=percentiles([0.1, 0.2, 0.5]),
        writes=writes,
    )


def cost(*errors: str) -> PublishCost:
    side = SideFigures(
        publish_p50_ms=4.0,
        publish_p99_ms=5.0,
        publishes_per_second=1.0,
        unpublish_p50_ms=1.0,
        unpublish_p99_ms=1.0,
        unpublishes_per_second=1.0,
        cpu_publish_ms=1.0,
        cpu_both_ms=1.0,
        cpu_both_ms_by_process={},
        client_cpu_publish_ms=1.0,
    )
    ratios = Ratios(
        publish_p50=1.05,
        publish_p99=1.0,
        publish_rate=1.0,
        unpublish_p50=1.0,
        unpublish_p99=1.0,
        unpublish_rate=1.0,
        cpu_publish=1.0,
        cpu_both=1.0,
    )
    case = Case(content=Content(files=3, file_bytes=64), in_flight=1, volumes=1)
    return PublishCost(
        figures=CaseFigures(case=case, floor=side, driver=side, ratios=ratios),
        counting_seconds=6e-6,
        errors=list(errors),
    )


def report(*errors: str, writes: int | None = 0, visible: float = 10.5) -> RefreshReport:
    return RefreshReport(
        load=LOAD,
        provider_seconds=0.05,
        has_api=writes is not None,
        storm=Storm(
            rest=rest(writes=writes, calls=100.0),
            visible=percentiles([visible]),
            change_writes=None if writes is None else 100,
            republished=Republished(seconds=12.5, republished=100, calls=100, shortest_gap=10.1),
            errors=[],
        ),
        shared=Shared(rest=rest(writes=None, calls=5.0), errors=[]),
        throttled=Throttled(
            seconds=30.0,
            oldest=15.0,
            calls=400,
            succeeded=200,
            rate=60,
            needed_burst=60.0,
            most=200,
            idle_cpu_per_minute={"node": 0.125, "statussync": 0.25},
            errors=[],
        ),
        starts=Starts(
            pods=100,
            apart=Together(calls=100, most_calls=100, seconds=0.4),
            shared=Together(calls=1, most_calls=2, seconds=0.3),
        ),
        cost=cost(*errors),
    )


class TestReport:
    def test_all_targets_are_met_by_what_is_as_it_should_be(self) -> None:
        assert [target.what for target in report().targets if not target.met] == []

    def test_a_change_that_comes_too_late_is_told(self) -> None:
        found = report(visible=11.1)
        assert [target.value for target in found.targets if not target.met] == [pytest.approx(1.11)]
        assert any(line.endswith("1.11 (over)") for line in found.lines())

    def test_without_an_api_server_nothing_is_said_of_writes(self) -> None:
        found = report(writes=None)
        assert NO_API in found.lines()
        assert not any("writes" in target.what for target in found.targets)
        assert found.document()["at_rest"]["api_writes"] is None

    def test_ratios_are_to_the_interval_and_within_the_run(self) -> None:
        document = json.loads(json.dumps(report().document()))
        assert document["visible"]["p99_ratio"] == 1.05
        assert document["at_rest"]["lateness"]["p99_ratio"] == 0.05
        assert document["throttled"]["oldest_ratio"] == 1.5
        assert document["starts"]["ratio"] == 0.75
        assert document["publish_cost"]["counting_ratio"] == 0.0015

    def test_cpu_is_told_beside_that_of_nothing_to_do(self) -> None:
        assert any(line.split()[-4:] == ["node", "1.25", "1.25", "0.12"] for line in report().lines())

    def test_a_call_that_failed_is_an_error_of_the_report(self) -> None:
        assert report().errors == []
        assert report("refused").errors == ["refused"]


def test_a_class_of_a_series_is_its_own() -> None:
    content = Content(files=3, file_bytes=64)
    names = {dataclasses.replace(content, series=series).class_name for series in ("", "1", "2")}
    assert names == {"bench-3x64", "bench-3x64-1", "bench-3x64-2"}
