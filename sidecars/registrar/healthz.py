"""The health page: upstream's codes and bodies, and red until kubelet has confirmed."""

import os
import stat
import time

import grpc

from sidecars.registrar.registration_service import SELF_CHECK
from sidecars.registrar.standing import REGISTERED, Board, Standing
from sscsi.core.http_message import Page, Query
from sscsi.edges.grpc_connection import reach
from sscsi.edges.grpc_status import GO_NAMES
from sscsi.edges.unix_socket import unix_target
from sscsi.pb import pluginregistration_pb2, pluginregistration_pb2_grpc

_CHANNEL_OPTIONS = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))


class HealthPage:
    """Looks at the socket as kubelet would: is it there, does it answer, is it ours. Then asks what kubelet said."""

    def __init__(self, board: Board, *, timeout_seconds: float) -> None:
        self._board = board
        self._timeout_seconds = timeout_seconds

    def page(self, _query: Query) -> Page:
        standing = self._board.look()
        deadline = time.monotonic() + self._timeout_seconds
        return (
            _socket_file(standing)
            or _connection(standing, deadline)
            or _answer(standing, deadline)
            or _kubelets_word(standing)
            or Page(200, "ok")
        )


def _socket_file(standing: Standing) -> Page | None:
    missing = "registration socket does not exist"
    if not standing.socket_path:
        return Page(404, f"{missing}: {standing.state}: {standing.problem or 'it has not answered yet'}")
    try:
        mode = os.stat(standing.socket_path).st_mode
    except FileNotFoundError:
        return Page(404, missing)
    except OSError as error:
        return Page(500, f"cannot look at {standing.socket_path}: {error.strerror}")
    if not stat.S_ISSOCK(mode):
        return Page(500, f"{standing.socket_path} is not a socket")
    return None


def _connection(standing: Standing, deadline: float) -> Page | None:
    try:
        reach(standing.socket_path, deadline=deadline)
    except OSError as error:
        reason = error.strerror or str(error) or "timed out"
        return Page(500, f"error connecting to node-registrar socket {standing.socket_path}: {reason}")
    return None


def _answer(standing: Standing, deadline: float) -> Page | None:
    with grpc.insecure_channel(unix_target(standing.socket_path), _CHANNEL_OPTIONS) as channel:
        stub = pluginregistration_pb2_grpc.RegistrationStub(channel)
        try:
            info = stub.GetInfo(
                pluginregistration_pb2.InfoRequest(),
                timeout=max(deadline - time.monotonic(), 0.0),
                metadata=(SELF_CHECK,),
            )
        except grpc.RpcError as error:
            return Page(
                500,
                f"error getting info from node-registrar socket: {GO_NAMES[error.code()]} at {standing.socket_path}",
            )
    if info.name != standing.driver_name:
        return Page(500, f"invalid driver name {info.name}")
    return None


def _kubelets_word(standing: Standing) -> Page | None:
    if standing.state == REGISTERED:
        return None
    reason = standing.problem or f"waiting for its call at {standing.socket_path}"
    return Page(500, f"kubelet has not confirmed the registration: {reason}")
