"""`sscsi status` as an operator runs it, against real sockets in a run directory."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from sscsi.cli import status_sources
from sscsi.cli.status import look
from sscsi.cli.status_observation import SeenVolumes, Silence
from sscsi.core import run_files
from sscsi.core.room_status import RoomStatus
from sscsi.core.watchdog_state import ProgramState, WatchdogState, to_json
from sscsi.edges.room_status import RoomService
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc
from tests.cli.fake_node import NOBODY, SECONDS, SSCSI, Node, deaf_socket, serving, sscsi, sscsi_as_nobody
from tests.cli.status_making import PIDS, make_program, make_room
from tests.support.require import require
from tests.support.waiting import wait_until


@dataclasses.dataclass
class Appliance:
    """An appliance of this process: its rooms' sockets are real, and all its programs are this process."""

    directory: str
    node: Node
    states: dict[str, RoomStatus]
    held: threading.Event

    def write_watchdog(
        self, programs: dict[str, ProgramState] | None = None, *, pid: int | None = None
    ) -> None:
        """All but the registrar run, as this process; `programs` in the place of that."""
        me, now = os.getpid(), time.time()
        running = {
            name: make_program(name, pid=me, start_time=now - 100) for name in PIDS if name != "registrar"
        }
        state = WatchdogState(
            time=now,
            pid=me if pid is None else pid,
            supervisor_pid=me,
            programs=running if programs is None else programs,
        )
        self.write_file(to_json(state))

    def write_file(self, text: str) -> None:
        with open(os.path.join(self.directory, run_files.WATCHDOG_STATE), "w", encoding="utf-8") as file:
            file.write(text)

    def socket(self, room: str) -> str:
        return os.path.join(self.directory, status_sources.ROOM_SOCKETS[room])

    def look(self, room: str) -> RoomStatus:
        if room in self.states:
            return self.states[room]
        self.held.wait(SECONDS)
        return RoomStatus(state="late")


@pytest.fixture
def directory() -> Iterator[str]:
    """A short path: sockets are made below it."""
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as path:
        os.mkdir(os.path.join(path, run_files.PROVIDERS))
        yield path


@pytest.fixture
def appliance(directory: str) -> Iterator[Appliance]:
    """Node, status-sync and the file provider serve; there is no registrar. A room whose state is taken away hangs."""
    rooms = ("node", "statussync", "provider-file")
    volume = sscsi_pb2.Volume(
        target_path="/pods/1/mount",
        pod_namespace="shop",
        pod_name="web-1",
        class_name="web-shop",
        last_attempt_time=time.time() - 40,
        last_success_time=time.time() - 40,
    )
    appliance = Appliance(
        directory, Node(volume), {name: make_room(name) for name in rooms}, threading.Event()
    )
    appliance.write_watchdog()
    with contextlib.ExitStack() as stack:
        for name in rooms:
            stack.enter_context(serving_room(appliance, name))
        path = os.path.join(directory, run_files.NODE)
        stack.enter_context(
            serving(path, lambda server: sscsi_pb2_grpc.add_VolumesServicer_to_server(appliance.node, server))
        )
        stack.callback(appliance.node.end.set)
        stack.callback(appliance.held.set)
        yield appliance


def serving_room(appliance: Appliance, name: str) -> contextlib.AbstractContextManager[None]:
    service = RoomService(name, lambda: appliance.look(name))
    mode = 0o600 if name == "provider-file" else 0o660
    return serving(
        appliance.socket(name),
        lambda server: sscsi_pb2_grpc.add_RoomServicer_to_server(service, server),
        mode=mode,
    )


def status(directory: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return sscsi("status", directory, *arguments, **variables)


def reasons(answer: "subprocess.CompletedProcess[str]") -> list[str]:
    document = json.loads(answer.stdout)
    assert (answer.returncode, answer.stderr) == (0 if document["healthy"] else 1, "")
    return list(document["reasons"])


def test_a_healthy_appliance_is_code_0(appliance: Appliance) -> None:
    answer = status(appliance.directory, "--timeout=60s")
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout
    assert answer.stdout.startswith("HEALTHY: 5 programs running, 1 volume, no refresh failed\n")
    assert "1 published, 1 mount that nobody knows yet" in answer.stdout


def test_the_variable_names_the_directory_and_the_flag_goes_before_it(appliance: Appliance) -> None:
    assert status("", "--timeout=60s", SSCSI_RUN_DIR=appliance.directory).returncode == 0
    assert status("/no/such", SSCSI_RUN_DIR=appliance.directory).returncode == 1


def test_machines_get_the_same_as_json(appliance: Appliance) -> None:
    document = json.loads(status(appliance.directory, "--json", "--timeout=60s").stdout)
    assert (document["version"], document["healthy"], document["reasons"]) == (1, True, [])
    assert document["programs"]["node"]["pid"] == os.getpid()
    assert document["programs"]["node"]["says"] == "serving"
    (volume,) = document["volumes"]["items"]
    assert (volume["namespace"], volume["pod"], volume["failing"]) == ("shop", "web-1", False)
    assert 40 <= volume["last_success_seconds_ago"] < 40 + SECONDS


def test_a_volume_whose_refresh_failed_turns_the_code(appliance: Appliance) -> None:
    appliance.node.volumes[0].last_error = "rpc error: code = NotFound desc = no such secret"
    answer = status(appliance.directory, "--timeout=60s")
    assert answer.returncode == 1
    assert answer.stdout.startswith("NOT HEALTHY: the last refresh of 1 of 1 volume failed, the longest for ")
    assert "rpc error: code = NotFound desc = no such secret" in answer.stdout


def test_a_program_that_was_given_up_turns_the_code(appliance: Appliance) -> None:
    me = os.getpid()
    programs = {name: make_program(name, pid=me) for name in ("node", "statussync", "provider-file")}
    given_up = make_program("livenessprobe", state="FATAL", pid=0, start_time=0.0, pss_bytes=None, restarts=5)
    appliance.write_watchdog(programs=programs | {"livenessprobe": given_up})
    (reason,) = reasons(status(appliance.directory, "--json", "--timeout=60s"))
    assert reason.startswith("livenessprobe kept ending and was given up (FATAL)")


def test_hanging_rooms_cost_one_timeout_all_together(appliance: Appliance) -> None:
    appliance.states.clear()
    appliance.node.is_mute.set()
    registrar = os.path.join(appliance.directory, run_files.STATE_SOCKETS["registrar"])
    with deaf_socket(registrar):
        begun = time.monotonic()
        answer = status(appliance.directory, "--json", "--timeout=5s")
        taken = time.monotonic() - begun
    found = reasons(answer)
    hanging = [reason.partition(" ")[0] for reason in found if reason.endswith("does not answer within 5 s")]
    assert hanging == ["node", "statussync", "provider-file"]
    assert taken < 5 * len(hanging)


def test_a_stopped_program_does_not_answer_and_one_without_a_socket_has_none(directory: str) -> None:
    deaf, refused = (os.path.join(directory, run_files.STATE_SOCKETS[name]) for name in ("node", "registrar"))
    with deaf_socket(refused):
        pass
    with deaf_socket(deaf):
        seen = status_sources.look(directory, timeout_seconds=0.3, now=time.time())
    assert dict(seen.rooms) == {
        "node": Silence.HANGING,
        "registrar": Silence.REFUSED,
        "statussync": Silence.NO_SOCKET,
        "provider-file": Silence.NO_SOCKET,
    }
    assert seen.volumes is Silence.NO_SOCKET


def test_a_room_that_hangs_takes_nothing_from_what_the_others_tell(appliance: Appliance) -> None:
    del appliance.states["statussync"]
    seen = status_sources.look(appliance.directory, timeout_seconds=3.0, now=time.time())
    assert seen.rooms["statussync"] is Silence.HANGING
    assert isinstance(seen.rooms["node"], RoomStatus)
    assert isinstance(seen.volumes, SeenVolumes)
    assert seen.volumes.volumes[0].pod_name == "web-1"


def test_a_stopped_process_does_not_answer_and_one_that_is_only_slow_does(directory: str) -> None:
    path = os.path.join(directory, run_files.FILE_PROVIDER)
    environ = {"SSCSI_RUN_DIR": directory, "SSCSI_FILE_PROVIDER_ROOT": directory}
    process = subprocess.Popen(
        [SSCSI + "-provider-file"],
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: os.path.exists(path), "the file provider serves", seconds=SECONDS)
        process.send_signal(signal.SIGSTOP)
        stopped = status_sources._ask(directory, timeout_seconds=0.3)[0]
        assert stopped["provider-file"] is Silence.HANGING
        # Longer than what a channel between rooms gives a new connection.
        slow = threading.Timer(0.7, process.send_signal, (signal.SIGCONT,))
        slow.start()
        late = status_sources._ask(directory, timeout_seconds=SECONDS)[0]
        slow.join()
        assert isinstance(late["provider-file"], RoomStatus)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "\0" * 100, '{"version": 2}', '{"version": 1, "time": "now"}', "[" * 100_000, "\xff"],
    ids=["empty", "cut", "a list", "zeroes", "later version", "wrong type", "deep", "no JSON"],
)
def test_garbage_in_the_watchdogs_file_is_a_watchdog_that_does_not_report(
    appliance: Appliance, text: str
) -> None:
    appliance.write_file(text)
    report = look(appliance.directory, timeout_seconds=10.0)
    assert report.reasons == ("watchdog does not report: watchdog.json makes no sense",)


def test_nothing_in_the_files_place_makes_it_wait(appliance: Appliance) -> None:
    path = os.path.join(appliance.directory, run_files.WATCHDOG_STATE)
    os.unlink(path)
    os.mkfifo(path)
    assert reasons(status(appliance.directory, "--json", "--timeout=60s")) == [
        "watchdog does not report: watchdog.json is not a file"
    ]
    os.unlink(path)
    os.symlink("/etc/hostname", path)
    (reason,) = reasons(status(appliance.directory, "--json", "--timeout=60s"))
    assert reason.startswith("watchdog does not report: watchdog.json can't be read")


def test_a_process_that_ended_and_that_nobody_waited_for_does_not_live(appliance: Appliance) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        appliance.write_watchdog(pid=child)
        seen = status_sources.look(appliance.directory, timeout_seconds=60.0, now=time.time())
    finally:
        os.waitpid(child, 0)
    assert seen.watchdog is not None
    assert seen.alive == {os.getpid()}


def test_a_process_that_was_halted_is_told_from_one_that_runs(appliance: Appliance) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        appliance.write_watchdog(pid=child.pid)
        seen = status_sources.look(appliance.directory, timeout_seconds=60.0, now=time.time())
    finally:
        child.kill()
        child.wait()
    assert seen.alive == {os.getpid(), child.pid}
    assert seen.halted == {child.pid}


@pytest.mark.parametrize("pid", [0, 2**31, 2**62])
def test_a_number_that_is_no_process_does_not_live(appliance: Appliance, pid: int) -> None:
    appliance.write_watchdog(pid=pid)
    seen = status_sources.look(appliance.directory, timeout_seconds=60.0, now=time.time())
    assert seen.alive == {os.getpid()}


def test_an_output_that_takes_nothing_is_one_line(appliance: Appliance) -> None:
    with open("/dev/full", "wb") as full:
        answer = subprocess.run(
            [SSCSI, "status", f"--run-dir={appliance.directory}"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=SECONDS,
        )
    assert answer.returncode == 1
    assert answer.stderr == b"sscsi status: cannot write the report: No space left on device\n"


def test_a_wrong_directory_is_one_sentence_that_says_what_to_do(directory: str) -> None:
    file = os.path.join(directory, "file")
    with open(file, "w", encoding="utf-8"):
        pass
    for path in ("/no/such", file, directory):
        answer = status(path)
        assert (answer.returncode, answer.stderr) == (1, "")
        assert answer.stdout.startswith("NOT HEALTHY: ")
        assert path in answer.stdout
        assert "--run-dir" in answer.stdout
        assert "PROGRAM" not in answer.stdout
        (reason,) = reasons(status(path, "--json"))
        assert path in reason


def test_what_a_killed_appliance_left_behind_is_not_taken_for_one(directory: str) -> None:
    for name in run_files.STATE_SOCKETS.values():
        with deaf_socket(os.path.join(directory, name)):
            pass
    (reason,) = reasons(status(directory, "--json"))
    assert "was left behind" in reason


def status_as_nobody(directory: str) -> "subprocess.CompletedProcess[str]":
    require("root")
    return sscsi_as_nobody("status", directory, "--timeout=60s")


@pytest.mark.parametrize("mode", [0o700, 0o744])
def test_who_may_not_look_is_told_to_ask_as_root(appliance: Appliance, mode: int) -> None:
    os.chmod(appliance.directory, mode)
    answer = status_as_nobody(appliance.directory)
    assert (answer.returncode, answer.stderr) == (1, "")
    assert answer.stdout.startswith(f"NOT HEALTHY: this user may not look into '{appliance.directory}'")
    assert "root" in answer.stdout


def test_a_user_of_the_directorys_group_gets_the_same_verdict_without_the_list(appliance: Appliance) -> None:
    require("root")
    os.chmod(appliance.directory, 0o750)
    for path in (appliance.directory, *map(appliance.socket, ("node", "statussync"))):
        os.chown(path, -1, NOBODY)
    answer = status_as_nobody(appliance.directory)
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout
    assert "2 published, not listed: only root may list them" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["word"], "word"),
        (["--timeout=0s"], "--timeout"),
        (["--timeout=soon"], "--timeout"),
    ],
)
def test_a_wrong_command_line_is_code_2_and_named(arguments: list[str], named: str) -> None:
    answer = status("", *arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith("sscsi status: ")
    assert named in line


def test_help_tells_what_it_is_for_and_its_codes() -> None:
    answer = status("", "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    for word in ("sscsi status", "--run-dir", "SSCSI_RUN_DIR", "--json", "kubectl exec", "Code 0: healthy"):
        assert word in answer.stdout
    commands = subprocess.run([SSCSI, "--help"], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert "sscsi status" in commands.stdout


def test_what_node_tells_of_a_refresh_arrives(appliance: Appliance) -> None:
    (volume,) = appliance.node.volumes
    volume.failure_reason, volume.last_error, volume.failing_since = "ProviderDenied", "no", 1_700_000_000.5
    volume.refresh_interval, volume.due_time, volume.waits_for = 60.0, time.time() - 30, "kubelet's next call"
    document = json.loads(status(appliance.directory, "--json", "--timeout=60s").stdout)
    (item,) = document["volumes"]["items"]
    assert (item["failure_reason"], item["failing_since"]) == ("ProviderDenied", 1_700_000_000.5)
    assert (item["refresh_interval_seconds"], item["due"], item["late"]) == (60.0, True, True)
    assert 30 <= item["due_seconds_ago"] < 30 + SECONDS
    assert item["waits_for"] == "kubelet's next call"
    assert document["volumes"]["late"] == 1
    assert 40 <= document["volumes"]["oldest_success_seconds_ago"] < 40 + SECONDS
