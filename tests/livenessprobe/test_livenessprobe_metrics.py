"""Table B4 of the sidecars reference: the metrics of the calls, and where they are served; then our own."""

import dataclasses
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from sscsi.core.watchdog_state import ContainerMemory, ProgramState, WatchdogState, to_json
from tests.livenessprobe.fake_driver import NAME, FakeDriver, fails, serving
from tests.livenessprobe.metrics_text import Samples, named, names, parse
from tests.livenessprobe.program import Ours, Place, Running, Subject, free_address, get, metrics, running
from tests.support.waiting import wait_until

OPERATIONS = "csi_sidecar_operations_seconds"
PROBE = "/csi.v1.Identity/Probe"
GET_PLUGIN_INFO = "/csi.v1.Identity/GetPluginInfo"
BOUNDS = ["0.1", "0.25", "0.5", "1", "2.5", "5", "10", "15", "25", "50", "120", "300", "600", "+Inf"]
HELP = "[ALPHA] Container Storage Interface operation duration with gRPC error code status total"
FAILURES = "sscsi_livenessprobe_connect_failures_total"


def flags(place: Place, address: str) -> tuple[str, ...]:
    return f"--csi-address={place.driver}", f"--http-endpoint={address}", "--probe-timeout=2s"


def counted(samples: Samples, method: str, code: str = "OK", driver: str = NAME) -> float:
    """The calls counted; 0 when there is no such series."""
    labels = {("method_name", method), ("grpc_status_code", code), ("driver_name", driver)}
    return samples.get((f"{OPERATIONS}_count", frozenset(labels)), 0)


def test_each_probe_is_counted_with_the_drivers_name_its_method_and_its_code(
    subject: Subject, place: Place
) -> None:
    address = free_address()
    driver = FakeDriver()
    with serving(driver, place.driver), running(subject, place, *flags(place, address)) as program:
        program.listens(address)
        wait_until(
            lambda: counted(metrics(address), GET_PLUGIN_INFO, driver="unknown-driver"), "the name is asked"
        )
        for _ in range(3):
            assert get(address, "/healthz").status == 200
        driver.probe = fails(grpc.StatusCode.FAILED_PRECONDITION, "x")
        assert get(address, "/healthz").status == 500
        driver.probe = driver.hang
        assert get(address, "/healthz").status == 500
        samples = metrics(address)
    assert counted(samples, PROBE) == 3
    assert counted(samples, PROBE, "FailedPrecondition") == 1
    assert counted(samples, PROBE, "DeadlineExceeded") == 1
    # The question for the name keeps the label that it had.
    assert counted(samples, GET_PLUGIN_INFO, driver="unknown-driver") == 1


def test_the_histogram_has_upstreams_help_type_and_buckets(subject: Subject, place: Place) -> None:
    address = free_address()
    with serving(FakeDriver(), place.driver), running(subject, place, *flags(place, address)) as program:
        program.listens(address)
        get(address, "/healthz")
        text = get(address, "/metrics").body
    assert f"# HELP {OPERATIONS} {HELP}\n# TYPE {OPERATIONS} histogram\n" in text
    of_probe = [line for line in text.splitlines() if "_bucket" in line and PROBE in line]
    assert [re.findall('le="(.*?)"', line) for line in of_probe] == [[bound] for bound in BOUNDS]
    assert all(line.endswith(" 1") for line in of_probe)


def test_the_page_tells_when_the_process_began(subject: Subject, place: Place) -> None:
    address = free_address()
    before = time.time()
    with serving(FakeDriver(), place.driver), running(subject, place, *flags(place, address)) as program:
        program.listens(address)
        answer = get(address, "/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    began = named(parse(answer.body), "process_start_time_seconds")
    assert before - 2 < began < time.time() + 2
    assert int(answer.headers["Process-Start-Time-Unix"]) == int(began)


def test_a_driver_that_is_not_there_is_no_call_for_either_and_a_failure_to_connect_for_us(
    subject: Subject, place: Place
) -> None:
    address = free_address()
    with running(subject, place, *flags(place, address)) as program:
        with serving(FakeDriver(), place.driver):
            program.listens(address)
            assert get(address, "/healthz").status == 200
            wait_until(lambda: NAME in get(address, "/metrics").body, "the name is known")
            before = counted(metrics(address), PROBE)
        get(address, "/healthz")
        get(address, "/healthz")
        samples = metrics(address)
        assert counted(samples, PROBE) == before
        if subject.is_ours:
            assert named(samples, FAILURES, reason="missing", driver_name=NAME) == 2
            assert named(samples, FAILURES, reason="refused", driver_name=NAME) == 0
        else:
            assert FAILURES not in names(samples)


@pytest.mark.parametrize(
    ("places", "health", "own"),
    [
        ("--http-endpoint={health}", "/metrics", ""),
        ("--http-endpoint={health} --metrics-path=/m", "/m", ""),
        ("--health-port={port} --metrics-address={own}", "", "/metrics"),
        ("--health-port={port} --metrics-address={own} --metrics-path=/a/b", "", "/a/b"),
        ("--health-port={port}", "", ""),
    ],
)
def test_the_metrics_are_where_upstream_has_them(
    subject: Subject, place: Place, places: str, health: str, own: str
) -> None:
    addresses = {"health": free_address(), "own": free_address()}
    port = addresses["health"].rpartition(":")[2]
    arguments = places.format(port=port, **addresses).split()
    with (
        serving(FakeDriver(), place.driver),
        running(subject, place, f"--csi-address={place.driver}", *arguments) as program,
    ):
        program.listens(addresses["health"])
        assert get(addresses["health"], "/healthz").status == 200
        assert get(addresses["health"], health or "/metrics").status == (200 if health else 404)
        if health != "/metrics":
            assert get(addresses["health"], "/metrics").status == 404
        if own:
            program.listens(addresses["own"])
            assert OPERATIONS in get(addresses["own"], own).body
            assert get(addresses["own"], "/healthz").status == 404


def test_the_appliances_own_listener_has_the_metrics_and_nothing_else(ours: Ours, place: Place) -> None:
    health, own = free_address(), free_address()
    with running(
        ours, place, f"--appliance-metrics-address={own}", *flags(place, health), "--metrics-path=/m"
    ) as program:
        program.listens(health)
        program.listens(own)
        assert names(metrics(own, "/m")) == names(metrics(health, "/m"))
        for path in ("/healthz", "/livez", "/readyz", "/metrics", "/"):
            assert get(own, path).status == 404


def test_without_health_pages_the_metrics_are_alone(ours: Ours, place: Place) -> None:
    own = free_address()
    environ = {"SSCSI_HEALTH_ENDPOINT": "off", "SSCSI_METRICS_ADDR": own}
    with running(ours, place, f"--csi-address={place.driver}", environ=environ) as program:
        program.listens(own)
        assert get(own, "/metrics").status == 200
        assert get(own, "/healthz").status == 404


def test_standing_alone_there_is_no_word_of_the_appliance(ours: Ours, place: Place) -> None:
    address = free_address()
    with running(ours, place, *flags(place, address)) as program:
        program.listens(address)
        found = names(metrics(address))
    assert found - {f"{OPERATIONS}{suffix}" for suffix in ("_bucket", "_sum", "_count")} == {
        "process_start_time_seconds",
        FAILURES,
    }


def program_state(**changes: Any) -> ProgramState:
    values: dict[str, Any] = {
        "state": "RUNNING",
        "pid": 14,
        "start_time": 1795495500.5,
        "restarts": 2,
        "rss_bytes": 30_000_000,
        "pss_bytes": 12_000_000,
        "cpu_seconds": 1.25,
        "memory_budget_bytes": 100_000_000,
        "over_budget_restarts": 1,
        "last_exit_time": 1795495400.0,
    }
    return ProgramState(**{**values, **changes})


def watchdog_state(*, age: float = 0.0, container: ContainerMemory | None = None) -> WatchdogState:
    stopped = program_state(
        state="FATAL",
        pid=0,
        start_time=0.0,
        rss_bytes=0,
        pss_bytes=None,
        cpu_seconds=0.0,
        memory_budget_bytes=None,
    )
    programs = {"node": program_state(), "statussync": stopped, "registrar": program_state(pss_bytes=None)}
    return WatchdogState(
        time=time.time() - age, pid=9, supervisor_pid=1, programs=programs, container=container
    )


def write(place: Place, data: str | bytes) -> None:
    with open(place.watchdog_file, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


@pytest.fixture
def appliance(ours: Ours, place: Place) -> Iterator[Running]:
    with running(ours, place, f"--run-dir={place.run}", "--http-endpoint=127.0.0.1:0") as program:
        yield program


def test_each_programs_figures_are_the_watchdogs(place: Place, appliance: Running) -> None:
    write(place, to_json(watchdog_state(age=3.0, container=ContainerMemory(current_bytes=5, max_bytes=7))))
    samples = metrics(appliance.address())
    assert named(samples, "sscsi_watchdog_up") == 1
    assert 3.0 <= named(samples, "sscsi_watchdog_age_seconds") < 30.0
    assert named(samples, "sscsi_program_state", program="node", state="RUNNING") == 1
    assert named(samples, "sscsi_program_state", program="node", state="FATAL") == 0
    assert named(samples, "sscsi_program_state", program="statussync", state="FATAL") == 1
    assert named(samples, "sscsi_program_restarts_total", program="node") == 2
    assert named(samples, "sscsi_program_over_budget_restarts_total", program="node") == 1
    assert named(samples, "sscsi_program_start_time_seconds", program="node") == 1795495500.5
    assert named(samples, "sscsi_program_resident_memory_bytes", program="node") == 30_000_000
    assert named(samples, "sscsi_program_proportional_memory_bytes", program="node") == 12_000_000
    assert named(samples, "sscsi_program_memory_budget_bytes", program="node") == 100_000_000
    assert named(samples, "sscsi_program_cpu_seconds_total", program="node") == 1.25
    assert named(samples, "sscsi_container_memory_bytes") == 5
    assert named(samples, "sscsi_container_memory_limit_bytes") == 7


def test_what_is_not_known_of_a_program_is_no_sample(place: Place, appliance: Running) -> None:
    write(place, to_json(watchdog_state()))
    samples = metrics(appliance.address())
    figures = {name for name, labels in samples if ("program", "statussync") in labels}
    assert figures == {
        "sscsi_program_state",
        "sscsi_program_restarts_total",
        "sscsi_program_over_budget_restarts_total",
    }
    assert ("sscsi_program_proportional_memory_bytes", frozenset({("program", "registrar")})) not in samples
    assert "sscsi_container_memory_bytes" not in names(samples)


@pytest.mark.parametrize("age", [3600.0, -3600.0])
def test_figures_of_another_time_are_not_served_as_present_ones(
    place: Place, appliance: Running, age: float
) -> None:
    memory = ContainerMemory(current_bytes=5, max_bytes=7)
    write(place, to_json(watchdog_state(age=age, container=memory)))
    samples = metrics(appliance.address())
    assert named(samples, "sscsi_watchdog_up") == 0
    assert abs(named(samples, "sscsi_watchdog_age_seconds") - age) < 60.0
    assert not [name for name in names(samples) if name.startswith(("sscsi_program_", "sscsi_container_"))]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"version": 2}',
        b"[" * 100_000,
        json.dumps(
            {"version": 1, "time": 1, "pid": 1, "supervisor_pid": 1, "programs": {"node": 3}}
        ).encode(),
    ],
)
def test_a_broken_file_fails_no_scrape(place: Place, appliance: Running, data: bytes) -> None:
    write(place, data)
    samples = metrics(appliance.address())
    assert named(samples, "sscsi_watchdog_up") == 0
    assert "sscsi_program_state" not in names(samples)
    assert "sscsi_watchdog_age_seconds" not in names(samples)


def test_a_number_out_of_reach_fails_no_scrape(place: Place, appliance: Running) -> None:
    programs = {"node": program_state(rss_bytes=10**400)}
    write(place, to_json(dataclasses.replace(watchdog_state(), programs=programs)))
    assert named(metrics(appliance.address()), "sscsi_watchdog_up") == 0


def test_a_missing_file_or_a_pipe_in_its_place_fails_no_scrape(place: Place, appliance: Running) -> None:
    assert named(metrics(appliance.address()), "sscsi_watchdog_up") == 0
    os.mkfifo(place.watchdog_file)
    assert named(metrics(appliance.address()), "sscsi_watchdog_up") == 0


def test_a_missing_file_is_one_log_line_and_its_coming_another(place: Place, appliance: Running) -> None:
    for _ in range(3):
        metrics(appliance.address())
    write(place, to_json(watchdog_state()))
    for _ in range(3):
        metrics(appliance.address())
    assert appliance.log.count("no figures of the programs") == 1
    assert appliance.log.count("figures of the programs again") == 1
