"""Many calls for one volume at once, and kubelets that die in the middle of theirs: one mount, or none."""

import collections
import contextlib
import functools
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import pytest

from sscsi.pb import provider_pb2
from tests.fakes import fake_provider, fake_status_sync
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import NodeProcess, clean_environ, node_process, publish_request
from tests.support.preloaded import Preloaded, Program, preloaded
from tests.support.volume_state import View, pod_view, residue, untrue_records
from tests.support.waiting import wait_until

_CLIENT = "tests.support.one_publish"
_PUBLISHES = 100
_AT_ONCE = 8
_CONTENT: View = {"password": (0o644, b"secret"), "nested/key": (0o600, b"key" * 1000)}
_FILES = [(path, mode, content) for path, (mode, content) in _CONTENT.items()]
_ABORTED = grpc.StatusCode.ABORTED.value[0]
_KILLED = -9

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


@pytest.fixture
def provider(place: NodePlace) -> Iterator[FakeProvider]:
    """Takes a moment for each answer, so that calls overlap."""
    status_sync = fake_status_sync.FakeStatusSync()
    status_sync.add(fake_status_sync.make_class())
    provider = FakeProvider()
    provider.answer = lambda _request: _after_a_moment()
    with (
        fake_status_sync.serving(status_sync, place.status_sync_socket()),
        fake_provider.serving(provider, place.provider_socket()),
    ):
        yield provider


@pytest.fixture(scope="module")
def clients() -> Iterator[Preloaded]:
    with preloaded(_CLIENT) as holder:
        yield holder


def _after_a_moment() -> provider_pb2.MountResponse:
    threading.Event().wait(0.005)
    return files_answer(*_FILES)


def _now_and_then_an_error() -> Callable[[provider_pb2.MountRequest], provider_pb2.MountResponse]:
    turns = itertools.count()

    def answer(_request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
        good = _after_a_moment()
        return (
            good
            if next(turns) % 3 == 2
            else provider_pb2.MountResponse(error=provider_pb2.Error(code="no luck"))
        )

    return answer


@pytest.mark.parametrize("rotation", [False, True], ids=["rotation off", "rotation on"])
def test_a_hundred_publishes_with_half_of_their_kubelets_killed_are_one_mount(
    place: NodePlace, provider: FakeProvider, clients: Preloaded, rotation: bool
) -> None:
    flags = (f"--enable-secret-rotation={rotation}", "--rotation-poll-interval=0")
    with node_process(place, *flags) as node:
        ends = _publish_many(place, clients)
        assert ends[_KILLED] > _PUBLISHES // 4, ends
        assert not set(ends) - {0, _KILLED, _ABORTED}, ends
        _expect_one_mount(node)
        assert provider.requests


def test_publishes_that_fail_now_and_then_leave_one_mount_or_none(
    place: NodePlace, provider: FakeProvider, clients: Preloaded
) -> None:
    provider.answer = _now_and_then_an_error()
    with node_process(place) as node:
        ends = _publish_many(place, clients)
        assert not set(ends) - {0, _KILLED, _ABORTED, grpc.StatusCode.UNKNOWN.value[0]}, ends
        provider.answer = files_answer(*_FILES)
        _expect_one_mount(node)


def test_publishes_and_unpublishes_of_one_volume_at_once_never_stack_mounts(
    place: NodePlace, provider: FakeProvider
) -> None:
    target_path = place.target_path()
    with node_process(place) as node, futures.ThreadPoolExecutor(_AT_ONCE) as kubelets:

        def call(turn: int) -> grpc.StatusCode:
            try:
                node.unpublish(target_path) if turn % 2 else node.publish(target_path)
            except grpc.RpcError as error:
                return error.code()
            assert len(place.mounts(target_path)) <= 1
            return grpc.StatusCode.OK

        ends = collections.Counter(kubelets.map(call, range(_PUBLISHES)))
        assert set(ends) <= {grpc.StatusCode.OK, grpc.StatusCode.ABORTED}, ends
        _expect_one_mount(node)


def _publish_many(place: NodePlace, clients: Preloaded) -> "collections.Counter[int]":
    """Publish a hundred times, each from a process of its own, and kill every other one in its call."""
    request_path = f"{place.base}/request"
    with open(request_path, "wb") as file:
        file.write(publish_request(place.target_path()).SerializeToString())
    ends: collections.Counter[int] = collections.Counter()
    dice = random.Random(7)
    for first in range(0, _PUBLISHES, _AT_ONCE):
        turns = range(first, min(first + _AT_ONCE, _PUBLISHES))
        running = [(turn, _start(place, clients, request_path, turn)) for turn in turns]
        for turn, client in running:
            if turn % 2:
                wait_until(functools.partial(os.path.exists, _mark(place, turn)), "the call begins")
                threading.Event().wait(dice.uniform(0, 0.004))
                ends[client.kill()] += 1
        ends.update(client.wait() for turn, client in running if not turn % 2)
    return ends


def _start(place: NodePlace, clients: Preloaded, request_path: str, turn: int) -> Program:
    arguments = [place.endpoint, request_path, _mark(place, turn)]
    return clients.start(_CLIENT, arguments, environ=clean_environ({}), log_file=f"{place.base}/clients.log")


def _mark(place: NodePlace, turn: int) -> str:
    return f"{place.base}/called-{turn}"


def _expect_one_mount(node: NodeProcess) -> None:
    """The next publish finds one whole volume, and one unpublish takes all of it away."""
    place, target_path = node.place, node.place.target_path()
    # A call whose kubelet died goes on to its end; until then the volume is busy.
    wait_until(lambda: _publishes(node), "the volume is free and published")
    assert len(place.mounts()) == 1
    assert pod_view(target_path) == _CONTENT
    assert not untrue_records(place)
    assert not residue(place, target_path)
    node.unpublish(target_path)
    assert not place.mounts()
    assert not place.records()
    assert not os.path.lexists(target_path)


def _publishes(node: NodeProcess) -> bool:
    with contextlib.suppress(grpc.RpcError):
        node.publish(node.place.target_path())
        return True
    return False
