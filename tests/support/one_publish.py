"""One kubelet that makes one publish: a process of its own, so that it can be killed in the middle of the call.

`python -m tests.support.one_publish SOCKET REQUEST MARK`: REQUEST is a file with the serialized request; MARK is a
file made right before the call. The exit code is the number of the call's gRPC status.
"""

import sys

import grpc

from sscsi.pb import csi_pb2, csi_pb2_grpc

_SECONDS = 60.0


def main() -> int:
    """Make the call."""
    socket_path, request_path, mark = sys.argv[1:]
    with open(request_path, "rb") as file:
        request = csi_pb2.NodePublishVolumeRequest.FromString(file.read())
    with grpc.insecure_channel(f"unix:{socket_path}", (("grpc.default_authority", "localhost"),)) as channel:
        grpc.channel_ready_future(channel).result(_SECONDS)
        open(mark, "wb").close()
        try:
            csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request, timeout=_SECONDS)
        except grpc.RpcError as error:
            return int(error.code().value[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
