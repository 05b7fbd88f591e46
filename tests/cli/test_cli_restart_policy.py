"""What `sscsi run` does about a program that keeps ending, on supervisord's own processes."""

import time
from typing import Any

import pytest
from supervisor import events
from supervisor.options import ServerOptions
from supervisor.process import Subprocess
from supervisor.states import ProcessStates

from sscsi.cli.restart_policy import RestartPolicy
from sscsi.core.crash_loop import EXIT_LIMIT

_CONF = """
[supervisord]
[program:{name}]
command=/bin/true
startsecs=3
startretries=1000000
"""


class Clock:
    """Stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Supervised:
    """One program of supervisord's and the policy that looks at it."""

    def __init__(self, name: str, tmp_path: Any) -> None:
        conf = tmp_path / "supervisord.conf"
        conf.write_text(_CONF.format(name=name))
        options = ServerOptions()
        options.realize(["--configuration", str(conf)], doc="")
        self.process = Subprocess(options.process_group_configs[0].process_configs[0])
        self.is_over = False
        self.clock = Clock()
        self._policy = RestartPolicy(self._end, monotonic=self.clock)

    def changes(self, kind: type, from_state: int) -> None:
        self._policy.note(kind(self.process, from_state))

    def _end(self) -> None:
        self.is_over = True


@pytest.fixture
def statussync(tmp_path: Any) -> Supervised:
    return Supervised("statussync", tmp_path)


def test_a_program_that_never_starts_is_tried_twice_a_minute_however_often_it_failed(
    statussync: Supervised,
) -> None:
    pauses = []
    for failures in range(1, 200):
        statussync.process.backoff, statussync.process.delay = failures, statussync.clock.now + failures
        statussync.changes(events.ProcessStateBackoffEvent, ProcessStates.STARTING)
        pauses.append(statussync.process.delay - statussync.clock.now)
    assert pauses[:30] == [float(seconds) for seconds in range(1, 31)]
    assert set(pauses[30:]) == {30.0}
    assert not statussync.is_over


def test_a_program_that_keeps_ending_pauses_and_one_that_ended_a_few_times_does_not(
    statussync: Supervised,
) -> None:
    for _ in range(EXIT_LIMIT - 1):
        statussync.process.state = ProcessStates.EXITED
        statussync.changes(events.ProcessStateExitedEvent, ProcessStates.RUNNING)
        assert statussync.process.state == ProcessStates.EXITED
    begun = time.time()
    statussync.changes(events.ProcessStateExitedEvent, ProcessStates.RUNNING)
    assert statussync.process.state == ProcessStates.BACKOFF
    assert statussync.process.delay >= begun + EXIT_LIMIT
    assert not statussync.is_over


def test_ends_of_long_ago_do_not_count(statussync: Supervised) -> None:
    for _ in range(3 * EXIT_LIMIT):
        statussync.process.state = ProcessStates.EXITED
        statussync.changes(events.ProcessStateExitedEvent, ProcessStates.RUNNING)
        statussync.clock.now += 60.0
    assert statussync.process.state == ProcessStates.EXITED


@pytest.mark.parametrize("program", ["node", "registrar"])
def test_what_all_depends_on_is_given_up_when_supervisord_does_and_when_it_keeps_ending(
    tmp_path: Any, program: str
) -> None:
    fatal, looping = Supervised(program, tmp_path), Supervised(program, tmp_path)
    fatal.changes(events.ProcessStateFatalEvent, ProcessStates.BACKOFF)
    assert fatal.is_over
    for kind in (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent) * 2:
        looping.changes(kind, ProcessStates.RUNNING)
        assert not looping.is_over
    looping.changes(events.ProcessStateExitedEvent, ProcessStates.RUNNING)
    assert looping.is_over


def test_no_other_program_ends_the_appliance(statussync: Supervised) -> None:
    statussync.changes(events.ProcessStateFatalEvent, ProcessStates.BACKOFF)
    assert not statussync.is_over
