"""What kubelet calls on the registration socket."""

from collections.abc import Callable

import grpc

from sscsi.pb import pluginregistration_pb2 as pb
from sscsi.pb import pluginregistration_pb2_grpc

# Kubelet wants a version of the CSI interface with major number 1 (sidecars reference, C3).
PLUGIN_TYPE = "CSIPlugin"
SUPPORTED_VERSIONS = ("1.0.0",)
# Our own health page says so with its calls: they are not kubelet's.
SELF_CHECK = ("sscsi-self-check", "1")


class RegistrationService(pluginregistration_pb2_grpc.RegistrationServicer):
    """Answers the same for ever. `on_asked` and `on_verdict` (registered, kubelet's error) are told of kubelet's calls."""

    def __init__(
        self,
        *,
        driver_name: str,
        endpoint: str,
        on_asked: Callable[[], None],
        on_verdict: Callable[[bool, str], None],
    ) -> None:
        self._info = pb.PluginInfo(
            type=PLUGIN_TYPE, name=driver_name, endpoint=endpoint, supported_versions=SUPPORTED_VERSIONS
        )
        self._on_asked = on_asked
        self._on_verdict = on_verdict

    def GetInfo(self, _request: pb.InfoRequest, context: grpc.ServicerContext) -> pb.PluginInfo:
        if SELF_CHECK not in {tuple(pair) for pair in context.invocation_metadata()}:
            self._on_asked()
        return self._info

    def NotifyRegistrationStatus(
        self, request: pb.RegistrationStatus, _context: grpc.ServicerContext
    ) -> pb.RegistrationStatusResponse:
        self._on_verdict(request.plugin_registered, request.error)
        return pb.RegistrationStatusResponse()
