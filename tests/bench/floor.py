"""The floor: what publish and unpublish cost a Python gRPC server that does nothing it could leave out.

Provider call, mount(2), files in the `..data` layout, answer; umount2(2) and rmdir(2). No validation, no class
look-up, no record, no log, no lock, no proof: a driver cannot be this, and cannot be quicker in this language.
Run as `python -m tests.bench.floor SOCKET PROVIDER_SOCKET CLASSES`, where CLASSES is a JSON object of class
names to parameters, so that the provider is sent the same request as by the real driver.
"""

import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from concurrent import futures

import grpc

from sscsi.pb import csi_pb2, provider_pb2, provider_pb2_grpc
from sscsi.process.run import stop_on_signals
from tests.bench.processes import die_with_parent

_MS_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8
_UMOUNT_NOFOLLOW = 8

_libc = ctypes.CDLL(None, use_errno=True)


class FloorNode:
    """The three calls that kubelet makes."""

    def __init__(
        self, provider: provider_pb2_grpc.CSIDriverProviderStub, classes: dict[str, dict[str, str]]
    ) -> None:
        self._provider = provider
        self._classes = classes

    def NodeGetCapabilities(
        self, request: csi_pb2.NodeGetCapabilitiesRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        kinds = csi_pb2.NodeServiceCapability.RPC
        return csi_pb2.NodeGetCapabilitiesResponse(
            capabilities=[
                csi_pb2.NodeServiceCapability(rpc=kinds(type=kind))
                for kind in (kinds.GET_VOLUME_STATS, kinds.VOLUME_MOUNT_GROUP)
            ]
        )

    def NodePublishVolume(
        self, request: csi_pb2.NodePublishVolumeRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodePublishVolumeResponse:
        target_path = request.target_path
        os.mkdir(target_path, 0o750)
        _check(
            _libc.mount(
                b"tmpfs", os.fsencode(target_path), b"tmpfs", ctypes.c_ulong(_MS_NOSUID_NODEV_NOEXEC), b""
            )
        )
        attributes = dict(request.volume_context)
        answer = self._provider.Mount(
            provider_pb2.MountRequest(
                attributes=json.dumps({**self._classes[attributes["secretProviderClass"]], **attributes}),
                secrets="{}",
                target_path=target_path,
                permission="420",
            ),
            timeout=100,
        )
        _write(target_path, answer.files)
        return csi_pb2.NodePublishVolumeResponse()

    def NodeUnpublishVolume(
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        _check(_libc.umount2(os.fsencode(request.target_path), _UMOUNT_NOFOLLOW))
        os.rmdir(request.target_path)
        return csi_pb2.NodeUnpublishVolumeResponse()


def _write(target_path: str, files: Iterable[provider_pb2.File]) -> None:
    data = tempfile.mkdtemp(prefix="..", dir=target_path)
    os.chmod(data, 0o755)
    for file in files:
        descriptor = os.open(f"{data}/{file.path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
        try:
            os.write(descriptor, file.contents)
        finally:
            os.close(descriptor)
    os.symlink(os.path.basename(data), f"{target_path}/..data_tmp")
    os.rename(f"{target_path}/..data_tmp", f"{target_path}/..data")
    for file in files:
        os.symlink(f"..data/{file.path}", f"{target_path}/{file.path}")


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _handlers(node: FloorNode) -> grpc.GenericRpcHandler:
    methods = (
        (node.NodeGetCapabilities, csi_pb2.NodeGetCapabilitiesRequest),
        (node.NodePublishVolume, csi_pb2.NodePublishVolumeRequest),
        (node.NodeUnpublishVolume, csi_pb2.NodeUnpublishVolumeRequest),
    )
    return grpc.method_handlers_generic_handler(
        "csi.v1.Node",
        {
            method.__name__: grpc.unary_unary_rpc_method_handler(
                method,
                request_deserializer=request_type.FromString,
                response_serializer=lambda answer: answer.SerializeToString(),
            )
            for method, request_type in methods
        },
    )


def main() -> int:
    socket_path, provider_path, classes = sys.argv[1:4]
    die_with_parent()
    stop = stop_on_signals()
    with grpc.insecure_channel(
        f"unix:{provider_path}", options=(("grpc.default_authority", "localhost"),)
    ) as channel:
        server = grpc.server(futures.ThreadPoolExecutor(16))
        node = FloorNode(provider_pb2_grpc.CSIDriverProviderStub(channel), json.loads(classes))
        server.add_generic_rpc_handlers((_handlers(node),))
        server.add_insecure_port(f"unix:{socket_path}")
        server.start()
        stop.wait()
        server.stop(1.0).wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
