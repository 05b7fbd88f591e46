"""`sscsi.v1.Classes`, for the node room, and `sscsi.v1.Room`, for whoever asks how this room is."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import grpc

from sidecars.statussync.controller import Controller
from sscsi import __version__
from sscsi.edges.class_messages import class_to_message, volume_from_message
from sscsi.errors import InvalidRequestError
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc
from sscsi.ports import Cluster

ROOM = "statussync"
# Bounds for callers that give no deadline, or one that is too far away to be meant.
_MAX_GET_SECONDS = 10.0
_MAX_ENSURE_SECONDS = 60.0


class ClassesService(sscsi_pb2_grpc.ClassesServicer):
    """Serves class look-ups, of which none waits for the node room. `waiting` is the pool's `blocked`."""

    def __init__(
        self, cluster: Cluster, controller: Controller, waiting: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._cluster = cluster
        self._controller = controller
        self._waiting = waiting

    def Get(
        self, request: sscsi_pb2.GetClassRequest, context: grpc.ServicerContext
    ) -> sscsi_pb2.SecretProviderClass:
        with self._waiting():
            spc = self._cluster.get_class(
                request.namespace, request.name, timeout_seconds=_bound(context, _MAX_GET_SECONDS)
            )
        return class_to_message(spc)

    def EnsureSecrets(
        self, request: sscsi_pb2.EnsureSecretsRequest, context: grpc.ServicerContext
    ) -> sscsi_pb2.EnsureSecretsResponse:
        for field in ("target_path", "pod_name", "pod_namespace", "class_name"):
            if not getattr(request.volume, field):
                raise InvalidRequestError(f"EnsureSecrets: volume.{field} is empty")
        with self._waiting():
            if not context.is_active():
                # Nobody hears the answer, and the volume may be gone by now: to learn of it would bring it back.
                return sscsi_pb2.EnsureSecretsResponse()
            problems = self._controller.ensure_secrets(
                volume_from_message(request.volume), timeout_seconds=_bound(context, _MAX_ENSURE_SECONDS)
            )
        return sscsi_pb2.EnsureSecretsResponse(problems=problems)


class RoomService(sscsi_pb2_grpc.RoomServicer):
    """Serves the room's status; `facts` is asked each time."""

    def __init__(self, facts: Callable[[], Mapping[str, str]]) -> None:
        self._facts = facts
        self._start_time = time.time()

    def Status(
        self, _request: sscsi_pb2.RoomStatusRequest, _context: grpc.ServicerContext
    ) -> sscsi_pb2.RoomStatusResponse:
        return sscsi_pb2.RoomStatusResponse(
            room=ROOM,
            version=__version__,
            pid=os.getpid(),
            start_time=self._start_time,
            facts=self._facts(),
        )


def _bound(context: grpc.ServicerContext, at_most: float) -> float:
    remaining = context.time_remaining()
    return at_most if remaining is None else min(remaining, at_most)
