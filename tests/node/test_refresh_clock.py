"""The room's own clock: content follows the store without a call of kubelet's, and in nobody's way."""

import datetime as dt
import functools
import json
import os
import pathlib
import threading
import time

import grpc
import pytest

from sscsi.pb import provider_pb2, sscsi_pb2
from tests.core.test_certificate_life import certificate
from tests.fakes import fake_provider
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync, make_class
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, room_in_process
from tests.support.volume_state import pod_view
from tests.support.waiting import wait_until

pytestmark = pytest.mark.root

ROTATION = "--enable-secret-rotation"
OFTEN = (ROTATION, "--rotation-poll-interval=200ms")
HOURLY = (ROTATION, "--rotation-poll-interval=1h")
TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"


def content(text: bytes, version: str = "v2") -> provider_pb2.MountResponse:
    return files_answer(("secret", 0o644, text), version=version)


def volumes(node: NodeInProcess) -> list[sscsi_pb2.Volume]:
    """The snapshot of a watch."""
    call = node.volumes.Watch(sscsi_pb2.WatchRequest(), timeout=60)
    try:
        return list(next(iter(call)).volumes)
    finally:
        call.cancel()


def wait_for_content(target_path: str, text: bytes) -> None:
    wait_until(lambda: pod_view(target_path) == {"secret": (0o644, text)}, f"the pod sees {text!r}")


def has_more_than(provider: FakeProvider, calls: int) -> bool:
    return len(provider.requests) > calls


def tokens(seconds: float) -> str:
    end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return json.dumps({"vault": {"token": "a-token", "expirationTimestamp": end.isoformat()}})


class TestContent:
    def test_follows_the_store_without_kubelet(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        with room_in_process(place, *OFTEN) as node:
            node.publish(target_path)
            for number in range(3):
                provider.answer = content(b"text %d" % number, version=str(number))
                wait_for_content(target_path, b"text %d" % number)
            wait_until(
                lambda: [version.version for version in volumes(node)[0].object_versions] == ["2"],
                "the record follows",
            )

    def test_unchanged_is_a_call_and_nothing_else(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *OFTEN) as node:
            node.publish(place.target_path())
            before = place.record()
            wait_until(lambda: len(provider.requests) >= 4, "the provider is asked again")
            assert place.record() == before
            assert pod_view(place.target_path()) == {"secret": (0o644, b"first content")}

    def test_a_new_class_counts_from_the_next_pass(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *OFTEN) as node:
            node.publish(place.target_path())
            status_sync.add(make_class(parameters={"objects": "others"}, generation=2))
            wait_until(lambda: provider.attributes()["objects"] == "others", "the new class is used")
            wait_until(lambda: volumes(node)[0].class_generation == 2, "the record tells")

    def test_that_somebody_else_replaced_is_not_taken_for_what_the_provider_means(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        provider.answer = first = content(b"first content", "v1")
        with room_in_process(place, *OFTEN) as node:
            node.publish(target_path)
            provider.hold.clear()
            wait_until(lambda: provider.holding == 1, "our clock asks")
            os.mkdir(f"{target_path}/..other")
            pathlib.Path(target_path, "..other", "secret").write_bytes(b"of another driver")
            os.symlink("..other", f"{target_path}/..data_new")
            os.rename(f"{target_path}/..data_new", f"{target_path}/..data")
            provider.answer = provider_pb2.MountResponse(object_version=first.object_version)
            provider.hold.set()
            wait_until(
                lambda: "were replaced by somebody else" in volumes(node)[0].last_error, "the record tells"
            )
            provider.answer = first
            node.publish(target_path)
            wait_for_content(target_path, b"first content")
            assert volumes(node)[0].last_error == ""

    @pytest.mark.parametrize(
        "flags",
        [("--rotation-poll-interval=10ms",), (*OFTEN, "--refresh-between-republishes=false")],
        ids=["rotation off", "kubelet only"],
    )
    def test_stays_where_nobody_wants_a_clock(
        self,
        place: NodePlace,
        status_sync: FakeStatusSync,
        provider: FakeProvider,
        flags: tuple[str, ...],
    ) -> None:
        with room_in_process(place, *flags) as node:
            node.publish(place.target_path())
            threading.Event().wait(0.6)
            assert len(provider.requests) == 1


class TestIntervals:
    def test_of_the_class_and_of_the_volume(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        status_sync.add(make_class(annotations={"secrets-store.csi.k8s.io/rotation-poll-interval": "30m"}))
        own = publish_request(
            place.target_path("pod-2"), pod_uid="pod-2", attributes={"rotationPollInterval": "10m"}
        )
        with room_in_process(place, *HOURLY) as node:
            node.publish(place.target_path())
            node.publish(own)
            assert sorted(volume.refresh_interval for volume in volumes(node)) == [600, 1800]
            for volume in volumes(node):
                assert volume.due_time == pytest.approx(
                    volume.last_success_time + volume.refresh_interval, abs=1
                )

    @pytest.mark.parametrize(("attribute", "seconds"), [("15s", 15), ("2h", 7200), ("0", 0)])
    def test_of_the_volume_is_known_again_with_kubelets_first_call_after_a_restart(
        self,
        place: NodePlace,
        status_sync: FakeStatusSync,
        provider: FakeProvider,
        attribute: str,
        seconds: float,
    ) -> None:
        own = publish_request(place.target_path(), attributes={"rotationPollInterval": attribute})
        with room_in_process(place, *HOURLY) as node:
            node.publish(own)
            (before,) = volumes(node)
        provider.requests.clear()
        with room_in_process(place, *HOURLY) as node:
            node.publish(own)
            (volume,) = volumes(node)
            assert volume.refresh_interval == before.refresh_interval == seconds
            if seconds:
                assert provider.requests == []
                assert volume.due_time == pytest.approx(volume.last_success_time + seconds, abs=1)

    def test_nonsense_is_told_on_the_pod_once_and_the_default_is_used(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        status_sync.add(make_class(annotations={"secrets-store.csi.k8s.io/rotation-poll-interval": "often"}))
        with room_in_process(place, ROTATION, "--rotation-poll-interval=0") as node:
            node.publish(place.target_path())
            call = node.volumes.Watch(sscsi_pb2.WatchRequest(notices=True), timeout=60)
            (notice,) = next(iter(call)).notices
            call.cancel()
            assert notice.reason == "InvalidRefreshInterval"
            assert "'often' is not a duration" in notice.message
            for _ in range(3):
                node.publish(place.target_path())
            assert len(provider.requests) == 4
            call = node.volumes.Watch(sscsi_pb2.WatchRequest(notices=True), timeout=60)
            assert list(next(iter(call)).notices) == []
            call.cancel()

    def test_nonsense_in_the_flag_is_a_problem_of_the_room(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, ROTATION, "--rotation-poll-interval=-5m") as node:
            status = node.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60)
            (problem,) = status.problems
            assert problem.startswith("flag --rotation-poll-interval: '-5m' is negative")
            assert problem.endswith("the default of 2m is used")
            node.publish(place.target_path())
            assert [volume.refresh_interval for volume in volumes(node)] == [120]


class TestKubelet:
    def test_a_republish_during_our_call_returns_at_once_and_asks_nobody(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *OFTEN) as node:
            node.publish(place.target_path())
            provider.hold.clear()
            wait_until(lambda: provider.holding == 1, "our clock asks")
            calls = len(provider.requests)
            node.publish(place.target_path(), seconds=30)
            assert len(provider.requests) == calls

    def test_a_pod_that_goes_during_our_call_does_not_wait_for_it(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *OFTEN) as node:
            node.publish(place.target_path())
            provider.hold.clear()
            wait_until(lambda: provider.holding == 1, "our clock asks")
            calls = len(provider.requests)
            node.unpublish(place.target_path(), seconds=30)
            assert place.mounts() == []
            provider.hold.set()
            node.publish(place.target_path("pod-2"))
            wait_until(lambda: len(provider.requests) >= calls + 2, "the clock goes on")
            assert len(place.records()) == 1

    def test_after_a_restart_it_waits_for_kubelets_call(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *HOURLY) as node:
            node.publish(place.target_path())
        with room_in_process(place, *OFTEN) as node:
            (volume,) = volumes(node)
            assert volume.waits_for.startswith("kubelet's next call: the room was started since")
            provider.answer = content(b"new")
            wait_until(lambda: node.publish(place.target_path()) and len(provider.requests) > 1, "it is due")
            wait_for_content(place.target_path(), b"new")
            provider.answer = content(b"newer", "v3")
            wait_for_content(place.target_path(), b"newer")
            assert volumes(node)[0].waits_for == ""

    def test_with_expired_tokens_it_waits_for_kubelets_call(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *OFTEN) as node:
            node.publish(publish_request(place.target_path(), attributes={TOKENS: tokens(-60)}))
            wait_until(
                lambda: volumes(node)[0].waits_for.startswith("kubelet's next call: the service account"),
                "the clock sees that the tokens have expired",
            )
            assert len(provider.requests) == 1
            node.publish(publish_request(place.target_path(), attributes={TOKENS: tokens(3600)}))
            wait_until(lambda: len(provider.requests) >= 3, "the clock goes on with the new tokens")


class TestFailures:
    def test_the_record_tells_since_when_and_why_and_the_pod_once(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *OFTEN) as node:
            node.publish(place.target_path())
            provider.error = (grpc.StatusCode.PERMISSION_DENIED, "no longer")
            wait_until(lambda: volumes(node)[0].failure_reason == "ProviderDenied", "the first failure")
            first = volumes(node)[0]
            assert first.failing_since > first.last_success_time
            calls = len(provider.requests)
            wait_until(lambda: len(provider.requests) > calls + 1, "two more failures")
            assert volumes(node)[0].failing_since == first.failing_since
            call = node.volumes.Watch(sscsi_pb2.WatchRequest(notices=True), timeout=60)
            (notice,) = next(iter(call)).notices
            call.cancel()
            assert notice.reason == "FailedToRefreshSecrets"
            node.publish(place.target_path())
            assert pod_view(place.target_path()) == {"secret": (0o644, b"first content")}
            provider.error = None
            wait_until(lambda: volumes(node)[0].last_error == "", "it recovers")
            assert (volumes(node)[0].failing_since, volumes(node)[0].failure_reason) == (0, "")

    @pytest.mark.usefixtures("short_patience")
    def test_a_provider_that_is_away_is_asked_in_growing_steps_and_then_hardly_at_all(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, ROTATION, "--rotation-poll-interval=500ms") as node:
            for number in range(30):
                node.publish(publish_request(place.target_path(f"pod-{number}"), pod_uid=f"pod-{number}"))
            provider.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
            wait_until(
                lambda: (
                    {volume.failure_reason for volume in volumes(node)}
                    <= {"ProviderThrottled", "ProviderUnavailable"}
                ),
                "every volume is failing, whether the provider was asked for it or not",
            )
            status = node.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60)
            assert any("its circuit is open" in problem for problem in status.problems)
            calls = len(provider.requests)
            provider.error = None
            wait_until(lambda: not any(volume.last_error for volume in volumes(node)), "all recover")
            assert len(provider.requests) >= calls + 30

    def test_what_passes_in_moments_is_counted_and_told_to_nobody(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *OFTEN) as node:
            node.publish(place.target_path())
            for _ in range(5):
                calls = len(provider.requests)
                provider.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
                wait_until(functools.partial(has_more_than, provider, calls), "a refresh is refused")
                provider.error = None
                wait_until(functools.partial(has_more_than, provider, calls + 2), "others are not")
            (volume,) = volumes(node)
            assert (volume.last_error, volume.failing_since) == ("", 0)
            call = node.volumes.Watch(sscsi_pb2.WatchRequest(notices=True), timeout=60)
            assert list(next(iter(call)).notices) == []
            call.cancel()
            families = node.room.Metrics(sscsi_pb2.RoomMetricsRequest(), timeout=60).families
            (failures,) = [family for family in families if family.name == "sscsi_refresh_failures_total"]
            assert sum(sample.value for sample in failures.samples) >= 5

    def test_what_lasts_is_told_with_the_time_of_its_beginning(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, *OFTEN) as node:
            node.publish(place.target_path())
            provider.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
            before = time.time()
            wait_until(lambda: volumes(node)[0].last_error, "it is told")
            (volume,) = volumes(node)
            assert before <= volume.failing_since < volume.last_attempt_time

    def test_a_hanging_provider_is_not_in_anothers_way(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        status_sync.add(make_class("well", provider="well"))
        with (
            fake_provider.serving(FakeProvider(), place.provider_socket("well")) as well,
            room_in_process(place, *OFTEN, "--max-refreshes-per-provider=2") as node,
        ):
            for number in range(6):
                node.publish(publish_request(place.target_path(f"pod-{number}"), pod_uid=f"pod-{number}"))
            other = place.target_path("other")
            node.publish(publish_request(other, pod_uid="other", class_name="well"))
            provider.hold.clear()
            wait_until(lambda: provider.holding == 2, "two refreshes hang")
            calls = len(provider.requests)
            well.answer = content(b"still")
            wait_for_content(other, b"still")
            assert len(provider.requests) == calls
            provider.hold.set()


class TestCertificates:
    def test_past_two_thirds_of_its_life_it_is_fetched_before_the_interval(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        # Two thirds of its life are over in three seconds.
        old = certificate(now - dt.timedelta(seconds=37), now + dt.timedelta(seconds=23))
        provider.answer = content(old, "old")
        with room_in_process(place, *HOURLY, "--rotation-poll-interval-floor=0") as node:
            node.publish(place.target_path())
            assert place.record().expiry_time == (now + dt.timedelta(seconds=23)).timestamp()
            provider.answer = content(b"renewed")
            wait_for_content(place.target_path(), b"renewed")
            assert len(provider.requests) == 2
        # The room has stopped: whatever it was about to record is recorded.
        assert (place.record().renew_time, place.record().expiry_time) == (0, 0)
