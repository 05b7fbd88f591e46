"""Where `sscsi status` looks: the run directory, the watchdog's file, the rooms' sockets.

Everybody is asked at once and given one short deadline, so that dead and hanging rooms together cost no more than
one of them. Nothing is changed, and no file is opened that could make the reader wait.
"""

import os
import stat
from collections.abc import Iterable
from concurrent import futures

from sscsi.cli import node_socket
from sscsi.cli.status_observation import Observation, SeenVolume, SeenVolumes, Silence
from sscsi.core import run_files, watchdog_state
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import WatchdogState
from sscsi.edges.room_status import RoomStates
from sscsi.pb import sscsi_pb2

# By program name: every socket that serves `sscsi.v1.Room`.
ROOM_SOCKETS = {**run_files.STATE_SOCKETS, "provider-file": run_files.FILE_PROVIDER}
_WATCHDOG_BYTES = 1024 * 1024
# The letters of proc_pid_stat(5).
_DEAD_STATES = "ZXx"
_HALTED_STATES = "Tt"


def look(run_directory: str, *, timeout_seconds: float, now: float) -> Observation:
    """Look at everything once. `now`: seconds since the epoch. Raises nothing: what can't be seen is in the answer."""
    trouble = node_socket.directory_trouble(run_directory)
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
    node_path = node_socket.socket_path(run_directory)
    states = RoomStates(paths, timeout_seconds=timeout_seconds, options=node_socket.CHANNEL_OPTIONS)
    try:
        with futures.ThreadPoolExecutor(1, "snapshot") as pool:
            # Beside the rooms and not after them: a watch that nobody reads passes its deadline.
            snapshot = pool.submit(node_socket.snapshot, node_path, timeout_seconds=timeout_seconds)
            answers = states.ask()
            volumes = snapshot.result()
    finally:
        states.close()
    rooms = {program: answer or node_socket.silence(paths[program]) for program, answer in answers.items()}
    return rooms, node_socket.silence(node_path) if volumes is None else _seen(volumes)


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
        failure_reason=message.failure_reason,
        failing_since=message.failing_since,
        refresh_interval=message.refresh_interval,
        due_time=message.due_time,
        waits_for=message.waits_for,
    )


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
