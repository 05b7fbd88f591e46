"""The node room as status-sync sees it: a real gRPC server that serves Watch on a socket."""

import os
import queue
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc

from sscsi.core.pod_event import PodEvent
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.refresh_ask import RefreshAsk
from sscsi.edges.class_messages import ask_from_message, event_to_notice
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc


def to_message(volume: PublishedVolume) -> sscsi_pb2.Volume:
    return sscsi_pb2.Volume(
        target_path=volume.target_path,
        volume_id="csi-" + volume.pod_uid,
        pod_name=volume.pod_name,
        pod_namespace=volume.pod_namespace,
        pod_uid=volume.pod_uid,
        class_name=volume.class_name,
        object_versions=[
            sscsi_pb2.ObjectVersion(id=name, version=version) for name, version in volume.object_versions
        ],
        data_directory=volume.data_directory,
        last_attempt_time=volume.last_attempt_time,
        last_success_time=volume.last_success_time,
        last_error=volume.last_error,
        adopted=volume.adopted,
        failure_reason=volume.failure_reason,
        failing_since=volume.failing_since,
    )


class FakeNodeRoom(sscsi_pb2_grpc.VolumesServicer):
    """Volumes that a test puts and removes. `mute` accepts calls and never says anything.

    `asked` lists every set of wishes that it was told; with `hears_wishes` off it does not answer to these.
    """

    def __init__(self, socket_path: str, *, mute: bool = False) -> None:
        self.socket_path = socket_path
        self.mute = mute
        self.watches = 0
        self.asked: list[list[RefreshAsk]] = []
        self.hears_wishes = True
        self.asks = 0
        self._lock = threading.Lock()
        self._volumes: dict[str, PublishedVolume] = {}
        self._watchers: set[queue.Queue[sscsi_pb2.WatchResponse | None]] = set()
        self._server: grpc.Server | None = None

    def put(self, volume: PublishedVolume) -> None:
        with self._lock:
            self._volumes[volume.target_path] = volume
            self._tell(sscsi_pb2.WatchResponse(volumes=[to_message(volume)]))

    def remove(self, volume: PublishedVolume) -> None:
        with self._lock:
            del self._volumes[volume.target_path]
            self._tell(sscsi_pb2.WatchResponse(removed_target_paths=[volume.target_path]))

    def notify(self, event: PodEvent) -> None:
        with self._lock:
            self._tell(sscsi_pb2.WatchResponse(notices=[event_to_notice(event)]))

    def put_quietly(self, volume: PublishedVolume) -> None:
        """Change the set without a word: what a lost message would be."""
        with self._lock:
            self._volumes[volume.target_path] = volume

    def start(self) -> None:
        if os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
        server = grpc.server(futures.ThreadPoolExecutor(8))
        sscsi_pb2_grpc.add_VolumesServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self.socket_path}")
        server.start()
        self._server = server

    def stop(self) -> None:
        if self._server is not None:
            with self._lock:
                self._tell(None)
            self._server.stop(0).wait()
            self._server = None

    def Watch(
        self, _request: sscsi_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[sscsi_pb2.WatchResponse]:
        pending: queue.Queue[sscsi_pb2.WatchResponse | None] = queue.Queue()
        context.add_callback(lambda: pending.put(None))
        with self._lock:
            self.watches += 1
            self._watchers.add(pending)
            snapshot = [to_message(volume) for volume in self._volumes.values()]
        try:
            if not self.mute:
                yield sscsi_pb2.WatchResponse(snapshot=True, volumes=snapshot)
            while (response := pending.get()) is not None:
                yield response
        finally:
            with self._lock:
                self._watchers.discard(pending)

    def AskRefresh(
        self, request: sscsi_pb2.AskRefreshRequest, context: grpc.ServicerContext
    ) -> sscsi_pb2.AskRefreshResponse:
        self.asks += 1
        if self.mute or not self.hears_wishes:
            is_over = threading.Event()
            context.add_callback(is_over.set)
            is_over.wait()
            return sscsi_pb2.AskRefreshResponse()
        self.asked.append([ask_from_message(ask) for ask in request.asks])
        return sscsi_pb2.AskRefreshResponse()

    def Refresh(
        self, _request: sscsi_pb2.RefreshRequest, context: grpc.ServicerContext
    ) -> sscsi_pb2.RefreshResponse:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "status-sync has no business with it")

    def _tell(self, response: sscsi_pb2.WatchResponse | None) -> None:
        if not self.mute or response is None:
            for pending in self._watchers:
                pending.put(response)
