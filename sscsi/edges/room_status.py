"""`sscsi.v1.Room`: what a room tells of itself, status and metrics, and the socket on which it tells it."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent import futures

import grpc

from sscsi import __version__
from sscsi.core.prometheus import Family
from sscsi.core.room_status import RoomStatus
from sscsi.core.run_files import STATE_SOCKETS
from sscsi.edges.grpc_status import StatusInterceptor
from sscsi.edges.metric_messages import from_message, to_message
from sscsi.edges.unix_socket import ROOM_CHANNEL_OPTIONS, SocketServer, unix_target
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

# The run directory's group may ask: the liveness probe, which runs under its own user.
_STATE_MODE = 0o660


class RoomService(sscsi_pb2_grpc.RoomServicer):
    """Serves the room's status and its metrics; `look` and `metrics` are asked each time and must wait for nobody."""

    def __init__(
        self, room: str, look: Callable[[], RoomStatus], metrics: Callable[[], Sequence[Family]] = tuple
    ) -> None:
        self._room = room
        self._look = look
        self._metrics = metrics
        self._start_time = time.time()

    def Status(
        self, _request: sscsi_pb2.RoomStatusRequest, _context: grpc.ServicerContext
    ) -> sscsi_pb2.RoomStatusResponse:
        status = self._look()
        return sscsi_pb2.RoomStatusResponse(
            room=self._room,
            version=__version__,
            pid=os.getpid(),
            start_time=self._start_time,
            facts=status.facts,
            state=status.state,
            problems=status.problems,
        )

    def Metrics(
        self, _request: sscsi_pb2.RoomMetricsRequest, _context: grpc.ServicerContext
    ) -> sscsi_pb2.RoomMetricsResponse:
        return to_message(self._metrics())


def state_server(
    run_directory: str,
    room: str,
    look: Callable[[], RoomStatus],
    metrics: Callable[[], Sequence[Family]] = tuple,
) -> SocketServer:
    """The server of the room's state socket, one of STATE_SOCKETS, not yet serving.

    It has a thread of its own, so that it answers while every other call of the room hangs.
    """
    service = RoomService(room, look, metrics)
    return SocketServer(
        os.path.join(run_directory, STATE_SOCKETS[room]),
        mode=_STATE_MODE,
        add_services=lambda server: sscsi_pb2_grpc.add_RoomServicer_to_server(service, server),
        pool=futures.ThreadPoolExecutor(1, f"{room}-state"),
        interceptors=[StatusInterceptor()],
    )


class RoomStates:
    """The states of several rooms, as they were a moment ago at most.

    `sockets` are their paths by room name. One long-lived channel each. A room that is dead or hangs costs the
    caller `timeout_seconds` once, whatever the number of such rooms, and its state is None. `options` are the
    channels'; who asks but once has no use for the quick reconnections that the default makes room for.
    """

    def __init__(
        self,
        sockets: dict[str, str],
        *,
        timeout_seconds: float,
        options: Sequence[tuple[str, object]] = ROOM_CHANNEL_OPTIONS,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._channels = {
            room: grpc.insecure_channel(unix_target(path), options) for room, path in sockets.items()
        }
        self._stubs = {room: sscsi_pb2_grpc.RoomStub(channel) for room, channel in self._channels.items()}

    def ask(self) -> dict[str, RoomStatus | None]:
        """Ask every room at once; None for one that gave no answer in time."""
        calls = {
            room: stub.Status.future(sscsi_pb2.RoomStatusRequest(), timeout=self._timeout_seconds)
            for room, stub in self._stubs.items()
        }
        return {room: _answer(call) for room, call in calls.items()}

    def ask_metrics(self) -> dict[str, list[Family] | None]:
        """Ask every room for its metrics, at once; None for one that gave no answer in time."""
        calls = {
            room: stub.Metrics.future(sscsi_pb2.RoomMetricsRequest(), timeout=self._timeout_seconds)
            for room, stub in self._stubs.items()
        }
        return {room: _families(call) for room, call in calls.items()}

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()


def _answer(call: "grpc.Future[sscsi_pb2.RoomStatusResponse]") -> RoomStatus | None:
    try:
        response = call.result()
    except (grpc.RpcError, grpc.FutureCancelledError):
        return None
    return RoomStatus(
        room=response.room,
        version=response.version,
        pid=response.pid,
        start_time=response.start_time,
        state=response.state,
        facts=dict(response.facts),
        problems=tuple(response.problems),
    )


def _families(call: "grpc.Future[sscsi_pb2.RoomMetricsResponse]") -> list[Family] | None:
    try:
        return from_message(call.result())
    except (grpc.RpcError, grpc.FutureCancelledError):
        return None
