"""The metrics page of a running appliance: valid for Prometheus, whole, and right about what happened."""

import os
import re
import signal
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sscsi.cli.errors import CallFailedError
from tests.livenessprobe.metrics_text import Samples, named, parse
from tests.support.appliance_place import AppliancePlace, free_address, new_place
from tests.support.metrics_table import documented
from tests.support.require import require
from tests.support.supervised import Supervised, supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]

# Where the kernel, the container or the node does not give the figure, or nothing has happened that would.
SOMETIMES = {
    "sscsi_container_memory_bytes",
    "sscsi_container_memory_limit_bytes",
    "sscsi_program_proportional_memory_bytes",
    "sscsi_provider_circuit_open",
    "sscsi_provider_healthy",
    "sscsi_refresh_interval_seconds",
}


class Appliance:
    """A running appliance with a metrics page of its own."""

    def __init__(self, supervised_appliance: Supervised, address: str) -> None:
        self.supervised = supervised_appliance
        self.place = supervised_appliance.place
        self._address = address

    def page(self) -> str:
        with urllib.request.urlopen(f"http://{self._address}/metrics", timeout=60) as answer:
            assert answer.status == 200
            return str(answer.read().decode())

    def samples(self) -> Samples:
        return parse(self.page())

    def wait_for(self, name: str, at_least: float, **labels: str) -> None:
        """Return when the metric has that value: figures are a second old at most."""

        def is_there() -> bool:
            samples, wanted = self.samples(), labels.items()
            values = [value for (own, has), value in samples.items() if own == name and has >= set(wanted)]
            return len(values) == 1 and values[0] >= at_least

        wait_until(is_there, f"{name}{labels} is {at_least:g}")

    def wait_for_rooms(self) -> None:
        """Return when the page has figures of every room: whoever is slow to answer is not waited for."""
        for room in ("node", "statussync", "registrar"):
            self.wait_for("sscsi_room_up", 1, room=room)
        for name in ("sscsi_volumes", "sync_k8s_secret_total", "sscsi_registrations_total"):
            wait_until(lambda name=name: f"\n{name}" in self.page(), f"{name} is there")  # type: ignore[misc]


@pytest.fixture(scope="module")
def appliance() -> Iterator[Appliance]:
    require("root")
    address = free_address()
    with new_place() as place, supervised(place, f"--metrics-addr={address}") as running:
        running.wait_running()
        one = Appliance(running, address)
        one.wait_for_rooms()
        yield one


def test_before_any_publish_what_will_be_counted_is_there_with_zero() -> None:
    require("root")
    address = free_address()
    with new_place() as place, supervised(place, f"--metrics-addr={address}") as running:
        one = Appliance(running, address)
        one.wait_for_rooms()
        samples = one.samples()
    for name in (
        "node_publish_total",
        "node_unpublish_total",
        "node_unpublish_error_total",
        "rotation_reconcile_total",
        "rotation_reconcile_duration_sec_count",
        "sync_k8s_secret_total",
        "k8s_secret_duration_sec_count",
        "sscsi_volumes",
        "sscsi_volumes_late",
        "sscsi_sync_problems",
    ):
        assert named(samples, name) == 0, name
    assert named(samples, "node_publish_error_total", error_type="GRPCProviderError", provider="") == 0
    assert named(samples, "sscsi_events_total", result="dropped") == 0


class TestOnePage:
    def test_what_happens_is_counted(self, appliance: Appliance) -> None:
        place = appliance.place
        volume, other = place.write_class("counted"), place.write_class("nowhere", provider="nobody")
        place.kubelet.publish(volume)
        with pytest.raises(CallFailedError):
            place.kubelet.publish(other)
        appliance.wait_for("node_publish_total", 1, provider="file")
        appliance.wait_for("node_publish_error_total", 1, provider="nobody", error_type="GRPCProviderError")
        appliance.wait_for(
            "sscsi_api_writes_total", 1, kind="SecretProviderClassPodStatus", verb="create", result="ok"
        )
        samples = appliance.samples()
        assert named(samples, "sscsi_provider_calls_total", provider="file", result="OK") == 1
        assert named(samples, "sscsi_volumes") == 1
        assert named(samples, "sscsi_class_failing_volumes", namespace="default", **{"class": "counted"}) == 0
        assert 0 <= named(samples, "sscsi_oldest_content_age_seconds", **{"class": "counted"}) < 600
        assert named(samples, "sscsi_registrations_total", result="confirmed") == 1
        stages = {
            dict(labels)["stage"]: number
            for (name, labels), number in samples.items()
            if name == "sscsi_stage_duration_seconds_count" and ("operation", "publish") in labels
        }
        done = ("class", "attach", "provider", "write", "prove", "record")
        assert stages == {**dict.fromkeys(done, 1), "secrets": 0}

        place.kubelet.unpublish(volume)
        appliance.wait_for("node_unpublish_total", 1)
        wait_until(lambda: named(appliance.samples(), "sscsi_volumes") == 0, "the volume is gone")
        assert "counted" not in appliance.page()

    def test_prometheus_own_parser_takes_the_page_and_reads_the_same(self, appliance: Appliance) -> None:
        page = appliance.page()
        found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        names = set()
        for family in text_string_to_metric_families(page):
            assert family.documentation, family.name
            assert family.type in {"counter", "gauge", "histogram"}, family.name
            names.add(family.name)
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in found, key
                found[key] = sample.value
        assert found == parse(page)
        assert len(names) == page.count("# TYPE ")

    def test_the_page_has_what_the_docs_have_and_nothing_else(self, appliance: Appliance) -> None:
        volume = appliance.place.write_class("documented")
        appliance.place.kubelet.publish(volume)
        try:
            appliance.wait_for("sscsi_volumes", 1)
            served = dict(re.findall(r"^# TYPE (\w+) (\w+)$", appliance.page(), re.MULTILINE))
        finally:
            appliance.place.kubelet.unpublish(volume)
        rows = {name: row.kind for name, row in documented().items()}
        assert served.items() <= rows.items()
        assert rows.keys() - served.keys() <= SOMETIMES

    def test_a_room_that_is_halted_fails_no_scrape_and_one_that_is_killed_counts_anew(
        self, appliance: Appliance
    ) -> None:
        pid = appliance.supervised.pid_of("node")
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(
                lambda: named(appliance.samples(), "sscsi_room_up", room="node") == 0, "the room is missed"
            )
            assert named(appliance.samples(), "sscsi_room_up", room="statussync") == 1
        finally:
            os.kill(pid, signal.SIGCONT)
        appliance.wait_for("sscsi_room_up", 1, room="node")
        appliance.supervised.wait_back("node", appliance.supervised.kill("node"))
        appliance.wait_for("sscsi_program_restarts_total", 1, program="node")
        wait_until(lambda: "node_unpublish_total" in appliance.page(), "its figures are there again")


@pytest.fixture
def place() -> Iterator[AppliancePlace]:
    with new_place() as made:
        yield made


def test_with_0_for_the_address_the_health_pages_alone_have_the_metrics(place: AppliancePlace) -> None:
    require("root")
    environ = {**place.environ, "SSCSI_METRICS_ADDR": free_address()}
    with supervised(place, "--metrics-addr=0", environ=environ):
        code, body = place.get("/metrics")
        assert code == 200
        assert "sscsi_room_up" in body
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"http://{environ['SSCSI_METRICS_ADDR']}/metrics", timeout=10)
