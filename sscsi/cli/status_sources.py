"""Where `sscsi status` looks: the run directory, the watchdog's file, the rooms' sockets.

Everybody is asked at once and given one short deadline, so that dead and hanging rooms together cost no more than
one of them. Nothing is changed, and no file is opened that could make the reader wait.
"""

import os
import socket
import stat
from collections.abc import Iterable
from concurrent import futures

import grpc

from sscsi.cli.status_observation import Observation, SeenVolume, SeenVolumes, Silence
from sscsi.core import run_files, watchdog_state
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import WatchdogState
from sscsi.edges.room_status import RoomStates
from sscsi.edges.unix_socket import unix_target
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

# By program name: every socket that serves `sscsi.v1.Room`.
ROOM_SOCKETS = {**run_files.STATE_SOCKETS, "provider-file": run_files.FILE_PROVIDER}
# Unlike between rooms, a connection has as long as the answer: a channel that is to reconnect quickly gives one up
# after a tenth of a second, which a busy node needs at times.
_CHANNEL_OPTIONS = (("grpc.default_authority", "localhost"),)
# A snapshot of many volumes is over gRPC's 4 MiB.
_SNAPSHOT_OPTIONS = (*_CHANNEL_OPTIONS, ("grpc.max_receive_message_length", 64 * 1024 * 1024))
_WATCHDOG_BYTES = 1024 * 1024
# A unix socket accepts at once, or its backlog is full.
_CONNECT_SECONDS = 0.05
# The letters of proc_pid_stat(5).
_DEAD_STATES = "ZXx"
_HALTED_STATES = "Tt"


def look(run_directory: str, *, timeout_seconds: float, now: float) -> Observation:
    """Look at everything once. `now`: seconds since the epoch. Raises nothing: what can't be seen is in the answer."""
    trouble = _directory_trouble(run_directory)
    state, state_trouble = (None, "") if trouble else _read_watchdog(run_directory)
    silent: dict[str, RoomStatus | Silence] = dict.fromkeys(ROOM_SOCKETS, Silence.NO_SOCKET)
    rooms, volumes = (
        (silent, Silence.NO_SOCKET) if trouble else _ask(run_directory, timeout_seconds=timeout_seconds)
    )
    processes = _process_states(_named_processes(state))
    return Observation(
        time=now,
        run_directory=run_directory,
        directory_trouble=trouble,
        watchdog=state,
        watchdog_trouble=state_trouble,
        alive=frozenset(pid for pid, letter in processes.items() if letter not in _DEAD_STATES),
        halted=frozenset(pid for pid, letter in processes.items() if letter in _HALTED_STATES),
        rooms=rooms,
        volumes=volumes,
        timeout_seconds=timeout_seconds,
    )


def _directory_trouble(path: str) -> str:
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


def _read_watchdog(run_directory: str) -> tuple[WatchdogState | None, str]:
    """What the watchdog wrote last, or why there is nothing."""
    name = run_files.WATCHDOG_STATE
    try:
        # A pipe in the file's place would block whoever opens it, a link lead anywhere.
        descriptor = os.open(
            os.path.join(run_directory, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        )
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None, f"{name} is not a file"
            text = file.read(_WATCHDOG_BYTES)
        return watchdog_state.from_json(text), ""
    except FileNotFoundError:
        return None, f"there is no {name}"
    except OSError as error:
        return None, f"{name} can't be read ({error.strerror})"
    except ValueError:
        return None, f"{name} makes no sense"


def _ask(
    run_directory: str, *, timeout_seconds: float
) -> tuple[dict[str, RoomStatus | Silence], SeenVolumes | Silence]:
    paths = {program: os.path.join(run_directory, name) for program, name in ROOM_SOCKETS.items()}
    node_path = os.path.join(run_directory, run_files.NODE)
    states = RoomStates(paths, timeout_seconds=timeout_seconds, options=_CHANNEL_OPTIONS)
    try:
        with futures.ThreadPoolExecutor(1, "snapshot") as pool:
            # Beside the rooms and not after them: a watch that nobody reads passes its deadline.
            snapshot = pool.submit(_snapshot, node_path, timeout_seconds=timeout_seconds)
            answers = states.ask()
            volumes = snapshot.result()
    finally:
        states.close()
    rooms = {program: answer or _silence(paths[program]) for program, answer in answers.items()}
    return rooms, _silence(node_path) if volumes is None else volumes


def _snapshot(path: str, *, timeout_seconds: float) -> SeenVolumes | None:
    """All volumes, the first message of a watch; None when it did not come in time."""
    with grpc.insecure_channel(unix_target(path), _SNAPSHOT_OPTIONS) as channel:
        call = sscsi_pb2_grpc.VolumesStub(channel).Watch(sscsi_pb2.WatchRequest(), timeout=timeout_seconds)
        try:
            response = next(iter(call), None)
        except grpc.RpcError:
            return None
        finally:
            call.cancel()
    return None if response is None else _seen(response)


def _seen(snapshot: sscsi_pb2.WatchResponse) -> SeenVolumes:
    return SeenVolumes(volumes=tuple(map(_volume, snapshot.volumes)), unknown=snapshot.unknown_volumes)


def _volume(message: sscsi_pb2.Volume) -> SeenVolume:
    return SeenVolume(
        target_path=message.target_path,
        pod_namespace=message.pod_namespace,
        pod_name=message.pod_name,
        class_name=message.class_name,
        provider=message.provider,
        adopted=message.adopted,
        last_attempt_time=message.last_attempt_time,
        last_success_time=message.last_success_time,
        last_error=message.last_error,
    )


def _silence(path: str) -> Silence:
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


def _named_processes(state: WatchdogState | None) -> set[int]:
    if state is None:
        return set()
    return {state.pid, state.supervisor_pid, *(program.pid for program in state.programs.values())}


def _process_states(pids: Iterable[int]) -> dict[int, str]:
    """The state's letter of each process that is there; one that can't be looked at is taken for running."""
    states = {pid: _process_state(pid) for pid in pids if pid > 0}
    return {pid: state for pid, state in states.items() if state}


def _process_state(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return ""
    except PermissionError:
        return "R"
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything; the state is the letter after it.
            return file.read().rpartition(b") ")[2][:1].decode() or "R"
    except OSError:
        return "R"
