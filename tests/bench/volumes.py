"""Volumes to publish: their content, and the very requests that kubelet would send for them."""

import dataclasses
import datetime as dt
import hashlib
import json
import os
import uuid
from collections.abc import Sequence

from sscsi.pb import csi_pb2

PROVIDER = "bench"
NAMESPACE = "bench"
_ATTRIBUTE = "csi.storage.k8s.io/"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the provider answers for a volume: `files` files of `file_bytes` bytes each.

    A `series` is a word that has contents of one size be of different classes; `annotations` are of the class.
    """

    files: int
    file_bytes: int
    series: str = ""
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """As the report shows it: 3x64B, 50x4KiB."""
        return f"{self.files}x{format_bytes(self.file_bytes)}"

    @property
    def class_name(self) -> str:
        suffix = f"-{self.series}" if self.series else ""
        return f"bench-{self.files}x{self.file_bytes}{suffix}"

    @property
    def parameters(self) -> dict[str, str]:
        return {"files": str(self.files), "bytes": str(self.file_bytes)}


def format_bytes(count: int) -> str:
    """4 KiB, not 4096 B, when it is whole."""
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size and count % size == 0:
            return f"{count // size}{unit}"
    return f"{count}B"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One inline volume of one pod, with its requests ready to be sent."""

    target_path: str
    publish: bytes
    unpublish: bytes


def make_volumes(kubelet_root: str, content: Content, count: int) -> list[Volume]:
    """`count` volumes of new pods; their parent directories are made, as kubelet does before it calls."""
    return [_volume(kubelet_root, content, str(uuid.uuid4())) for _ in range(count)]


def remove_directories(volumes: Sequence[Volume]) -> None:
    """Take away what kubelet would: the directories above the target paths of unpublished volumes."""
    for volume in volumes:
        # .../pods/<uid>/volumes/kubernetes.io~csi/<name>/mount
        os.removedirs(os.path.dirname(volume.target_path))


def _volume(kubelet_root: str, content: Content, pod_uid: str) -> Volume:
    name = "secrets"
    parent = f"{kubelet_root}/pods/{pod_uid}/volumes/kubernetes.io~csi/{name}"
    os.makedirs(parent, mode=0o750)
    volume_id = "csi-" + hashlib.sha256((pod_uid + name).encode()).hexdigest()
    target_path = f"{parent}/mount"
    return Volume(
        target_path=target_path,
        publish=_publish_request(volume_id, target_path, content, pod_uid).SerializeToString(),
        unpublish=csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=volume_id, target_path=target_path
        ).SerializeToString(),
    )


def _publish_request(
    volume_id: str, target_path: str, content: Content, pod_uid: str
) -> csi_pb2.NodePublishVolumeRequest:
    """A publish as kubelet 1.34 sends it for an inline volume with podInfoOnMount and tokenRequests."""
    return csi_pb2.NodePublishVolumeRequest(
        volume_id=volume_id,
        target_path=target_path,
        volume_capability=csi_pb2.VolumeCapability(
            mount=csi_pb2.VolumeCapability.MountVolume(),
            access_mode=csi_pb2.VolumeCapability.AccessMode(
                mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
            ),
        ),
        readonly=True,
        volume_context={
            "secretProviderClass": content.class_name,
            _ATTRIBUTE + "pod.name": f"pod-{pod_uid[:8]}",
            _ATTRIBUTE + "pod.namespace": NAMESPACE,
            _ATTRIBUTE + "pod.uid": pod_uid,
            _ATTRIBUTE + "serviceAccount.name": "default",
            _ATTRIBUTE + "ephemeral": "true",
            _ATTRIBUTE + "serviceAccount.tokens": _tokens(pod_uid),
        },
    )


def _tokens(pod_uid: str) -> str:
    """One token of a usual size; kubelet refreshes tokens, so every pod has one of its own."""
    expiry = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    token = hashlib.shake_128(pod_uid.encode()).hexdigest(500)
    return json.dumps(
        {"vault": {"token": token, "expirationTimestamp": expiry.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    )
