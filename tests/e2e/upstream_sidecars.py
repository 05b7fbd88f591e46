"""What upstream runs beside its driver, as far as a take-over meets it: `upstream_sidecars.py registrar|livenessprobe ARGUMENTS`.

They stand in for kubernetes-csi's node-driver-registrar and livenessprobe, with their arguments, socket, order and manners (sidecars
reference, A and B): the registrar takes the place of whatever socket it finds, and takes its own away when it is asked to end.
"""

import contextlib
import http.server
import os
import signal
import sys
import threading
from concurrent import futures
from types import FrameType

import grpc

from sscsi.pb import csi_pb2, csi_pb2_grpc, pluginregistration_pb2_grpc
from sscsi.pb import pluginregistration_pb2 as pb

_CONNECT_SECONDS = 30.0
_INFO_SECONDS = 1.0
_PROBE_SECONDS = 3.0


class Registration(pluginregistration_pb2_grpc.RegistrationServicer):
    """Kubelet's plugin registration; ends the process when kubelet says no."""

    def __init__(self, name: str, endpoint: str) -> None:
        self._name = name
        self._endpoint = endpoint

    def GetInfo(self, request: pb.InfoRequest, context: grpc.ServicerContext) -> pb.PluginInfo:
        return pb.PluginInfo(
            type="CSIPlugin", name=self._name, endpoint=self._endpoint, supported_versions=["1.0.0"]
        )

    def NotifyRegistrationStatus(
        self, request: pb.RegistrationStatus, context: grpc.ServicerContext
    ) -> pb.RegistrationStatusResponse:
        print("registered" if request.plugin_registered else f"refused: {request.error}", flush=True)
        if not request.plugin_registered:
            os._exit(1)
        return pb.RegistrationStatusResponse()


def registrar(arguments: dict[str, str]) -> None:
    """Register the driver at --csi-address until the process is ended."""
    channel = grpc.insecure_channel(f"unix:{arguments['csi-address']}")
    grpc.channel_ready_future(channel).result(_CONNECT_SECONDS)
    info = csi_pb2_grpc.IdentityStub(channel).GetPluginInfo(
        csi_pb2.GetPluginInfoRequest(), timeout=_INFO_SECONDS
    )
    socket = os.path.join("/registration", f"{info.name}-reg.sock")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service = Registration(info.name, arguments["kubelet-registration-path"])
    pluginregistration_pb2_grpc.add_RegistrationServicer_to_server(service, server)
    umask = os.umask(0o077)
    server.add_insecure_port(f"unix:{socket}")
    os.umask(umask)
    server.start()
    _wait_for_term()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket)
    os._exit(0)


def livenessprobe(arguments: dict[str, str]) -> None:
    """Answer /healthz with what the driver's Probe says, on a new connection each time."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with grpc.insecure_channel(f"unix:{arguments['csi-address']}") as channel:
                try:
                    csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest(), timeout=_PROBE_SECONDS)
                except grpc.RpcError as error:
                    self.send_error(500, str(error.code()))
                    return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

    host, _, port = arguments["http-endpoint"].rpartition(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _wait_for_term()
    os._exit(0)


def _wait_for_term() -> None:
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    ended.wait()


def main(program: str, *words: str) -> None:
    """Run the program with Go's flags, `--NAME=VALUE`."""
    pairs = (word.lstrip("-").partition("=") for word in words)
    arguments = {name: value for name, _, value in pairs}
    {"registrar": registrar, "livenessprobe": livenessprobe}[program](arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
