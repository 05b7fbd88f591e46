"""`sscsi.v1.Volumes` and `sscsi.v1.Room`: what the other rooms may know of the node room."""

import os
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import grpc

from sscsi import __version__
from sscsi.edges.class_messages import record_to_message
from sscsi.node.volumes import Change, Volumes, Watcher
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

# How often a watch looks whether its caller is still there.
_POLL_SECONDS = 5.0


class VolumesService(sscsi_pb2_grpc.VolumesServicer):
    """Serves watches. `waiting` wraps the waits between changes (the pool's `blocked`)."""

    def __init__(self, volumes: Volumes, waiting: Callable[[], AbstractContextManager[None]]) -> None:
        self._volumes = volumes
        self._waiting = waiting

    def Watch(
        self, _request: sscsi_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[sscsi_pb2.WatchResponse]:
        with self._volumes.watching() as watcher:
            snapshot = self._snapshot(watcher)
            yield snapshot
            sent = snapshot.revision
            while context.is_active():
                try:
                    with self._waiting():
                        change = watcher.changes.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
                if change is None:
                    return
                if watcher.overrun:
                    response = self._snapshot(watcher)
                elif change.revision <= sent:
                    continue
                else:
                    response = _message(change)
                sent = response.revision
                yield response

    def _snapshot(self, watcher: Watcher) -> sscsi_pb2.WatchResponse:
        watcher.forget()
        revision, records = self._volumes.snapshot()
        return sscsi_pb2.WatchResponse(
            revision=revision, snapshot=True, volumes=map(record_to_message, records)
        )


class RoomService(sscsi_pb2_grpc.RoomServicer):
    """Serves the room's status."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes
        self._start_time = time.time()

    def Status(
        self, _request: sscsi_pb2.RoomStatusRequest, _context: grpc.ServicerContext
    ) -> sscsi_pb2.RoomStatusResponse:
        records = self._volumes.all()
        return sscsi_pb2.RoomStatusResponse(
            room="node",
            version=__version__,
            pid=os.getpid(),
            start_time=self._start_time,
            facts={
                "volumes": str(len(records)),
                "volumes_adopted": str(sum(record.adopted for record in records)),
                "volumes_whose_last_refresh_failed": str(sum(bool(record.last_error) for record in records)),
            },
        )


def _message(change: Change) -> sscsi_pb2.WatchResponse:
    if change.record is None:
        return sscsi_pb2.WatchResponse(revision=change.revision, removed_target_paths=[change.target_path])
    return sscsi_pb2.WatchResponse(revision=change.revision, volumes=[record_to_message(change.record)])
