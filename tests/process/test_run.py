import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

import psutil
import pytest

from tests.support.checkout import ROOT
from tests.support.waiting import wait_until


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.small_room", *flags]


def run(
    *flags: str, stdin: int = subprocess.DEVNULL, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*flags),
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=stdin,
    )


@contextlib.contextmanager
def running(*flags: str) -> Iterator[subprocess.Popen[str]]:
    """A small room that has said `ready`."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(*flags), cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().startswith("ready")
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_room_with_code_0(number: signal.Signals) -> None:
    with running() as process:
        process.send_signal(number)
        output, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == "stopping\n"
    assert f'"asked to stop" signal_name="{number.name}"' in log


@pytest.mark.parametrize("then", ["hang", "hang in C"])
def test_a_second_signal_leaves_at_once_with_code_1(then: str) -> None:
    with running(f"--then={then}") as process:
        assert process.stderr
        process.terminate()
        while "asked to stop" not in process.stderr.readline():
            assert process.poll() is None
        process.terminate()
        assert process.wait(60) == 1


def test_a_signal_that_comes_while_the_main_thread_holds_the_events_lock_is_not_lost() -> None:
    with running("--then=hold the lock") as process:
        process.terminate()
        output, _log = process.communicate("go on\n", timeout=30)
    assert process.returncode == 0
    assert output.endswith("stopping\n")


def test_the_code_of_serve_is_the_code_of_the_process() -> None:
    assert run("--then=return 3").returncode == 3


def test_a_wrong_command_line_is_one_line_and_code_2() -> None:
    result = run("--thn=x")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "sscsi-small: unknown flag --thn; --help lists the flags\n"


def test_a_machine_that_lacks_something_is_code_1_and_a_line() -> None:
    result = run("--then=lack")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "sscsi-small: this machine has no such thing; buy one"


def test_help_goes_to_stdout_with_code_0() -> None:
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: sscsi-small [flags]\n")


def test_a_flag_without_effect_is_said_so_in_the_log_once() -> None:
    result = run("--old=x", "--old=y", "--then=return 3")
    assert result.stderr.count('flag="old" reason="times have changed."') == 1


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("then", "code"), [("raise", 1), ("raise-in-thread", -signal.SIGKILL)])
def test_the_text_of_an_exception_is_nowhere(then: str, code: int, as_json: bool) -> None:
    flags = [f"--then={then}", f"--log-format-json={str(as_json).lower()}", "--v=5"]
    if then == "raise":
        result = run(*flags)
        output, log, returncode = result.stdout, result.stderr, result.returncode
    else:
        with running(*flags) as process:
            process.kill()
            output, log = process.communicate(timeout=60)
        returncode = process.returncode
    assert returncode == code
    assert "canary" not in output + log
    assert "LookupError at small_room.py:" in log


@pytest.mark.parametrize(("verbosity", "shown"), [(0, False), (3, False), (4, True)])
def test_decisions_are_told_from_verbosity_4_on(verbosity: int, shown: bool) -> None:
    log = run(f"--v={verbosity}", "--then=return 3").stderr
    assert "an info line" in log
    assert ("a decision" in log) is shown


def test_a_room_leaves_no_core_dump_and_cannot_be_traced() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(command(), cwd=ROOT, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().rstrip().endswith("dumpable=0")
        process.kill()


@pytest.mark.parametrize("then", ["wait", "hold the lock"])
def test_a_room_under_supervisord_ends_with_it_whatever_it_does(then: str) -> None:
    """The parent here is a shell that supervisord stands for: it sets SUPERVISOR_ENABLED and is killed."""
    script = 'exec 3<&0; "$@" <&3 & wait'
    supervisor = subprocess.Popen(
        ["sh", "-c", script, "sh", *command(f"--then={then}")],
        cwd=ROOT,
        env={**os.environ, "SUPERVISOR_ENABLED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with supervisor:
        assert supervisor.stdout
        assert supervisor.stdout.readline().startswith("ready")
        (room,) = psutil.Process(supervisor.pid).children()
        supervisor.kill()
        wait_until(
            lambda: not room.is_running() or room.status() == psutil.STATUS_ZOMBIE, "the room has ended"
        )
        assert supervisor.stdout.read() == ""


def test_a_room_whose_supervisor_has_ended_already_does_not_start() -> None:
    result = run(environ={"SUPERVISOR_ENABLED": "1", "SSCSI_SUPERVISOR_PID": "1"})
    assert result.returncode == 1
    assert "supervisord ended" in result.stderr.splitlines()[-1]


def test_a_room_sees_by_its_stdin_that_a_stock_supervisord_has_ended() -> None:
    """It alone holds the other end of that pipe, and tells nobody its number."""
    reader, writer = os.pipe()
    os.close(writer)
    result = run("--then=return 3", stdin=reader, environ={"SUPERVISOR_ENABLED": "1"})
    os.close(reader)
    assert result.returncode == 1
    assert "supervisord ended" in result.stderr.splitlines()[-1]


def test_a_room_whose_stdin_is_no_pipe_starts_under_a_stock_supervisord() -> None:
    assert run("--then=return 3", environ={"SUPERVISOR_ENABLED": "1"}).returncode == 3
