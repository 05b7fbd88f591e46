"""The program itself, with supervisord's part played by the test."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.checkout import ROOT
from tests.support.waiting import wait_until
from tests.watchdog.fake_supervisord import FakeSupervisord

Start = Callable[[], FakeSupervisord]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a watchdog on one run directory; again for its successor."""
    run_directory = tmp_path / "run"
    run_directory.mkdir()
    started: list[FakeSupervisord] = []

    def new() -> FakeSupervisord:
        started.append(FakeSupervisord(run_directory))
        started[-1].expect_ready()
        return started[-1]

    yield new
    for supervisord in started:
        supervisord.close()


@pytest.fixture
def node() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose title is the node room's."""
    process = subprocess.Popen(["sscsi-node", "1000"], executable="/bin/sleep")
    yield process
    process.kill()
    process.wait()


def test_it_says_what_it_was_told_and_what_it_saw(start: Start, node: subprocess.Popen[bytes]) -> None:
    supervisord = start()
    supervisord.tell("SUPERVISOR_STATE_CHANGE_RUNNING")
    supervisord.tell_state("node", "STARTING", from_state="STOPPED")
    supervisord.tell_state("node", "RUNNING", pid=node.pid)
    supervisord.tell_state("statussync", "BACKOFF")
    supervisord.tell("TICK_5", "when:5")
    supervisord.tell("TICK_5", "when:10")
    state = supervisord.state()
    assert state.pid == supervisord.process.pid
    assert state.supervisor_pid == psutil.Process().pid
    assert (state.programs["node"].state, state.programs["node"].pid) == ("RUNNING", node.pid)
    assert state.programs["node"].rss_bytes > 0
    assert state.programs["node"].start_time == pytest.approx(psutil.Process(node.pid).create_time(), abs=1)
    assert (state.programs["statussync"].state, state.programs["statussync"].pid) == ("BACKOFF", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_with_code_0_while_it_reads(start: Start, number: signal.Signals) -> None:
    supervisord = start()
    supervisord.send(b"ver:3.0 server:superv")
    supervisord.process.send_signal(number)
    assert supervisord.wait() == 0


@pytest.mark.parametrize(
    ("event", "code"), [("SUPERVISOR_STATE_CHANGE_STOPPING", 0), ("SUPERVISOR_STATE_CHANGE_RUNNING", 1)]
)
def test_supervisords_end_is_code_1_unless_it_was_told_of(start: Start, event: str, code: int) -> None:
    supervisord = start()
    supervisord.tell(event)
    supervisord.close_events()
    assert supervisord.wait() == code


def test_what_is_no_event_ends_it_with_code_1(start: Start) -> None:
    supervisord = start()
    supervisord.send(b"GET / HTTP/1.1\n")
    assert supervisord.wait() == 1


def test_without_its_pipes_it_ends_with_code_1(tmp_path: Path) -> None:
    command = f"{sys.executable} -m sidecars.watchdog --run-dir={tmp_path}"
    for closed in ("<&-", ">&-"):
        result = subprocess.run(
            ["/bin/sh", "-c", f"{command} {closed}"],
            cwd=ROOT,
            env={"SUPERVISOR_ENABLED": "1", "SSCSI_SUPERVISOR_PID": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 1, result.stderr


def test_killed_it_loses_no_count(start: Start, node: subprocess.Popen[bytes]) -> None:
    supervisord = start()
    supervisord.tell_state("node", "STARTING", from_state="STOPPED")
    supervisord.tell_state("node", "EXITED", from_state="RUNNING")
    supervisord.tell_state("node", "STARTING", from_state="EXITED")
    supervisord.tell_state("node", "RUNNING", pid=node.pid)
    before = supervisord.state()
    supervisord.process.kill()
    assert supervisord.wait() == -signal.SIGKILL
    again = start()
    wait_until(lambda: again.state().pid == again.process.pid, "the next watchdog has written its file")
    after = again.state().programs["node"]
    assert (after.restarts, after.last_exit_time) == (1, before.programs["node"].last_exit_time)
    assert (after.state, after.pid) == ("RUNNING", node.pid)


@pytest.mark.parametrize("content", ["", "[[[[", '{"version": 1, "programs": 3}'])
def test_a_broken_file_costs_the_counts_and_not_the_room(
    start: Start, tmp_path: Path, node: subprocess.Popen[bytes], content: str
) -> None:
    (tmp_path / "run" / "watchdog.json").write_text(content)
    supervisord = start()
    supervisord.tell("TICK_5", "when:5")
    supervisord.tell("TICK_5", "when:10")
    assert supervisord.state().programs["node"].pid == node.pid
    assert supervisord.log().count("the last state cannot be read") == 1


def test_without_a_run_directory_it_goes_on(start: Start, tmp_path: Path) -> None:
    (tmp_path / "run").rmdir()
    supervisord = start()
    supervisord.tell("TICK_5", "when:5")
    (tmp_path / "run").mkdir()
    supervisord.tell("TICK_5", "when:10")
    supervisord.tell("TICK_5", "when:15")
    assert supervisord.state().pid == supervisord.process.pid


def test_by_hand_it_says_who_is_to_start_it() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "sidecars.watchdog"],
        cwd=ROOT,
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("sscsi-watchdog: sscsi-watchdog is an event listener")
