"""One bad provider harms nobody else (design P10): what is asked while hundreds of publishes hang, and what is left after.

The promise is an answer within 100 ms on a quiet machine. The tests print what they measure; the benchmark judges it.
"""

import collections
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import grpc
import psutil
import pytest

from sscsi.pb import csi_pb2, csi_pb2_grpc
from tests.fakes import fake_provider, fake_status_sync
from tests.fakes.fake_provider import FakeProvider
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import NodeProcess, node_process, publish_request
from tests.support.waiting import wait_until

_PUBLISHES = 500
_ROUNDS = 20
_ALLOWED_SECONDS = 30.0
_CALLS_PER_CHANNEL = 10
_OTHER_PUBLISH = "publish of another provider"
_KUBELET_SECONDS = 120.0
# The pool's running threads, gRPC's own, main.
_THREADS_AT_REST = 40
_MIB = 1024 * 1024

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """A place with two providers, `fake` that may hold and `other` that does not, and a class of each."""

    place: NodePlace
    fake: FakeProvider


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    status_sync, fake = fake_status_sync.FakeStatusSync(), FakeProvider()
    status_sync.add(
        fake_status_sync.make_class(), fake_status_sync.make_class("of-the-other", provider="other")
    )
    with (
        node_place() as place,
        fake_status_sync.serving(status_sync, place.status_sync_socket()),
        fake_provider.serving(fake, place.provider_socket(), threads=_PUBLISHES),
        fake_provider.serving(FakeProvider(), place.provider_socket("other")),
    ):
        yield Cluster(place, fake)


class Publishes:
    """Publishes that are under way, each of a pod of its own."""

    def __init__(self, node: NodeProcess, count: int, *, seconds: float = _KUBELET_SECONDS) -> None:
        self._node = node
        self.target_paths = [node.place.target_path(f"hanging-{number}") for number in range(count)]
        # What the node room said of those that failed, in the order of their ends.
        self.details: list[str] = []
        self._futures = []
        for first in range(0, count, _CALLS_PER_CHANNEL):
            stub = csi_pb2_grpc.NodeStub(node.channel(node.place.endpoint))
            for path in self.target_paths[first : first + _CALLS_PER_CHANNEL]:
                future = stub.NodePublishVolume.future(publish_request(path), timeout=seconds)
                future.add_done_callback(self._note)
                self._futures.append(future)

    def _note(self, ended: object) -> None:
        self.details.append(str(cast(grpc.Call, ended).details()))

    def codes(self) -> "collections.Counter[grpc.StatusCode]":
        """How the calls ended, once all have."""
        wait_until(lambda: all(future.done() for future in self._futures), "all publishes end", seconds=100)
        return collections.Counter(future.code() for future in self._futures)

    def unpublish(self) -> None:
        for path in self.target_paths:
            self._node.unpublish(path)


@pytest.mark.parametrize("places", [128, _PUBLISHES], ids=["by default", "with a place for each"])
def test_others_are_answered_at_once_while_500_publishes_hang(
    cluster: Cluster, places: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with node_process(cluster.place, f"--max-publishes-per-provider={places}") as node:
        process = psutil.Process(node.process.pid)
        resident = []
        for _ in range(2):
            cluster.fake.hold.clear()
            cluster.fake.requests.clear()
            publishes = Publishes(node, _PUBLISHES)
            busy = _measure(node)
            wait_until(
                lambda: len(cluster.fake.requests) == places, "the provider has all it may have", seconds=60
            )
            hanging, threads = _measure(node), process.num_threads()
            assert threads > _PUBLISHES
            cluster.fake.hold.set()
            assert publishes.codes() == {grpc.StatusCode.OK: _PUBLISHES}
            assert len(cluster.place.mounts()) == _PUBLISHES
            publishes.unpublish()
            assert not cluster.place.mounts()
            resident.append(process.memory_info().rss)
        if places == _PUBLISHES:
            wait_until(lambda: process.num_threads() <= _THREADS_AT_REST, "the threads leave", seconds=60)
        with capsys.disabled():
            print(
                f"\n  500 publishes hang, {places} of them with the provider, {threads} threads; ms p50 / max of {_ROUNDS}:"
            )
            for name in busy:
                print(f"    {name:28} while they come {_figures(busy[name])}, then {_figures(hanging[name])}")
            print(f"    memory after each time: {' '.join(f'{size / _MIB:.0f} MiB' for size in resident)}")
        # Each waits for its turn at the processor, and for nobody's provider: that holds its calls until all this is over.
        for name, seconds in (*busy.items(), *hanging.items()):
            assert max(seconds) < _ALLOWED_SECONDS, f"{name} took {max(seconds):.3f} s"
        assert resident[1] < resident[0] + 16 * _MIB


def _measure(node: NodeProcess) -> dict[str, list[float]]:
    """Seconds of each call, on a new connection each time, as kubelet's."""
    place, target_path = node.place, node.place.target_path("quick")
    request = publish_request(target_path, class_name="of-the-other")
    unpublish = csi_pb2.NodeUnpublishVolumeRequest(volume_id="csi-volume-1", target_path=target_path)
    calls: dict[str, Callable[[grpc.Channel], object]] = {
        "Probe": lambda channel: csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest(), timeout=60),
        "NodeGetCapabilities": lambda channel: csi_pb2_grpc.NodeStub(channel).NodeGetCapabilities(
            csi_pb2.NodeGetCapabilitiesRequest(), timeout=60
        ),
        "NodeGetInfo": lambda channel: csi_pb2_grpc.NodeStub(channel).NodeGetInfo(
            csi_pb2.NodeGetInfoRequest(), timeout=60
        ),
        _OTHER_PUBLISH: lambda channel: csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request, timeout=60),
        "unpublish": lambda channel: csi_pb2_grpc.NodeStub(channel).NodeUnpublishVolume(
            unpublish, timeout=60
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    options = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            begun = time.monotonic()
            with grpc.insecure_channel(f"unix:{place.endpoint}", options) as channel:
                call(channel)
                taken[name].append(time.monotonic() - begun)
    return taken


def _figures(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:5.1f} / {max(seconds) * 1000:5.1f}"


def test_publishes_over_the_limits_end_unavailable_before_their_deadline(cluster: Cluster) -> None:
    cluster.fake.hold.clear()
    flags = ("--max-publishes-per-provider=4", "--max-waiting-publishes=6")
    with node_process(cluster.place, *flags) as node:
        publishes = Publishes(node, 30, seconds=10.0)
        codes = publishes.codes()
        # Four are with the provider for the whole time that it is given.
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED: 4, grpc.StatusCode.UNAVAILABLE: 26}
        # Those for whom there is not even room to wait hear of it at once, so before any other.
        assert all("6 publishes wait already" in details for details in publishes.details[:20])
        others = publishes.details[20:]
        assert sum("4 publishes under way" in details for details in others) == 6
        # By the node room: a caller whose deadline is over finds other words.
        assert sum("provider 'fake' did not answer within" in details for details in others) == 4
        assert not cluster.place.mounts()
        cluster.fake.hold.set()
        node.publish(publishes.target_paths[0])


def test_a_stop_with_500_publishes_hanging_is_in_good_order_and_leaves_nothing(cluster: Cluster) -> None:
    cluster.fake.hold.clear()
    with node_process(cluster.place, "--stop-grace=2s", f"--max-publishes-per-provider={_PUBLISHES}") as node:
        publishes = Publishes(node, _PUBLISHES)
        wait_until(lambda: len(cluster.fake.requests) == _PUBLISHES, "the provider has them all", seconds=60)
        begun = time.monotonic()
        assert node.terminate() == 0
        assert time.monotonic() - begun < 30.0
        assert not set(publishes.codes()) - {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert not cluster.place.mounts()
        assert not cluster.place.records()
