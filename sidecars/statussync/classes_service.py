"""`sscsi.v1.Classes`, for the node room."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import grpc

from sidecars.statussync.controller import Controller
from sscsi.edges.class_messages import class_to_message, volume_from_message
from sscsi.errors import InvalidRequestError
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc
from sscsi.ports import Cluster

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


def _bound(context: grpc.ServicerContext, at_most: float) -> float:
    remaining = context.time_remaining()
    return at_most if remaining is None else min(remaining, at_most)
