"""CSI Node: the RPCs of kubelet. Checks here, work in `publish`, `unpublish`."""

import contextlib
from collections.abc import Callable

import grpc

from sscsi.core.target_path import clean_target_path, kubelet_volume
from sscsi.errors import InvalidRequestError, SscsiError, UnsupportedError, VolumeNotFoundError
from sscsi.node.deadline import Deadline
from sscsi.node.metrics import NodeMetrics
from sscsi.node.publish import Publisher
from sscsi.node.publish_request import parse_publish
from sscsi.node.unpublish import Unpublisher
from sscsi.node.volumes import Volumes
from sscsi.pb import csi_pb2, csi_pb2_grpc
from sscsi.ports import FileTrees, Mounter

_RPC = csi_pb2.NodeServiceCapability.RPC
_CAPABILITIES = csi_pb2.NodeGetCapabilitiesResponse(
    capabilities=[
        csi_pb2.NodeServiceCapability(rpc=_RPC(type=_RPC.GET_VOLUME_STATS)),
        csi_pb2.NodeServiceCapability(rpc=_RPC(type=_RPC.VOLUME_MOUNT_GROUP)),
    ]
)


class NodeService(csi_pb2_grpc.NodeServicer):
    """The Node service. Errors are raised; the interceptor makes statuses of them.

    `announce` is called when a publish is likely to follow.
    """

    def __init__(
        self,
        *,
        node_id: str,
        publisher: Publisher,
        unpublisher: Unpublisher,
        metrics: NodeMetrics,
        announce: Callable[[], None],
        mounter: Mounter,
        trees: FileTrees,
        volumes: Volumes,
    ) -> None:
        self._node_id = node_id
        self._publisher = publisher
        self._unpublisher = unpublisher
        self._metrics = metrics
        self._announce = announce
        self._mounter = mounter
        self._trees = trees
        self._volumes = volumes

    def NodePublishVolume(
        self, request: csi_pb2.NodePublishVolumeRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodePublishVolumeResponse:
        try:
            parsed = parse_publish(request)
        except InvalidRequestError as error:
            # Upstream counts it, too; no time was spent on it.
            self._metrics.publish_failed("", error, 0.0)
            raise
        self._publisher.publish(parsed, Deadline.of(context))
        return csi_pb2.NodePublishVolumeResponse()

    def NodeUnpublishVolume(
        self, request: csi_pb2.NodeUnpublishVolumeRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        try:
            self._unpublisher.unpublish(request)
        except SscsiError:
            self._metrics.unpublish_failed()
            raise
        self._metrics.unpublish_succeeded()
        return csi_pb2.NodeUnpublishVolumeResponse()

    def NodeGetCapabilities(
        self, _request: csi_pb2.NodeGetCapabilitiesRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        self._announce()
        return _CAPABILITIES

    def NodeGetInfo(
        self, _request: csi_pb2.NodeGetInfoRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeGetInfoResponse:
        return csi_pb2.NodeGetInfoResponse(node_id=self._node_id)

    def NodeGetVolumeStats(
        self, request: csi_pb2.NodeGetVolumeStatsRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeGetVolumeStatsResponse:
        if not request.volume_id:
            raise InvalidRequestError("Volume ID missing in request")
        if not request.volume_path:
            raise InvalidRequestError("Volume path missing in request")
        path = self._volume_path(request.volume_path)
        usage = self._trees.usage(path)
        return csi_pb2.NodeGetVolumeStatsResponse(
            usage=[
                csi_pb2.VolumeUsage(
                    unit=csi_pb2.VolumeUsage.BYTES,
                    total=usage.total_bytes,
                    available=usage.available_bytes,
                    used=usage.used_bytes,
                ),
                csi_pb2.VolumeUsage(
                    unit=csi_pb2.VolumeUsage.INODES,
                    total=usage.total_inodes,
                    available=usage.available_inodes,
                    used=usage.used_inodes,
                ),
            ]
        )

    def _volume_path(self, path: str) -> str:
        """The path when a volume is there; CSI wants NOT_FOUND for any other, even one that can't be a path."""
        with contextlib.suppress(InvalidRequestError):
            clean = clean_target_path(path)
            # One of kubelet's shape may be without a record yet: upstream's, or of before a loss of the records.
            is_ours = self._volumes.get(clean) is not None or kubelet_volume(clean) is not None
            if is_ours and self._mounter.look(clean).is_tmpfs:
                return clean
        raise VolumeNotFoundError(f"volume path {path[:200]!r} is no volume of this driver")

    def NodeStageVolume(
        self, request: csi_pb2.NodeStageVolumeRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeStageVolumeResponse:
        """Upstream's checks and nothing else: kubelet never stages an inline volume."""
        if not request.volume_id:
            raise InvalidRequestError("Volume ID missing in request")
        if not request.staging_target_path:
            raise InvalidRequestError("Target path missing in request")
        if not request.HasField("volume_capability"):
            raise InvalidRequestError("Volume capability missing in request")
        return csi_pb2.NodeStageVolumeResponse()

    def NodeUnstageVolume(
        self, request: csi_pb2.NodeUnstageVolumeRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeUnstageVolumeResponse:
        if not request.volume_id:
            raise InvalidRequestError("Volume ID missing in request")
        if not request.staging_target_path:
            raise InvalidRequestError("Target path missing in request")
        return csi_pb2.NodeUnstageVolumeResponse()

    def NodeExpandVolume(
        self, _request: csi_pb2.NodeExpandVolumeRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeExpandVolumeResponse:
        raise UnsupportedError("NodeExpandVolume is not implemented")
