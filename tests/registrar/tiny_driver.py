"""The smallest CSI driver that can be registered: it tells its name and its node's id, or what a test wants instead."""

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc

from sscsi.pb import csi_pb2, csi_pb2_grpc

NAME = "secrets-store.csi.k8s.io"


class TinyDriver(csi_pb2_grpc.IdentityServicer, csi_pb2_grpc.NodeServicer):
    """`code` other than OK is the answer to every call; `go_on`, while clear, and `late_seconds` keep callers waiting."""

    def __init__(self, socket_path: str, *, name: str = NAME, node_id: str = "node-1") -> None:
        self.socket_path = socket_path
        self.name = name
        self.node_id = node_id
        self.code = grpc.StatusCode.OK
        self.go_on = threading.Event()
        self.go_on.set()
        self.late_seconds = 0.0
        self.questions = 0
        self._server: grpc.Server | None = None

    def GetPluginInfo(
        self, request: csi_pb2.GetPluginInfoRequest, context: grpc.ServicerContext
    ) -> csi_pb2.GetPluginInfoResponse:
        self.questions += 1
        self._behave(context)
        return csi_pb2.GetPluginInfoResponse(name=self.name)

    def NodeGetInfo(
        self, request: csi_pb2.NodeGetInfoRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodeGetInfoResponse:
        self._behave(context)
        return csi_pb2.NodeGetInfoResponse(node_id=self.node_id)

    def _behave(self, context: grpc.ServicerContext) -> None:
        self.go_on.wait(60)
        threading.Event().wait(self.late_seconds)
        if self.code is not grpc.StatusCode.OK:
            context.abort(self.code, "as the test wants")

    def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket_path)
        server = grpc.server(futures.ThreadPoolExecutor(8))
        csi_pb2_grpc.add_IdentityServicer_to_server(self, server)
        csi_pb2_grpc.add_NodeServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self.socket_path}")
        server.start()
        self._server = server

    def stop(self) -> None:
        """As a driver that is killed: calls under way end, nobody listens."""
        self.go_on.set()
        if self._server is not None:
            self._server.stop(None).wait(60)
            self._server = None


@contextlib.contextmanager
def tiny_driver(socket_path: str, *, name: str = NAME) -> Iterator[TinyDriver]:
    """A driver that serves until the block ends."""
    # What it does not define, gRPC's base answers with UNIMPLEMENTED.
    driver = TinyDriver(socket_path, name=name)  # type: ignore[abstract]
    driver.start()
    try:
        yield driver
    finally:
        driver.stop()
