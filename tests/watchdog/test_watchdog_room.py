"""What the watchdog knows and does, with supervisord's part played by the test."""

import logging
import os
from pathlib import Path

import pytest

from sscsi.core.watchdog_state import ContainerMemory
from tests.watchdog.watched_programs import WatchedPrograms

_BUDGET = 100 * 2**20
_OVER = _BUDGET + 1


@pytest.fixture
def watched(tmp_path: Path) -> WatchedPrograms:
    watched = WatchedPrograms(tmp_path, budgets={"node": _BUDGET})
    watched.begin()
    return watched


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class TestStates:
    def test_before_the_first_event_there_is_a_file_already(self, watched: WatchedPrograms) -> None:
        state = watched.file()
        assert (state.pid, state.supervisor_pid, state.programs) == (os.getpid(), 1, {})
        assert (state.time, state.last_event) == (2000.0, None)

    def test_each_change_is_in_the_file_at_once(self, watched: WatchedPrograms) -> None:
        watched.tell("node", "STARTING", from_state="STOPPED")
        assert watched.program("node").state == "STARTING"
        process = watched.processes.start("node", start_time=1999.0)
        process.rss, process.pss, process.cpu = 50, 20, 0.25
        watched.tell("node", "RUNNING", pid=process.pid)
        state = watched.program("node")
        assert (state.state, state.pid, state.start_time) == ("RUNNING", process.pid, 1999.0)
        assert (state.rss_bytes, state.pss_bytes, state.cpu_seconds) == (50, 20, 0.25)
        assert state.memory_budget_bytes == _BUDGET

    def test_an_exit_takes_the_figures_and_leaves_the_counts(self, watched: WatchedPrograms) -> None:
        process = watched.start("node")
        process.alive = False
        watched.tell("node", "EXITED", from_state="RUNNING", pid=process.pid)
        state = watched.program("node")
        assert (state.state, state.pid, state.rss_bytes, state.pss_bytes) == ("EXITED", 0, 0, None)
        assert (state.last_exit_time, state.restarts) == (2000.0, 0)

    def test_restarts_are_counted(self, watched: WatchedPrograms) -> None:
        watched.start("statussync")
        watched.exit("statussync")
        watched.exit("statussync")
        assert watched.program("statussync").restarts == 2
        assert watched.program("statussync").memory_budget_bytes is None

    def test_one_that_ended_before_its_event_came_has_no_process(self, watched: WatchedPrograms) -> None:
        watched.tell("node", "RUNNING", pid=4)
        assert (watched.program("node").state, watched.program("node").pid) == ("RUNNING", 0)

    def test_a_process_that_starts_up_is_found_by_its_title_at_the_next_measurement(
        self, watched: WatchedPrograms
    ) -> None:
        watched.tell("node", "STARTING", from_state="STOPPED")
        process = watched.processes.start("node")
        watched.tick()
        assert (watched.program("node").state, watched.program("node").pid) == ("STARTING", process.pid)

    def test_every_five_seconds_all_are_measured(self, watched: WatchedPrograms) -> None:
        process = watched.start("node")
        watched.container = ContainerMemory(current_bytes=7, max_bytes=None)
        process.rss, process.cpu = 60, 1.5
        watched.tick()
        state = watched.program("node")
        assert (state.rss_bytes, state.cpu_seconds) == (60, 1.5)
        assert (watched.file().time, watched.file().container) == (2005.0, watched.container)

    def test_pss_is_read_at_once_and_then_every_half_minute(self, watched: WatchedPrograms) -> None:
        process = watched.start("node")
        assert process.pss_reads == 1
        watched.tick(5)
        process.pss = 40
        assert process.pss_reads == 1
        assert watched.program("node").pss_bytes == 0
        watched.tick()
        assert process.pss_reads == 2
        assert watched.program("node").pss_bytes == 40

    def test_pss_that_may_not_be_read_is_null_and_said_once(
        self, watched: WatchedPrograms, caplog: pytest.LogCaptureFixture
    ) -> None:
        process = watched.processes.start("node")
        process.pss = None
        watched.tell("node", "RUNNING", pid=process.pid)
        watched.tick(20)
        assert watched.program("node").pss_bytes is None
        assert len(warnings(caplog)) == 1


class TestRestarts:
    """Of the watchdog itself."""

    def test_the_next_watchdog_goes_on_counting(self, watched: WatchedPrograms) -> None:
        watched.start("node")
        watched.exit("node")
        before = watched.program("node")
        watched.restart()
        assert watched.program("node") == before
        watched.exit("node")
        assert watched.program("node").restarts == 2

    def test_an_event_that_is_sent_again_counts_once(self, watched: WatchedPrograms) -> None:
        process = watched.start("node")
        process.alive = False
        watched.tell("node", "EXITED", from_state="RUNNING", pid=process.pid)
        watched.restart()
        watched.serial -= 1
        watched.tell("node", "EXITED", from_state="RUNNING", pid=process.pid)
        assert len(watched.program("node").recent_exit_times) == 1
        watched.tell("node", "STARTING", from_state="EXITED")
        assert watched.program("node").restarts == 1

    def test_what_ended_while_nobody_looked_has_no_process(self, watched: WatchedPrograms) -> None:
        process = watched.start("statussync")
        process.alive = False
        watched.restart()
        assert watched.program("statussync").pid == 0

    def test_what_was_started_while_nobody_looked_is_found_by_its_title(
        self, watched: WatchedPrograms
    ) -> None:
        watched.start("statussync").alive = False
        again = watched.processes.start("statussync")
        watched.restart()
        assert (watched.program("statussync").state, watched.program("statussync").pid) == (
            "RUNNING",
            again.pid,
        )

    def test_another_process_that_got_the_number_is_another(self, watched: WatchedPrograms) -> None:
        process = watched.start("statussync")
        process.alive = False
        watched.processes.start(pid=process.pid, start_time=process.start_time + 60)
        watched.restart()
        assert watched.program("statussync").pid == 0

    @pytest.mark.parametrize(("age", "state"), [(1.0, "STARTING"), (60.0, "RUNNING")])
    def test_with_the_file_lost_the_programs_are_found_by_their_titles(
        self, watched: WatchedPrograms, tmp_path: Path, age: float, state: str
    ) -> None:
        process = watched.processes.start("node", start_time=watched.now - age)
        (tmp_path / "watchdog.json").write_text("{")
        watched.restart()
        assert (watched.program("node").state, watched.program("node").pid) == (state, process.pid)

    @pytest.mark.parametrize(("pid", "start_time"), [(1, 2030.0), (2, 500.0)], ids=["same number", "another"])
    def test_the_programs_of_another_supervisord_are_counted_anew(
        self, watched: WatchedPrograms, pid: int, start_time: float
    ) -> None:
        watched.start("node")
        watched.exit("node")
        watched.pass_seconds(30)
        watched.supervisord_restarts(pid=pid, start_time=start_time)
        assert watched.file().programs == {}
        watched.start("node")
        assert watched.program("node").restarts == 0

    def test_the_events_of_another_supervisord_are_not_taken_for_old_ones(
        self, watched: WatchedPrograms
    ) -> None:
        """As when the clock was set, so that the file looks like one of this supervisord's."""
        watched.start("node")
        watched.exit("node")
        watched.supervisord_restarts(pid=1, start_time=0.0)
        watched.start("node")
        assert (watched.program("node").state, watched.program("node").restarts) == ("RUNNING", 0)


class TestBudgets:
    def test_the_third_measurement_over_it_ends_the_program(self, watched: WatchedPrograms) -> None:
        process = watched.start("node")
        process.rss = process.pss = _OVER
        watched.tick(2)
        assert process.signals == []
        watched.tick()
        assert process.signals == ["SIGTERM"]
        assert watched.program("node").over_budget_restarts == 1

    def test_the_line_in_the_log_has_figure_and_budget(
        self, watched: WatchedPrograms, caplog: pytest.LogCaptureFixture
    ) -> None:
        process = watched.start("node")
        process.rss = process.pss = 150 * 2**20
        watched.tick(3)
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        fields = record.__dict__
        assert (fields["program"], fields["pid"], fields["bytes"]) == ("node", process.pid, 150 * 2**20)
        assert str(fields["reason"]).startswith("PSS of 150Mi is over the budget of 100Mi")

    def test_shared_memory_counts_in_part(self, watched: WatchedPrograms) -> None:
        process = watched.start("node")
        process.rss, process.pss = _OVER, _BUDGET
        watched.tick(5)
        assert process.signals == []
        assert watched.program("node").pss_bytes == _BUDGET

    def test_where_pss_may_not_be_read_rss_counts(self, watched: WatchedPrograms) -> None:
        process = watched.processes.start("node")
        process.rss, process.pss = _OVER, None
        watched.tell("node", "RUNNING", pid=process.pid)
        watched.tick(3)
        assert process.signals == ["SIGTERM"]

    def test_one_that_has_no_budget_may_take_all(self, watched: WatchedPrograms) -> None:
        process = watched.start("statussync")
        process.rss = process.pss = 2**50
        watched.tick(5)
        assert process.signals == []

    def test_one_that_does_not_end_is_killed_after_its_grace_once(self, watched: WatchedPrograms) -> None:
        process = watched.start("node")
        process.rss = process.pss = _OVER
        process.minds_sigterm = False
        watched.tick(5)
        assert process.signals == ["SIGTERM"]
        watched.tick()
        assert process.signals == ["SIGTERM", "SIGKILL"]
        process.alive = True
        watched.tick(9)
        assert process.signals == ["SIGTERM", "SIGKILL"]
        assert watched.program("node").over_budget_restarts == 1

    def test_a_later_process_is_neither_killed_for_its_predecessor_nor_spared(
        self, watched: WatchedPrograms
    ) -> None:
        process = watched.start("node")
        process.rss = process.pss = _OVER
        watched.tick(3)
        watched.exit("node")
        again = watched.processes.start("node")
        again.rss = again.pss = _OVER
        watched.tell("node", "RUNNING", pid=again.pid)
        watched.tick(2)
        assert again.signals == []
        watched.tick()
        assert again.signals == ["SIGTERM"]
        assert watched.program("node").over_budget_restarts == 2

    def test_one_that_may_not_be_ended_is_said_so_once_and_not_counted(
        self, watched: WatchedPrograms, caplog: pytest.LogCaptureFixture
    ) -> None:
        process = watched.start("node")
        process.rss = process.pss = _OVER
        process.may_be_signalled = False
        watched.tick(12)
        assert len(warnings(caplog)) == 1
        assert watched.program("node").over_budget_restarts == 0

    def test_while_supervisord_stops_nobody_is_ended(self, watched: WatchedPrograms) -> None:
        process = watched.start("node")
        process.rss = process.pss = _OVER
        watched.say("SUPERVISOR_STATE_CHANGE_STOPPING")
        watched.tick(5)
        assert process.signals == []


class TestContainersEnd:
    @pytest.mark.parametrize("program", ["node", "registrar"])
    def test_it_ends_when_a_critical_program_is_fatal(self, watched: WatchedPrograms, program: str) -> None:
        watched.tell(program, "FATAL", from_state="BACKOFF")
        assert watched.ended == [1]
        assert watched.program(program).state == "FATAL"

    def test_it_ends_at_the_fifth_exit_in_two_minutes(self, watched: WatchedPrograms) -> None:
        watched.start("node")
        for _ in range(4):
            watched.pass_seconds(29)
            watched.exit("node")
        assert watched.ended == []
        watched.exit("node")
        assert watched.ended == [1]

    def test_starts_that_fail_are_exits(self, watched: WatchedPrograms) -> None:
        for _ in range(5):
            watched.tell("registrar", "STARTING", from_state="BACKOFF")
            watched.tell("registrar", "BACKOFF", from_state="STARTING")
        assert watched.ended == [1]

    def test_slow_exits_never_end_it(self, watched: WatchedPrograms) -> None:
        watched.start("node")
        for _ in range(20):
            watched.pass_seconds(31)
            watched.exit("node")
        assert watched.ended == []

    def test_it_is_told_once(self, watched: WatchedPrograms, caplog: pytest.LogCaptureFixture) -> None:
        watched.tell("node", "FATAL", from_state="BACKOFF")
        watched.tell("registrar", "FATAL", from_state="BACKOFF")
        assert watched.ended == [1]
        assert len(warnings(caplog)) == 1

    def test_others_may_fail_for_ever(self, watched: WatchedPrograms) -> None:
        watched.tell("livenessprobe", "FATAL", from_state="BACKOFF")
        watched.start("statussync")
        for _ in range(20):
            watched.exit("statussync")
        assert watched.ended == []

    def test_exits_that_an_earlier_watchdog_saw_count(self, watched: WatchedPrograms) -> None:
        watched.start("node")
        for _ in range(4):
            watched.exit("node")
        watched.pass_seconds(100)
        watched.restart()
        watched.exit("node")
        assert watched.ended == [1]

    def test_exits_that_an_earlier_watchdog_saw_grow_old(self, watched: WatchedPrograms) -> None:
        watched.start("node")
        for _ in range(4):
            watched.exit("node")
        watched.pass_seconds(121)
        watched.restart()
        watched.exit("node")
        assert watched.ended == []

    def test_while_supervisord_stops_fatal_is_how_it_calls_off_a_try(self, watched: WatchedPrograms) -> None:
        watched.say("SUPERVISOR_STATE_CHANGE_STOPPING")
        watched.tell("node", "FATAL", from_state="BACKOFF")
        assert watched.ended == []
        assert watched.program("node").state == "FATAL"

    def test_under_sscsi_run_it_is_not_for_the_watchdog_to_decide(self, tmp_path: Path) -> None:
        watched = WatchedPrograms(tmp_path, budgets={}, decides=False)
        watched.begin()
        watched.tell("node", "FATAL", from_state="BACKOFF")
        assert watched.ended == []
        watched.restart()
        assert watched.program("node").state == "FATAL"
