"""The node room's volumes as status-sync hears of them: one long-lived channel, one watch at a time."""

import threading
from collections.abc import Collection, Iterator

import grpc

from sscsi.core.published_volume import VolumeChange
from sscsi.core.refresh_ask import RefreshAsk
from sscsi.edges.class_messages import ask_to_message, event_from_notice, volume_from_message
from sscsi.edges.unix_socket import ROOM_CHANNEL_OPTIONS, unix_target
from sscsi.errors import RoomUnavailableError
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

# A watch ends after this time and is begun anew, with a full snapshot: whatever was missed, and whatever was
# edited by hand, is put right then. Upstream's own period for that is five minutes, too.
WATCH_SECONDS = 300.0
# The node room only takes note of what is asked for.
_ASK_SECONDS = 5.0
_OPTIONS = (
    *ROOM_CHANNEL_OPTIONS,
    # A snapshot of many volumes with many objects each is over gRPC's 4 MiB.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


class VolumesClient:
    """The VolumeFeed port over the socket at `socket_path`."""

    def __init__(self, socket_path: str, *, watch_seconds: float = WATCH_SECONDS) -> None:
        self._socket_path = socket_path
        self._watch_seconds = watch_seconds
        self._channel = grpc.insecure_channel(unix_target(socket_path), _OPTIONS)
        self._stub = sscsi_pb2_grpc.VolumesStub(self._channel)
        self._lock = threading.Lock()
        self._call: grpc.Call | None = None
        self._closed = False

    def watch(self) -> Iterator[VolumeChange]:
        with self._lock:
            if self._closed:
                return
            call = self._stub.Watch(sscsi_pb2.WatchRequest(notices=True), timeout=self._watch_seconds)
            self._call = call
        heard = False
        try:
            for response in call:
                heard = True
                yield _change(response)
        except grpc.RpcError as error:
            # A room that serves begins with a snapshot; one that took the call and says nothing hangs.
            is_over = heard and call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if not self._closed and not is_over:
                raise self._unavailable(call.code()) from error
        else:
            raise RoomUnavailableError(f"the node room at {self._socket_path} is stopping")
        finally:
            call.cancel()

    def ask_refresh(self, asks: Collection[RefreshAsk]) -> None:
        request = sscsi_pb2.AskRefreshRequest(asks=[ask_to_message(ask) for ask in asks])
        try:
            self._stub.AskRefresh(request, timeout=_ASK_SECONDS)
        except grpc.RpcError as error:
            raise self._unavailable(error.code()) from error
        except ValueError as error:
            # gRPC's word for a channel that is closed.
            raise RoomUnavailableError("stopping; the node room is not asked any more") from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._call is not None:
                self._call.cancel()
        self._channel.close()

    def _unavailable(self, code: grpc.StatusCode) -> RoomUnavailableError:
        return RoomUnavailableError(
            f"the node room does not answer at {self._socket_path} ({code.name}); is it running?"
        )


def _change(response: sscsi_pb2.WatchResponse) -> VolumeChange:
    return VolumeChange(
        snapshot=response.snapshot,
        volumes=tuple(volume_from_message(volume) for volume in response.volumes),
        removed_target_paths=tuple(response.removed_target_paths),
        unknown_volumes=response.unknown_volumes,
        notices=tuple(event_from_notice(notice) for notice in response.notices),
    )
