"""Kubelet as a CSI driver sees it: a new connection for every call, three calls for a publish, one for an unpublish.

One thread and one epoll drive any number of volumes at once, so that a hundred in flight cost the client no
more than one does.
"""

import dataclasses
import select
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from socket import socket

from sscsi.pb import csi_pb2
from tests.bench.errors import BenchError
from tests.bench.unary_call import CallFailedError, Method, call
from tests.bench.volumes import Volume

# Kubelet's csiTimeout.
_TIMEOUT_SECONDS = 120
_CAPABILITIES = Method("/csi.v1.Node/NodeGetCapabilities", timeout_seconds=_TIMEOUT_SECONDS)
_PUBLISH = Method("/csi.v1.Node/NodePublishVolume", timeout_seconds=_TIMEOUT_SECONDS)
_UNPUBLISH = Method("/csi.v1.Node/NodeUnpublishVolume", timeout_seconds=_TIMEOUT_SECONDS)
_NO_CAPABILITIES = csi_pb2.NodeGetCapabilitiesRequest().SerializeToString()

Step = Generator[socket, None, None]


@dataclasses.dataclass(slots=True)
class Timings:
    """What a pass took: seconds of each operation that succeeded, seconds of all, texts of what failed."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)
    wall_seconds: float = 0.0
    client_cpu_seconds: float = 0.0


class KubeletClient:
    """Calls the CSI driver at `socket_path`."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path

    def publish(self, volumes: Sequence[Volume], *, in_flight: int) -> Timings:
        """Publish every volume, `in_flight` at any moment. A publish lasts from its first call to its last."""
        return self._run(volumes, in_flight, self._publish)

    def unpublish(self, volumes: Sequence[Volume], *, in_flight: int) -> Timings:
        """Unpublish every volume, `in_flight` at any moment."""
        return self._run(volumes, in_flight, self._unpublish)

    def answers(self) -> bool:
        """Whether the driver answers a capability call."""
        timings = self._run([_NOBODY], 1, lambda _volume, epoll: self._capabilities(epoll))
        return not timings.errors

    def _publish(self, volume: Volume, epoll: select.epoll) -> Step:
        yield from self._capabilities(epoll)
        yield from self._capabilities(epoll)
        yield from call(self._socket_path, _PUBLISH, volume.publish, epoll)

    def _unpublish(self, volume: Volume, epoll: select.epoll) -> Step:
        yield from call(self._socket_path, _UNPUBLISH, volume.unpublish, epoll)

    def _capabilities(self, epoll: select.epoll) -> Step:
        yield from call(self._socket_path, _CAPABILITIES, _NO_CAPABILITIES, epoll)

    def _run(
        self, volumes: Sequence[Volume], in_flight: int, operation: Callable[[Volume, select.epoll], Step]
    ) -> Timings:
        timings = Timings()
        queue = iter(volumes)
        with select.epoll() as epoll:
            cpu, begun = time.process_time(), time.monotonic()
            _drive(
                [_lane(queue, operation, epoll, timings) for _ in range(min(in_flight, len(volumes)))], epoll
            )
            timings.wall_seconds = time.monotonic() - begun
            timings.client_cpu_seconds = time.process_time() - cpu
        return timings


_NOBODY = Volume(target_path="", publish=b"", unpublish=b"")


def _lane(
    queue: Iterator[Volume],
    operation: Callable[[Volume, select.epoll], Step],
    epoll: select.epoll,
    timings: Timings,
) -> Step:
    """One operation after the other until the queue, shared with the other lanes, is empty."""
    for volume in queue:
        begun = time.perf_counter()
        try:
            yield from operation(volume, epoll)
        except CallFailedError as error:
            timings.errors.append(str(error))
        else:
            timings.seconds.append(time.perf_counter() - begun)


def _drive(lanes: Sequence[Step], epoll: select.epoll) -> None:
    """Run the lanes to their ends. Raises BenchError when no answer comes for as long as kubelet waits."""
    waiting: dict[int, Step] = {}

    def resume(lane: Step) -> None:
        connection = next(lane, None)
        if connection is not None:
            waiting[connection.fileno()] = lane

    for lane in lanes:
        resume(lane)
    while waiting:
        ready = epoll.poll(_TIMEOUT_SECONDS)
        if not ready:
            raise BenchError(f"{len(waiting)} calls got no answer in {_TIMEOUT_SECONDS} s")
        for descriptor, _events in ready:
            resume(waiting.pop(descriptor))
