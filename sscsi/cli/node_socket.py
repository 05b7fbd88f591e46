"""The node room's `sscsi.v1.Volumes`, as the commands ask it, and why it does not answer when it does not."""

import contextlib
import os
import socket
from collections.abc import Iterator

import grpc

from sscsi.cli.status_observation import Silence
from sscsi.core import run_files
from sscsi.edges.unix_socket import unix_target
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

# Unlike between rooms, a connection has as long as the answer: a channel that is to reconnect quickly gives one up
# after a tenth of a second, which a busy node needs at times.
CHANNEL_OPTIONS = (("grpc.default_authority", "localhost"),)
# A snapshot of many volumes is over gRPC's 4 MiB.
_MANY_VOLUMES_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.max_receive_message_length", 64 * 1024 * 1024))
# A unix socket accepts at once, or its backlog is full.
_CONNECT_SECONDS = 0.05


def socket_path(run_directory: str) -> str:
    """Where the node room serves `sscsi.v1.Volumes`."""
    return os.path.join(run_directory, run_files.NODE)


@contextlib.contextmanager
def volumes_stub(path: str) -> Iterator[sscsi_pb2_grpc.VolumesStub]:
    """Calls to the node room whose socket is at `path`."""
    with grpc.insecure_channel(unix_target(path), _MANY_VOLUMES_OPTIONS) as channel:
        yield sscsi_pb2_grpc.VolumesStub(channel)


def snapshot(path: str, *, timeout_seconds: float) -> sscsi_pb2.WatchResponse | None:
    """All volumes, the first message of a watch; None when it did not come in time."""
    with volumes_stub(path) as volumes:
        call = volumes.Watch(sscsi_pb2.WatchRequest(), timeout=timeout_seconds)
        try:
            return next(iter(call), None)
        except grpc.RpcError:
            return None
        finally:
            call.cancel()


def silence(path: str) -> Silence:
    """Why nobody answered at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(path)
        except FileNotFoundError:
            return Silence.NO_SOCKET
        except ConnectionRefusedError:
            return Silence.REFUSED
        except PermissionError:
            return Silence.FORBIDDEN
        except OSError:
            # EAGAIN and time-out: a full backlog, so somebody listens and accepts nothing.
            return Silence.HANGING
    return Silence.HANGING


def directory_trouble(path: str) -> str:
    """Why nothing can be told of the appliance, and what to do; empty when there is something to look at."""
    cure = "name its directory by --run-dir or SSCSI_RUN_DIR, or start it: sscsi run"
    try:
        names = set(os.listdir(path))
        for name in (run_files.WATCHDOG_STATE, *run_files.STATE_SOCKETS.values()):
            if name in names:
                # A directory that may be listed need not be one that may be entered.
                os.lstat(os.path.join(path, name))
                return ""
    except FileNotFoundError:
        return f"there is no directory {path!r}, so no appliance runs there; {cure}"
    except NotADirectoryError:
        return f"{path!r} is no directory; {cure}"
    except PermissionError:
        return f"this user may not look into {path!r}; ask as root"
    except OSError as error:
        return f"{path!r} can't be looked into ({error.strerror}); {cure}"
    return f"nothing of an appliance is in {path!r}; {cure}"


def listens(run_directory: str) -> bool:
    """Whether somebody takes connections at the node room's socket."""
    return silence(socket_path(run_directory)) is Silence.HANGING


def why_silent(run_directory: str, *, timeout_seconds: float) -> str:
    """Why the node room gave no answer within its time, and what to do."""
    trouble = directory_trouble(run_directory)
    if trouble:
        return trouble
    name = run_files.NODE
    return {
        Silence.NO_SOCKET: f"there is no {name} in {run_directory!r}: node is starting, or it waits for the CSI socket; "
        "sscsi status tells",
        Silence.REFUSED: f"nobody listens on {name}: node ended, or it is starting; sscsi status tells",
        Silence.HANGING: f"node does not answer within {timeout_seconds:g} s, it is busy or stuck; give it more by "
        "--timeout, and look at its log",
        Silence.FORBIDDEN: f"this user may not ask node ({name} is root's); ask as root",
    }[silence(socket_path(run_directory))]
