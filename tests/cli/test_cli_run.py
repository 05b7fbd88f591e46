"""`sscsi run` as the container starts it: the real command, the real programs, real signals."""

import contextlib
import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

import psutil
import pytest

from sscsi.cli.appliance import is_served
from sscsi.cli.kubelet import Kubelet
from tests.support.waiting import wait_until

SSCSI = os.path.join(os.path.dirname(sys.executable), "sscsi")
LOG_LINE = re.compile(r"[IWEF]\d{4} [\d:.]+ +\d+ (supervisord|node|statussync|provider-file)/[\w.]+:\d+\] ")
START_SECONDS = 20.0
STOP_SECONDS = 30.0


class Place:
    """Directories of one appliance, in a short path: a socket's has 107 bytes."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.log = os.path.join(root, "log")
        for name in ("classes", "secrets"):
            os.mkdir(os.path.join(root, name))

    def path(self, *names: str) -> str:
        return os.path.join(self.root, *names)

    @property
    def sockets(self) -> list[str]:
        run = ("node.sock", "probe.sock", "statussync.sock", "providers/file.sock")
        return [self.path("csi.sock"), *(self.path("run", name) for name in run)]

    @property
    def environ(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("SSCSI", "CSI", "KUBE"))
        }
        return inherited | {
            "CSI_ENDPOINT": "unix://" + self.path("csi.sock"),
            "SSCSI_CLUSTER": "dir:" + self.path("classes"),
            "SSCSI_FILE_PROVIDER_ROOT": self.path("secrets"),
            "SSCSI_RUN_DIR": self.path("run"),
        }

    def log_text(self) -> str:
        with open(self.log, encoding="utf-8") as file:
            return file.read()


@contextlib.contextmanager
def new_place() -> Iterator[Place]:
    root = tempfile.mkdtemp(prefix="sscsi-", dir="/tmp")
    yield Place(root)
    shutil.rmtree(root)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as made:
        yield made


@contextlib.contextmanager
def started(
    place: Place,
    *arguments: str,
    command: tuple[str, ...] = (SSCSI, "run"),
    environ: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A running appliance whose rooms all serve; asked to stop at the end, if it still runs."""
    with open(place.log, "wb") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            env=dict(environ or place.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(
            lambda: process.poll() is not None or all(map(is_served, place.sockets)),
            "all rooms serve",
            seconds=START_SECONDS,
        )
        assert process.poll() is None, place.log_text()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECONDS)


def room(appliance: "subprocess.Popen[bytes]", script: str) -> psutil.Process:
    children = psutil.Process(appliance.pid).children()
    return next(child for child in children if any(word.endswith("/" + script) for word in child.cmdline()))


def refused(
    place: Place, *arguments: str, stdout: int = subprocess.PIPE, environ: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and standard error of an appliance that does not start."""
    answer = subprocess.run(
        [SSCSI, "run", *arguments],
        env=place.environ | dict(environ or {}),
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    return answer.returncode, answer.stderr.decode()


@dataclasses.dataclass(frozen=True)
class Life:
    """What was seen of an appliance from start to end."""

    code: int
    log: str
    was_ready: bool
    run_mode: int
    descriptors: int
    left: list[str]


@pytest.fixture(scope="module")
def terminated() -> Iterator[Life]:
    """An appliance that is given few descriptors, logs in JSON and gets SIGTERM."""
    environ = {"SSCSI_LOG_FORMAT_JSON": "true"}
    command = ("sh", "-c", 'ulimit -S -n 300; exec "$0" run', SSCSI)
    with new_place() as place:
        with started(place, command=command, environ=place.environ | environ) as appliance:
            descriptors = room(appliance, "sscsi-node").rlimit(psutil.RLIMIT_NOFILE)[0]
            was_ready = Kubelet(place.path("csi.sock"), pods_directory=place.root).is_ready()
            run_mode = os.stat(place.path("run")).st_mode & 0o777
            appliance.terminate()
            code = appliance.wait(STOP_SECONDS)
        paths = [*place.sockets, place.path("run", "supervisord.pid")]
        left = [path for path in paths if os.path.lexists(path)]
        yield Life(
            code=code,
            log=place.log_text(),
            was_ready=was_ready,
            run_mode=run_mode,
            descriptors=descriptors,
            left=left,
        )


def test_kubelet_is_served_until_the_end_and_the_end_is_code_0(terminated: Life) -> None:
    assert terminated.was_ready
    assert terminated.code == 0


def test_node_stops_first_and_every_program_by_itself(terminated: Life) -> None:
    stopped = re.findall(r"stopped: (\S+) \(exit status 0\)", terminated.log)
    assert stopped == ["node", "statussync", "provider-file"]


def test_no_socket_and_no_pid_file_is_left(terminated: Life) -> None:
    assert terminated.left == []


def test_the_run_directory_is_not_for_others(terminated: Life) -> None:
    assert oct(terminated.run_mode) == oct(0o750)


def test_the_rooms_may_have_many_connections(terminated: Life) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert terminated.descriptors == (8192 if most == resource.RLIM_INFINITY else min(8192, most))


def test_every_line_of_a_json_log_is_json_with_the_programs_name(terminated: Life) -> None:
    entries = [json.loads(line) for line in terminated.log.splitlines()]
    assert {entry["caller"].partition("/")[0] for entry in entries} == {
        "supervisord",
        "node",
        "statussync",
        "provider-file",
    }


@pytest.fixture(scope="module")
def whole_life() -> Iterator[tuple[int, str]]:
    """Exit code and log of an appliance that was started, with little on its search path, and interrupted."""
    with new_place() as place:
        environ = place.environ | {"PATH": "/usr/bin:/bin", "SSCSI_REGISTRATION_DIR": "/registration"}
        with started(place, "--v=5", environ=environ) as appliance:
            appliance.send_signal(signal.SIGINT)
            code = appliance.wait(STOP_SECONDS)
        yield code, place.log_text()


def test_an_interrupt_from_the_terminal_stops_it_too(whole_life: tuple[int, str]) -> None:
    code, _ = whole_life
    assert code == 0


def test_every_line_of_a_log_file_is_whole_and_names_its_program(whole_life: tuple[int, str]) -> None:
    lines = whole_life[1].splitlines()
    assert {match[1] for match in map(LOG_LINE.match, lines) if match} == {
        "supervisord",
        "node",
        "statussync",
        "provider-file",
    }
    assert [line for line in lines if not LOG_LINE.match(line)] == []


def test_a_setting_without_effect_is_said_to_have_none(whole_life: tuple[int, str]) -> None:
    assert len(re.findall(r'^W.*flag="SSCSI_REGISTRATION_DIR"', whole_life[1], re.MULTILINE)) == 1


def test_a_program_that_is_killed_is_back_and_the_others_never_went(place: Place) -> None:
    with started(place) as appliance:
        others = [room(appliance, name).pid for name in ("sscsi-statussync", "sscsi-provider-file")]
        killed = room(appliance, "sscsi-node")
        killed.kill()
        kubelet = Kubelet(place.path("csi.sock"), pods_directory=place.root)
        wait_until(
            lambda: not killed.is_running() and kubelet.is_ready(), "node serves again", seconds=START_SECONDS
        )
        assert [room(appliance, name).pid for name in ("sscsi-statussync", "sscsi-provider-file")] == others


def test_a_stock_supervisord_runs_the_same_file_with_the_printed_environment(place: Place) -> None:
    conf = os.path.join(os.path.dirname(__file__), "..", "..", "supervisord.conf")
    script = 'eval "$(sscsi run --print-env)" && mkdir -p "$SSCSI_RUN_DIR" && exec supervisord --configuration "$1"'
    environ = place.environ | {"PATH": os.path.dirname(SSCSI) + ":" + os.environ["PATH"]}
    with started(place, command=("sh", "-c", script, "sh", conf), environ=environ) as appliance:
        appliance.terminate()
        assert appliance.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "named"),
    [
        (["--no-such-flag"], {}, 2, "--no-such-flag"),
        (["--rotation-poll-interval=2"], {}, 2, "--rotation-poll-interval"),
        ([], {"SSCSI_CLUSTER": "kubernetes"}, 2, "--cluster"),
        ([], {"SSCSI_CLUSTER": "dir:/no/such/directory"}, 1, "/no/such/directory"),
        ([], {"CSI_ENDPOINT": "unix:///no/such/directory/csi.sock"}, 1, "/no/such/directory"),
        ([], {"SSCSI_RUN_DIR": "/proc/no-run-directory"}, 1, "SSCSI_RUN_DIR"),
        ([], {"SSCSI_STATE_DIR": "/dev/null/records"}, 1, "SSCSI_STATE_DIR"),
    ],
)
def test_what_can_never_work_is_told_in_one_line_before_anything_starts(
    place: Place, arguments: list[str], environ: dict[str, str], code: int, named: str
) -> None:
    found_code, text = refused(place, *arguments, environ=environ)
    assert (found_code, len(text.splitlines())) == (code, 1), text
    assert text.startswith("sscsi run: ")
    assert named in text


def test_an_output_that_supervisord_cannot_open_is_told_before_anything_starts(place: Place) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        code, text = refused(place, stdout=theirs.fileno())
    assert code == 1
    assert "stdout" in text and "pipe" in text


def test_help_lists_every_variable_and_flag(place: Place) -> None:
    answer = subprocess.run(
        [SSCSI, "run", "--help"], env=place.environ, stdout=subprocess.PIPE, text=True, check=True
    )
    for name in ("SSCSI_STATE_DIR", "SSCSI_HEALTH_ENDPOINT", "--rotation-poll-interval", "--print-env"):
        assert name in answer.stdout
