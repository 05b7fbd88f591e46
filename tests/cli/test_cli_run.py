"""`sscsi run` as the container starts it: the real command, the real programs, real signals."""

import dataclasses
import json
import os
import re
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping

import psutil
import pytest

from tests.support.appliance_place import (
    SSCSI,
    START_SECONDS,
    STOP_SECONDS,
    AppliancePlace,
    new_place,
    programs,
    started,
)
from tests.support.waiting import wait_until

LOG_LINE = re.compile(
    r"[IWEF]\d{4} [\d:.]+ +\d+ (supervisord|registrar|node|livenessprobe|statussync|provider-file|watchdog)/[\w.]+:\d+\] "
)
EVERYBODY = {
    "supervisord",
    "registrar",
    "node",
    "livenessprobe",
    "statussync",
    "provider-file",
}


@pytest.fixture
def place() -> Iterator[AppliancePlace]:
    with new_place() as made:
        yield made


def refused(
    place: AppliancePlace,
    *arguments: str,
    command: tuple[str, ...] = (SSCSI, "run"),
    stdout: int = subprocess.PIPE,
    environ: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Exit code and standard error of an appliance that does not start."""
    answer = subprocess.run(
        [*command, *arguments],
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
            descriptors = programs(appliance)["sscsi-node"].rlimit(psutil.RLIMIT_NOFILE)[0]
            was_ready = place.kubelet.is_ready()
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


def test_the_registrar_stops_first_then_node_and_every_program_by_itself(terminated: Life) -> None:
    stopped = re.findall(r"stopped: (\S+) \(exit status 0\)", terminated.log)
    assert stopped == ["registrar", "node", "livenessprobe", "statussync", "provider-file", "watchdog"]


def test_no_socket_and_no_pid_file_is_left(terminated: Life) -> None:
    assert terminated.left == []


def test_the_run_directory_is_not_for_others(terminated: Life) -> None:
    assert oct(terminated.run_mode) == oct(0o750)


def test_the_rooms_may_have_many_connections(terminated: Life) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert terminated.descriptors == (8192 if most == resource.RLIM_INFINITY else min(8192, most))


def test_every_line_of_a_json_log_is_json_with_the_programs_name(terminated: Life) -> None:
    entries = [json.loads(line) for line in terminated.log.splitlines()]
    assert {entry["caller"].partition("/")[0] for entry in entries} >= EVERYBODY


@pytest.fixture(scope="module")
def whole_life() -> Iterator[tuple[int, str]]:
    """Exit code and log of an appliance that was started, with little on its search path, and interrupted."""
    with new_place() as place:
        environ = place.environ | {"PATH": "/usr/bin:/bin"}
        with started(place, "--v=5", environ=environ) as appliance:
            appliance.send_signal(signal.SIGINT)
            code = appliance.wait(STOP_SECONDS)
        yield code, place.log_text()


def test_an_interrupt_from_the_terminal_stops_it_too(whole_life: tuple[int, str]) -> None:
    code, _ = whole_life
    assert code == 0


def test_every_line_of_a_log_file_is_whole_and_names_its_program(whole_life: tuple[int, str]) -> None:
    lines = whole_life[1].splitlines()
    assert {match[1] for match in map(LOG_LINE.match, lines) if match} >= EVERYBODY
    assert [line for line in lines if not LOG_LINE.match(line)] == []


def test_a_program_that_is_killed_is_back_and_the_others_never_went(place: AppliancePlace) -> None:
    with started(place) as appliance:
        before = programs(appliance)
        killed = before.pop("sscsi-node")
        killed.kill()
        wait_until(
            lambda: not killed.is_running() and place.kubelet.is_ready(),
            "node serves again",
            seconds=START_SECONDS,
        )
        after = programs(appliance)
        assert {name: after[name].pid for name in before} == {name: each.pid for name, each in before.items()}


def test_a_stock_supervisord_runs_the_same_file_with_the_printed_environment(
    place: AppliancePlace,
) -> None:
    conf = os.path.join(os.path.dirname(__file__), "..", "..", "supervisord.conf")
    script = (
        'eval "$(sscsi run --print-env)" && '
        'install -d -m 2750 -g "${SSCSI_PROBE_USER##*:}" "$SSCSI_RUN_DIR" && exec supervisord --configuration "$1"'
    )
    # By exec, another user must be able to read the Python that this machine has, which may be somebody's own.
    user = {"SSCSI_PROBE_USER": f"{os.geteuid()}:{os.getegid()}"}
    environ = place.environ | user | {"PATH": os.path.dirname(SSCSI) + ":" + os.environ["PATH"]}
    with started(place, command=("sh", "-c", script, "sh", conf), environ=environ) as appliance:
        appliance.terminate()
        assert appliance.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "named"),
    [
        (["--no-such-flag"], {}, 2, "--no-such-flag"),
        (["--provider-timeout=2"], {}, 2, "--provider-timeout"),
        ([], {"SSCSI_CLUSTER": "kubernetes", "KUBECONFIG": "/no/such/file"}, 1, "/no/such/file"),
        ([], {"SSCSI_CLUSTER": "kubernetes", "HOME": "/no/such/home"}, 1, "--kubeconfig"),
        ([], {"SSCSI_CLUSTER": "dir:/no/such/directory"}, 1, "/no/such/directory"),
        ([], {"CSI_ENDPOINT": "unix:///no/such/directory/csi.sock"}, 1, "/no/such/directory"),
        ([], {"SSCSI_RUN_DIR": "/proc/no-run-directory"}, 1, "SSCSI_RUN_DIR"),
        ([], {"SSCSI_STATE_DIR": "/dev/null/records"}, 1, "SSCSI_STATE_DIR"),
        ([], {"SSCSI_REGISTRATION_DIR": "/no/such/directory"}, 1, "SSCSI_REGISTRATION_DIR"),
        ([], {"SSCSI_PROBE_USER": "nobody"}, 2, "SSCSI_PROBE_USER"),
        ([], {"SSCSI_MEMORY_BUDGETS": "node=much"}, 2, "SSCSI_MEMORY_BUDGETS"),
        ([], {"SSCSI_LIVENESSPROBE_ARGS": "--no-such-flag"}, 2, "--no-such-flag"),
    ],
)
def test_what_can_never_work_is_told_in_one_line_before_anything_starts(
    place: AppliancePlace, arguments: list[str], environ: dict[str, str], code: int, named: str
) -> None:
    found_code, text = refused(place, *arguments, environ=environ)
    assert (found_code, len(text.splitlines())) == (code, 1), text
    assert text.startswith("sscsi run: ")
    assert named in text


def test_an_output_that_supervisord_cannot_open_is_told_before_anything_starts(place: AppliancePlace) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        code, text = refused(place, stdout=theirs.fileno())
    assert code == 1
    assert "stdout" in text and "pipe" in text


def test_too_few_open_files_are_told_before_anything_starts(place: AppliancePlace) -> None:
    code, text = refused(place, command=("sh", "-c", 'ulimit -n 256; exec "$0" run', SSCSI))
    assert (code, len(text.splitlines())) == (1, 1), text
    assert "RLIMIT_NOFILE" in text and "256" in text and "ulimit" in text


def test_help_lists_every_variable_and_flag(place: AppliancePlace) -> None:
    answer = subprocess.run(
        [SSCSI, "run", "--help"], env=place.environ, stdout=subprocess.PIPE, text=True, check=True
    )
    for name in ("SSCSI_STATE_DIR", "SSCSI_HEALTH_ENDPOINT", "--rotation-poll-interval", "--print-env"):
        assert name in answer.stdout
