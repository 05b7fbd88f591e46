"""Status-sync as the node room sees it: one long-lived channel to its socket."""

import grpc

from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.volume_record import VolumeRecord
from sscsi.edges.class_messages import class_from_message, record_to_message
from sscsi.edges.unix_socket import ROOM_CHANNEL_OPTIONS, unix_target
from sscsi.errors import ClassInvalidError, ClassNotFoundError, ClusterUnavailableError
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc


class StatusSyncClasses:
    """The ClassSource port over `socket_path`. Waits, within a call's time-out, for status-sync to be there."""

    def __init__(self, socket_path: str) -> None:
        self._channel = grpc.insecure_channel(unix_target(socket_path), ROOM_CHANNEL_OPTIONS)
        self._stub = sscsi_pb2_grpc.ClassesStub(self._channel)

    def get(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        request = sscsi_pb2.GetClassRequest(namespace=namespace, name=name)
        try:
            return class_from_message(self._stub.Get(request, timeout=timeout_seconds, wait_for_ready=True))
        except grpc.RpcError as error:
            details = error.details() or ""
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise ClassNotFoundError(details) from error
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise ClassInvalidError(details) from error
            raise ClusterUnavailableError(_words(error)) from error

    def ensure_secrets(self, record: VolumeRecord, *, timeout_seconds: float) -> list[str]:
        request = sscsi_pb2.EnsureSecretsRequest(volume=record_to_message(record))
        try:
            return list(
                self._stub.EnsureSecrets(request, timeout=timeout_seconds, wait_for_ready=True).problems
            )
        except grpc.RpcError as error:
            raise ClusterUnavailableError(_words(error)) from error

    def close(self) -> None:
        """Close the channel, which cancels the calls in flight."""
        self._channel.close()


def _words(error: grpc.RpcError) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "status-sync did not answer in time; is it running?"
    return f"status-sync answered {error.code().name}: {error.details()}"
