"""What kubelet does with an inline volume, on a real CSI socket: the calls, their order and their content.

Source: the sidecars reference, C6, C7 and C10: a new connection for every RPC, two NodeGetCapabilities before
each publish, the parent of the target path made (0750) and removed by the caller.
"""

import contextlib
import dataclasses
import hashlib
import os
from typing import Any

import grpc

from sscsi.cli.errors import CallFailedError
from sscsi.pb import csi_pb2, csi_pb2_grpc

# Kubelet gives all calls of one publish two minutes together; nobody waits for a demo that long.
_CALL_SECONDS = 20.0
_CONNECT_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodVolume:
    """An inline CSI volume of a pod. `attributes` are those of the pod's author, `secretProviderClass` in them."""

    pod_name: str
    pod_namespace: str
    pod_uid: str
    service_account: str
    volume_name: str
    attributes: dict[str, str]

    @property
    def volume_id(self) -> str:
        """The id that kubelet derives, equal on every publish of this volume."""
        return "csi-" + hashlib.sha256((self.pod_uid + self.volume_name).encode()).hexdigest()


class Kubelet:
    """The part of kubelet that calls a CSI driver. `pods_directory` stands for /var/lib/kubelet/pods."""

    def __init__(self, socket_path: str, *, pods_directory: str) -> None:
        self._socket_path = socket_path
        self._pods_directory = pods_directory

    def target_path(self, volume: PodVolume) -> str:
        """Where the volume's content appears."""
        return os.path.join(
            self._pods_directory, volume.pod_uid, "volumes/kubernetes.io~csi", volume.volume_name, "mount"
        )

    def is_ready(self) -> bool:
        """Whether the driver answers Probe, and does not say that it is not ready yet."""
        try:
            answer = self._identity("Probe", csi_pb2.ProbeRequest(), seconds=_CONNECT_SECONDS)
        except CallFailedError:
            return False
        return not answer.HasField("ready") or bool(answer.ready.value)

    def publish(self, volume: PodVolume) -> str:
        """Ask for the volume, for the first time or once more; its target path. Raises CallFailedError."""
        target_path = self.target_path(volume)
        os.makedirs(os.path.dirname(target_path), mode=0o750, exist_ok=True)
        for _ in range(2):
            self._node("NodeGetCapabilities", csi_pb2.NodeGetCapabilitiesRequest())
        self._node("NodePublishVolume", self._publish_request(volume, target_path))
        return target_path

    def unpublish(self, volume: PodVolume) -> None:
        """Give the volume back, and remove the pod's directories that are empty now. Raises CallFailedError."""
        target_path = self.target_path(volume)
        self._node(
            "NodeUnpublishVolume",
            csi_pb2.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=target_path),
        )
        directory = os.path.dirname(target_path)
        with contextlib.suppress(OSError):
            while directory.startswith(self._pods_directory + "/"):
                os.rmdir(directory)
                directory = os.path.dirname(directory)

    def _publish_request(self, volume: PodVolume, target_path: str) -> csi_pb2.NodePublishVolumeRequest:
        pod_keys = {
            "pod.name": volume.pod_name,
            "pod.namespace": volume.pod_namespace,
            "pod.uid": volume.pod_uid,
            "serviceAccount.name": volume.service_account,
            "ephemeral": "true",
        }
        return csi_pb2.NodePublishVolumeRequest(
            volume_id=volume.volume_id,
            target_path=target_path,
            readonly=True,
            volume_capability=csi_pb2.VolumeCapability(
                mount=csi_pb2.VolumeCapability.MountVolume(),
                access_mode=csi_pb2.VolumeCapability.AccessMode(
                    mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
                ),
            ),
            volume_context={
                **volume.attributes,
                **{f"csi.storage.k8s.io/{key}": value for key, value in pod_keys.items()},
            },
        )

    def _node(self, method: str, request: Any) -> Any:
        return self._call(csi_pb2_grpc.NodeStub, method, request, _CALL_SECONDS)

    def _identity(self, method: str, request: Any, *, seconds: float) -> Any:
        return self._call(csi_pb2_grpc.IdentityStub, method, request, seconds)

    def _call(self, stub: Any, method: str, request: Any, seconds: float) -> Any:
        options = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
        with grpc.insecure_channel("unix:" + self._socket_path, options=options) as channel:
            try:
                return getattr(stub(channel), method)(request, timeout=seconds)
            except grpc.RpcError as error:
                raise CallFailedError(f"{method}: {error.code().name}: {error.details()}") from error
