"""The node room's socket as the commands see it, and the commands as an operator runs them."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc

from sscsi.core import run_files
from sscsi.edges.unix_socket import SocketServer
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

SSCSI = os.path.join(os.path.dirname(sys.executable), "sscsi")
# Long enough for a machine that does something else just now.
SECONDS = 60.0
NOBODY = 65534


class Node(sscsi_pb2_grpc.VolumesServicer):
    """Tells of its volumes once, and then nothing more, as a node where nothing happens.

    `results` are what becomes of a refresh, `refusal` is in their place; while it `is_mute` it answers nobody.
    """

    def __init__(self, *volumes: sscsi_pb2.Volume) -> None:
        self.volumes = volumes
        self.results: tuple[sscsi_pb2.RefreshResult, ...] = ()
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.requests: list[sscsi_pb2.RefreshRequest] = []
        self.is_mute = threading.Event()
        self.end = threading.Event()

    def Watch(self, request: sscsi_pb2.WatchRequest, context: Any) -> Iterator[sscsi_pb2.WatchResponse]:
        context.add_callback(self.end.set)
        if not self.is_mute.is_set():
            yield sscsi_pb2.WatchResponse(snapshot=True, volumes=self.volumes, unknown_volumes=1)
        self.end.wait(SECONDS)

    def Refresh(self, request: sscsi_pb2.RefreshRequest, context: Any) -> sscsi_pb2.RefreshResponse:
        self.requests.append(request)
        if self.is_mute.is_set():
            self.end.wait(SECONDS)
        if self.refusal is not None:
            context.abort(*self.refusal)
        return sscsi_pb2.RefreshResponse(results=self.results)

    def AskRefresh(self, request: sscsi_pb2.AskRefreshRequest, context: Any) -> sscsi_pb2.AskRefreshResponse:
        raise AssertionError("no command asks so")


@contextlib.contextmanager
def serving_node(directory: str, node: Node) -> Iterator[Node]:
    """Serve `node` in the run directory `directory`, beside the mark that an appliance is there."""
    with open(os.path.join(directory, run_files.WATCHDOG_STATE), "a", encoding="utf-8"):
        pass
    path = os.path.join(directory, run_files.NODE)
    with serving(path, lambda server: sscsi_pb2_grpc.add_VolumesServicer_to_server(node, server)):
        try:
            yield node
        finally:
            node.end.set()


@contextlib.contextmanager
def serving(path: str, add_services: Callable[[grpc.Server], object], *, mode: int = 0o600) -> Iterator[None]:
    pool = futures.ThreadPoolExecutor(4)
    server = SocketServer(path, mode=mode, add_services=add_services, pool=pool, interceptors=())
    assert server.serve(threading.Event())
    try:
        yield
    finally:
        server.stop_accepting(0).wait()
        server.close()
        pool.shutdown()


@contextlib.contextmanager
def deaf_socket(path: str) -> Iterator[None]:
    """Somebody listens and never accepts: what a stopped or dead-locked process looks like."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(8)
        yield


def sscsi(
    command: str, directory: str, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """`sscsi COMMAND`, with --run-dir unless `directory` is empty, and with no variable of ours but `variables`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SSCSI_")}
    return subprocess.run(
        [SSCSI, command, *([f"--run-dir={directory}"] if directory else []), *arguments],
        env=environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def sscsi_as_nobody(command: str, directory: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The same as another user; needs root."""
    # Whatever it imports is imported first: Python and the checkout may be closed to this user.
    script = (
        "import os, sys, grpc._channel; from concurrent.futures import thread;"
        f"from sscsi.cli import __main__, {command};"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY});"
        "sys.exit(__main__.main())"
    )
    return subprocess.run(
        [sys.executable, "-c", script, command, f"--run-dir={directory}", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
