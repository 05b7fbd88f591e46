"""The providers' health check, on the Providers port in memory and over sockets."""

import contextlib
import logging
import threading
from collections.abc import Iterator

import grpc
import pytest

from sscsi.core import log_keys
from sscsi.edges.provider_sockets import ProviderSockets
from sscsi.errors import ConfigError, ProviderCallError
from sscsi.node import config as node_config
from sscsi.node.provider_health import ProviderHealth
from sscsi.pb import sscsi_pb2
from sscsi.ports import ProviderVersion
from tests.fakes.fake_provider import FakeProvider, serving
from tests.fakes.fake_providers import FakeProviders
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import room_in_process
from tests.support.waiting import wait_until

AWAY = ProviderCallError("rpc error: code = Unavailable desc = away", code=14)


def told(version: str = "1", name: str = "provider") -> ProviderVersion:
    return ProviderVersion(runtime_name=name, runtime_version=version)


@pytest.fixture
def providers() -> FakeProviders:
    made = FakeProviders()
    made.versions = {"aws": told("1.0", "aws-provider"), "vault": AWAY}
    return made


@pytest.fixture
def health(providers: FakeProviders, caplog: pytest.LogCaptureFixture) -> ProviderHealth:
    caplog.set_level(logging.INFO)
    return ProviderHealth(providers, interval_seconds=60)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, object]]:
    """What was logged since the last look: message, provider, version or error."""
    found = [
        (
            record.message,
            record.__dict__[log_keys.PROVIDER],
            record.__dict__.get(log_keys.STATE, record.__dict__.get(log_keys.ERROR)),
        )
        for record in caplog.records
    ]
    caplog.clear()
    return found


def test_what_was_found_is_told(health: ProviderHealth) -> None:
    assert (health.facts(), health.problems(), health.states()) == ({}, [], {})
    health.check()
    assert health.states() == {"aws": True, "vault": False}
    assert health.facts() == {
        "providers_that_answer": "aws",
        "providers_that_do_not_answer": "vault",
        "provider_versions": "aws=aws-provider 1.0",
    }
    assert health.problems() == [
        "provider vault does not answer: rpc error: code = Unavailable desc = away",
    ]


def test_only_changes_are_logged(
    health: ProviderHealth, providers: FakeProviders, caplog: pytest.LogCaptureFixture
) -> None:
    health.check()
    silent, answers = "a provider does not answer", "a provider answers"
    first = sorted(lines(caplog))
    assert first == [(answers, "aws", "aws-provider 1.0"), (silent, "vault", str(AWAY))]
    health.check()
    providers.versions["vault"] = ProviderCallError("rpc error: code = Internal desc = else", code=13)
    health.check()
    assert lines(caplog) == []
    assert health.found()["vault"].error.endswith("else")
    providers.versions |= {"vault": told("2"), "aws": told("1.1", "aws-provider")}
    health.check()
    assert sorted(lines(caplog)) == [
        ("a provider answers", "vault", "provider 2"),
        ("a provider has another version", "aws", "aws-provider 1.1"),
    ]
    providers.versions["aws"] = AWAY
    health.check()
    assert lines(caplog) == [(silent, "aws", str(AWAY))]


def test_since_is_when_it_began_or_ceased_to_answer(health: ProviderHealth, providers: FakeProviders) -> None:
    health.check()
    began = health.found()["aws"].since
    providers.versions["aws"] = told("2")
    health.check()
    assert (health.found()["aws"].since, health.found()["aws"].runtime_version) == (began, "2")
    providers.versions["aws"] = AWAY
    health.check()
    ceased = health.found()["aws"].since
    assert ceased > began
    health.check()
    assert health.found()["aws"].since == ceased


def test_a_provider_that_is_gone_is_forgotten(health: ProviderHealth, providers: FakeProviders) -> None:
    health.check()
    del providers.versions["vault"]
    health.check()
    assert health.states() == {"aws": True}
    providers.versions.clear()
    health.check()
    assert health.states() == {}


def test_a_provider_that_knows_no_such_call_does_answer(
    health: ProviderHealth, providers: FakeProviders
) -> None:
    code = grpc.StatusCode.UNIMPLEMENTED.value[0]
    providers.versions = {"old": ProviderCallError("rpc error: code = Unimplemented desc = x", code=code)}
    health.check()
    assert health.states() == {"old": True}
    assert (health.problems(), health.facts()["provider_versions"]) == ([], "")


def test_what_it_says_is_cleaned_and_cut(health: ProviderHealth, providers: FakeProviders) -> None:
    providers.versions = {
        "aws": told("v" * 5000, "a\n\x1b[31mb"),
        "vault": ProviderCallError("e\n" + "x" * 5000, code=2),
    }
    health.check()
    found = health.found()
    assert (found["aws"].runtime_name, found["aws"].runtime_version) == ("a  [31mb", "v" * 100)
    assert found["vault"].error.startswith("e x")
    assert len(found["vault"].error) <= 1024


def test_many_that_are_silent_are_a_few_lines(health: ProviderHealth, providers: FakeProviders) -> None:
    providers.versions = {f"p{number:02d}": AWAY for number in range(30)}
    health.check()
    assert len(health.problems()) == 11
    assert health.problems()[-1] == "20 more providers do not answer"


def test_four_are_asked_at_once_and_no_more() -> None:
    class Counting(FakeProviders):
        def __init__(self) -> None:
            super().__init__()
            self.versions = {f"p{number}": told() for number in range(12)}
            self.lock = threading.Lock()
            self.together = threading.Barrier(4)
            self.now = self.most = 0

        def version(self, provider: str, *, timeout_seconds: float) -> ProviderVersion:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.together.wait(60)
            with self.lock:
                self.now -= 1
            return super().version(provider, timeout_seconds=timeout_seconds)

    providers = Counting()
    health = ProviderHealth(providers, interval_seconds=60)
    health.check()
    assert providers.most == 4
    assert all(health.states().values()) and len(health.states()) == 12


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


@pytest.fixture
def sockets(place: NodePlace) -> Iterator[ProviderSockets]:
    with contextlib.closing(ProviderSockets([place.provider_directory], max_answer_bytes=1 << 20)) as made:
        yield made


def test_a_provider_that_hangs_is_told_from_one_that_answers(
    place: NodePlace, sockets: ProviderSockets
) -> None:
    hanging, well = FakeProvider(), FakeProvider()
    hanging.version_hold.clear()
    with (
        serving(hanging, place.provider_socket("hanging")),
        serving(well, place.provider_socket("well")),
    ):
        health = ProviderHealth(sockets, interval_seconds=60, timeout_seconds=2.0)
        health.check()
    assert health.states() == {"hanging": False, "well": True}
    assert well.version_requests[0].version == "v1alpha1"
    (problem,) = health.problems()
    assert problem.startswith("provider hanging does not answer: rpc error: code = DeadlineExceeded")
    assert "within 2 s" in problem


def test_it_asks_again_each_interval_until_it_is_closed(place: NodePlace, sockets: ProviderSockets) -> None:
    with serving(FakeProvider(), place.provider_socket("well")) as provider:
        health = ProviderHealth(sockets, interval_seconds=0.01)
        health.start()
        wait_until(lambda: len(provider.version_requests) >= 3, "three checks")
        health.close()
        count = len(provider.version_requests)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("provider-health")]
        assert health.states() == {"well": True}
        assert len(provider.version_requests) == count


def test_its_end_takes_no_call_for_a_failure(
    place: NodePlace, sockets: ProviderSockets, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with serving(FakeProvider(), place.provider_socket("well")) as provider:
        health = ProviderHealth(sockets, interval_seconds=60, timeout_seconds=60)
        health.check()
        provider.version_hold.clear()
        health.start()
        wait_until(lambda: len(provider.version_requests) == 2, "a call is under way")
        health.stop()
        sockets.close()
        health.close()
    assert health.states() == {"well": True}
    assert lines(caplog) == [("a provider answers", "well", "fake 0.0.1")]


def test_one_that_was_never_started_can_be_closed(health: ProviderHealth) -> None:
    health.close()
    assert health.states() == {}


def test_the_flags() -> None:
    config = node_config.parse(["--provider-health-check", "--provider-health-check-interval=30s"], {})
    assert (config.provider_health_check, config.provider_health_check_interval_seconds) == (True, 30.0)
    assert node_config.parse([], {}).provider_health_check is False
    for interval in ("0s", "-1m"):
        with pytest.raises(ConfigError, match="--provider-health-check-interval"):
            node_config.parse([f"--provider-health-check-interval={interval}"], {})


@pytest.mark.root
@pytest.mark.parametrize(("flags", "found"), [((), {}), (("--provider-health-check",), {"fake": 1.0})])
def test_the_room_tells_it_where_the_flag_asks_for_it(
    place: NodePlace,
    status_sync: FakeStatusSync,
    provider: FakeProvider,
    flags: tuple[str, ...],
    found: dict[str, float],
) -> None:
    with room_in_process(place, *flags) as node:

        def healthy() -> dict[str, float]:
            families = node.room.Metrics(sscsi_pb2.RoomMetricsRequest(), timeout=60).families
            return {
                sample.labels[0].value: sample.value
                for family in families
                if family.name == "sscsi_provider_healthy"
                for sample in family.samples
            }

        wait_until(lambda: healthy() == found, "the metric tells it")
