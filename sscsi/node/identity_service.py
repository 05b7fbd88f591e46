"""CSI Identity: who this plugin is."""

import grpc

from sscsi import __version__
from sscsi.pb import csi_pb2, csi_pb2_grpc


class IdentityService(csi_pb2_grpc.IdentityServicer):
    """Identity of a node-only plugin: no plugin capability at all (upstream claims a controller that does nothing)."""

    def __init__(self, driver_name: str) -> None:
        self._driver_name = driver_name

    def GetPluginInfo(
        self, _request: csi_pb2.GetPluginInfoRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.GetPluginInfoResponse:
        return csi_pb2.GetPluginInfoResponse(name=self._driver_name, vendor_version=__version__)

    def GetPluginCapabilities(
        self, _request: csi_pb2.GetPluginCapabilitiesRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        return csi_pb2.GetPluginCapabilitiesResponse()

    def Probe(self, _request: csi_pb2.ProbeRequest, _context: grpc.ServicerContext) -> csi_pb2.ProbeResponse:
        response = csi_pb2.ProbeResponse()
        response.ready.value = True
        return response
