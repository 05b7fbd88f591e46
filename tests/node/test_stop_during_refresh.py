"""Stopping while a provider holds a refresh: every channel is closed, and none is opened any more."""

import os
import time
from concurrent import futures

import grpc
import pytest

from sscsi.edges.provider_sockets import ProviderSockets
from sscsi.errors import ProviderCallError, StoppingError
from sscsi.ports import ProviderRequest
from tests.fakes.fake_provider import FakeProvider, serving
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import node_process
from tests.support.volume_state import pod_view
from tests.support.waiting import wait_until

GRACE_SECONDS = 0.3
REQUEST = ProviderRequest(
    attributes="{}", secrets="null", permission="420", target_path="/none", current_object_versions=()
)


@pytest.mark.root
@pytest.mark.parametrize("providers", ["one", "one that was replaced, too"])
def test_a_hanging_refresh_keeps_the_process_for_the_grace_and_no_longer(
    place: NodePlace, status_sync: FakeStatusSync, providers: str
) -> None:
    first, second = place.target_path(volume="a"), place.target_path(volume="b")
    flags = ("--enable-secret-rotation", "--rotation-poll-interval=0", f"--stop-grace={GRACE_SECONDS}s")
    old, new = FakeProvider(), FakeProvider()
    with (
        serving(old, place.provider_socket()),
        node_process(place, *flags) as node,
        futures.ThreadPoolExecutor(2) as pool,
    ):
        for path in (first, second):
            node.publish(path)
        for provider in (old, new):
            provider.hold.clear()
            while provider.waiting.acquire(blocking=False):
                pass
        calls = [pool.submit(lambda: node.publish(first))]
        assert old.waiting.acquire(timeout=60)
        os.rename(place.provider_socket(), place.provider_socket("moved"))
        with serving(new, place.provider_socket()):
            if providers != "one":
                calls.append(pool.submit(lambda: node.publish(second)))
                assert new.waiting.acquire(timeout=60)
            start = time.monotonic()
            assert node.terminate() == 0
            # The providers hold the calls for longer.
            assert time.monotonic() - start < 30.0
            for call in calls:
                error = call.exception(60)
                assert error is None or isinstance(error, grpc.RpcError)
    for path in (first, second):
        assert pod_view(path) == {"secret": (0o644, b"first content")}


def test_closing_cancels_the_calls_of_replaced_channels_too_and_refuses_new_ones(place: NodePlace) -> None:
    sockets = ProviderSockets([place.provider_directory], max_answer_bytes=1 << 20)
    old, new = FakeProvider(), FakeProvider()
    old.hold.clear()
    with serving(old, place.provider_socket()), futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: sockets.mount("fake", REQUEST, timeout_seconds=60))
        assert old.waiting.acquire(timeout=60)
        os.rename(place.provider_socket(), place.provider_socket("moved"))
        with serving(new, place.provider_socket()):
            sockets.mount("fake", REQUEST, timeout_seconds=60)
            assert not held.done(), "the call of the replaced channel goes on"
            sockets.close()
            error = held.exception(60)
            assert isinstance(error, ProviderCallError)
            assert error.code == grpc.StatusCode.CANCELLED.value[0]
            with pytest.raises(StoppingError):
                sockets.mount("fake", REQUEST, timeout_seconds=60)
    assert (len(old.requests), len(new.requests)) == (1, 1)


def test_a_replaced_channel_is_kept_for_its_last_call_only(place: NodePlace) -> None:
    sockets = ProviderSockets([place.provider_directory], max_answer_bytes=1 << 20)
    old, new = FakeProvider(), FakeProvider()
    old.hold.clear()
    with serving(old, place.provider_socket()), futures.ThreadPoolExecutor(2) as pool:
        held = [pool.submit(lambda: sockets.mount("fake", REQUEST, timeout_seconds=60)) for _ in range(2)]
        assert all(old.waiting.acquire(timeout=60) for _ in held)
        os.rename(place.provider_socket(), place.provider_socket("moved"))
        with serving(new, place.provider_socket()):
            sockets.mount("fake", REQUEST, timeout_seconds=60)
            assert len(sockets._replaced) == 1
            old.hold.set()
            assert all(call.result(60).files for call in held), "they end as if nothing had happened"
            wait_until(lambda: not sockets._replaced, "the replaced channel is let go")
            sockets.close()
