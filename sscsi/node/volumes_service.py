"""`sscsi.v1.Volumes`: what the other rooms may know of the volumes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import grpc

from sscsi.edges.class_messages import event_to_notice, record_to_message
from sscsi.node.volumes import Change, Volumes
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

# How often a watch looks whether its caller is still there.
_POLL_SECONDS = 5.0
# The first change goes out at once; what follows within this time goes together, so that a hundred publishes are
# a few messages and not a hundred that compete with them for the processor.
_GATHER_SECONDS = 0.2


class VolumesService(sscsi_pb2_grpc.VolumesServicer):
    """Serves watches. `waiting` wraps the waits between changes (the pool's `blocked`)."""

    def __init__(self, volumes: Volumes, waiting: Callable[[], AbstractContextManager[None]]) -> None:
        self._volumes = volumes
        self._waiting = waiting

    def Watch(
        self, request: sscsi_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[sscsi_pb2.WatchResponse]:
        with self._volumes.watching() as watcher:
            sent, records, unknown = self._volumes.snapshot()
            yield sscsi_pb2.WatchResponse(
                revision=sent,
                snapshot=True,
                volumes=map(record_to_message, records),
                unknown_volumes=unknown,
                notices=self._notices(request, context),
            )
            while context.is_active() and not watcher.ended:
                with self._waiting():
                    changes = watcher.take(_POLL_SECONDS)
                # What was pending when the snapshot was taken is in it.
                news = [change for change in changes if change.revision > sent]
                notices = self._notices(request, context)
                if news or notices:
                    response = (
                        _message(news)
                        if news
                        else sscsi_pb2.WatchResponse(revision=sent, unknown_volumes=unknown)
                    )
                    response.notices.extend(notices)
                    sent, unknown = response.revision, response.unknown_volumes
                    yield response
                    with self._waiting():
                        watcher.rest(_GATHER_SECONDS)

    def _notices(
        self, request: sscsi_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> list[sscsi_pb2.Notice]:
        # One who has gone and whose watch is still waiting must not take them from its successor.
        if not (request.notices and context.is_active()):
            return []
        return [event_to_notice(notice) for notice in self._volumes.take_notices()]


def _message(changes: Sequence[Change]) -> sscsi_pb2.WatchResponse:
    # The count of the last change: with a later one, a volume would be known that no message has told of.
    last = max(changes, key=lambda change: change.revision)
    return sscsi_pb2.WatchResponse(
        revision=last.revision,
        volumes=[record_to_message(change.record) for change in changes if change.record is not None],
        removed_target_paths=[change.target_path for change in changes if change.record is None],
        unknown_volumes=last.unknown_count,
    )
