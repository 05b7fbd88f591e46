"""`sscsi.v1.Volumes`: what the other rooms may know of the volumes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import grpc

from sscsi.core.refresh_outcome import Outcome
from sscsi.core.volume_record import VolumeRecord
from sscsi.edges.class_messages import ask_from_message, event_to_notice, record_to_message
from sscsi.errors import InvalidRequestError
from sscsi.node.deadline import Deadline
from sscsi.node.refresh_desk import RefreshDesk, Selector
from sscsi.node.volumes import Change, Volumes
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

# How often a watch looks whether its caller is still there.
_POLL_SECONDS = 5.0
# `sscsi refresh` waits no longer than this, whatever it allows.
_REFRESH_SECONDS = 3600.0
_OUTCOMES = {
    Outcome.CHANGED: sscsi_pb2.RefreshResult.CHANGED,
    Outcome.UNCHANGED: sscsi_pb2.RefreshResult.UNCHANGED,
    Outcome.FAILED: sscsi_pb2.RefreshResult.FAILED,
    Outcome.PENDING: sscsi_pb2.RefreshResult.PENDING,
}
# The first change goes out at once; what follows within this time goes together, so that a hundred publishes are
# a few messages and not a hundred that compete with them for the processor.
_GATHER_SECONDS = 0.2


class VolumesService(sscsi_pb2_grpc.VolumesServicer):
    """Serves watches and takes wishes. `waiting` wraps the waits between changes (the pool's `blocked`)."""

    def __init__(
        self, volumes: Volumes, desk: RefreshDesk, waiting: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._volumes = volumes
        self._desk = desk
        self._waiting = waiting

    def Refresh(
        self, request: sscsi_pb2.RefreshRequest, context: grpc.ServicerContext
    ) -> sscsi_pb2.RefreshResponse:
        results = self._desk.refresh(
            _selector(request), timeout_seconds=_deadline(context).for_others(_REFRESH_SECONDS)
        )
        return sscsi_pb2.RefreshResponse(
            results=[
                sscsi_pb2.RefreshResult(
                    target_path=record.target_path,
                    pod_namespace=record.pod_namespace,
                    pod_name=record.pod_name,
                    class_name=record.class_name,
                    outcome=_OUTCOMES[result.outcome],
                    message=result.message,
                )
                for record, result in results
            ]
        )

    def AskRefresh(
        self, request: sscsi_pb2.AskRefreshRequest, _context: grpc.ServicerContext
    ) -> sscsi_pb2.AskRefreshResponse:
        self._desk.ask(map(ask_from_message, request.asks))
        return sscsi_pb2.AskRefreshResponse()

    def Watch(
        self, request: sscsi_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[sscsi_pb2.WatchResponse]:
        with self._volumes.watching() as watcher:
            sent, records, unknown = self._volumes.snapshot()
            yield sscsi_pb2.WatchResponse(
                revision=sent,
                snapshot=True,
                volumes=self._snapshot(records),
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

    def _snapshot(self, records: Sequence[VolumeRecord]) -> Iterator[sscsi_pb2.Volume]:
        """The records, with their plans: those are for people, and no change of them is told."""
        times = self._desk.times()
        for record in records:
            message = record_to_message(record)
            if plan := times.get(record.target_path):
                message.refresh_interval = plan.interval_seconds
                message.due_time = plan.due_time
                message.waits_for = plan.waits_for
            yield message

    def _notices(
        self, request: sscsi_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> list[sscsi_pb2.Notice]:
        # One who has gone and whose watch is still waiting must not take them from its successor.
        if not (request.notices and context.is_active()):
            return []
        return [event_to_notice(notice) for notice in self._volumes.take_notices()]


def _deadline(context: grpc.ServicerContext) -> Deadline:
    return Deadline.of(context, longest_seconds=_REFRESH_SECONDS)


def _selector(request: sscsi_pb2.RefreshRequest) -> Selector:
    """Raises InvalidRequestError for a request that selects nothing on purpose, or everything by oversight."""
    names = (request.namespace, request.class_name, request.pod_name, request.pod_uid)
    if request.all == any(names):
        raise InvalidRequestError("select all volumes, or those of a class or a pod")
    if not request.all and not (request.namespace and (request.class_name or request.pod_name)):
        raise InvalidRequestError("select a class or a pod by its namespace and its name")
    return Selector(
        namespace=request.namespace,
        class_name=request.class_name,
        pod_name=request.pod_name,
        pod_uid=request.pod_uid,
    )


def _message(changes: Sequence[Change]) -> sscsi_pb2.WatchResponse:
    # The count of the last change: with a later one, a volume would be known that no message has told of.
    last = max(changes, key=lambda change: change.revision)
    return sscsi_pb2.WatchResponse(
        revision=last.revision,
        volumes=[record_to_message(change.record) for change in changes if change.record is not None],
        removed_target_paths=[change.target_path for change in changes if change.record is None],
        unknown_volumes=last.unknown_count,
    )
