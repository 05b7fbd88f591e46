"""The verdict of `sscsi status`: what is healthy, what is not, and what the first reason is."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.cli.status import as_json
from sscsi.cli.status_layout import WIDTH
from sscsi.cli.status_observation import Observation, SeenVolumes, Silence
from sscsi.cli.status_report import Report, judge
from sscsi.cli.status_screen import render
from sscsi.cli.status_units import age_text
from sscsi.core.watchdog_state import PROGRAM_STATES
from tests.cli.status_making import (
    NOW,
    PIDS,
    SUPERVISOR_PID,
    UPTIME,
    WATCHDOG_PID,
    make_failing,
    make_late,
    make_observation,
    make_program,
    make_room,
    make_rooms,
    make_volume,
    make_watchdog,
)


def without(observation: Observation, *pids: int) -> frozenset[int]:
    return observation.alive.difference(pids)


def reasons(**changes: Any) -> tuple[str, ...]:
    report = judge(make_observation(**changes))
    assert report.healthy is not bool(report.reasons)
    return report.reasons


def with_program(name: str, **changes: Any) -> tuple[str, ...]:
    return reasons(watchdog=make_watchdog({name: make_program(name, **changes)}))


def test_an_appliance_that_does_all_it_should_is_healthy() -> None:
    report = judge(make_observation())
    assert (report.healthy, report.reasons, report.running) == (True, (), True)
    assert list(report.programs) == list(PIDS)
    assert report.registration.registered
    assert report.providers == ("aws", "file")


@pytest.mark.parametrize("state", ["BACKOFF", "FATAL", "EXITED", "STOPPING", "UNKNOWN"])
@pytest.mark.parametrize("name", list(PIDS))
def test_a_program_in_a_bad_state_is_the_first_reason(name: str, state: str) -> None:
    first = with_program(name, state=state, restarts=3)[0]
    assert first.startswith(f"{name} ")
    assert state in first


def test_a_program_that_just_starts_is_no_reason() -> None:
    assert with_program("livenessprobe", state="STARTING", pid=0, start_time=0.0) == ()
    assert with_program("livenessprobe", state="STARTING", start_time=NOW - 4) == ()


def test_a_program_that_has_been_starting_for_long_is_a_reason() -> None:
    assert with_program("livenessprobe", state="STARTING", start_time=NOW - 35) == (
        "livenessprobe has been starting for 35s (STARTING)",
    )


def test_a_program_between_two_ends_is_not_taken_for_one_that_starts() -> None:
    (reason,) = with_program(
        "livenessprobe", state="STARTING", pid=0, start_time=0.0, restarts=4, last_exit_time=NOW - 1
    )
    assert reason == "livenessprobe is starting again (STARTING): it ended 1s ago"


def test_a_program_that_ended_and_runs_again_is_no_reason_and_one_that_keeps_ending_is() -> None:
    def found(*ages: float) -> tuple[str, ...]:
        times = [NOW - age for age in ages]
        return with_program(
            "livenessprobe", restarts=len(ages), recent_exit_times=times, last_exit_time=max(times)
        )

    assert found(20) == ()
    assert found(500, 400, 300, 110, 20) == ()
    assert found(110, 60, 20) == ("livenessprobe keeps ending: 3 times in the last 2m00s; its log says why",)


def test_a_program_that_was_never_started_is_off_and_no_reason() -> None:
    off = make_program("registrar", state="STOPPED", pid=0, start_time=0.0)
    report = judge(
        make_observation(
            watchdog=make_watchdog({"registrar": off}), rooms=make_rooms(registrar=Silence.NO_SOCKET)
        )
    )
    assert report.reasons == ()
    assert not report.programs["registrar"].wanted
    assert report.registration.wanted is False


def test_a_program_that_supervisord_does_not_have_may_leave_an_old_socket() -> None:
    report = judge(
        make_observation(
            watchdog=make_watchdog(lacks="registrar"), rooms=make_rooms(registrar=Silence.REFUSED)
        )
    )
    assert report.reasons == ()
    assert not report.programs["registrar"].wanted


def test_a_program_that_was_stopped_after_it_ran_is_a_reason() -> None:
    (reason,) = with_program("livenessprobe", state="STOPPED", pid=0, start_time=0.0, last_exit_time=NOW - 60)
    assert reason == "livenessprobe was stopped (STOPPED)"


@pytest.mark.parametrize("name", ["node", "statussync"])
def test_no_appliance_goes_without_these(name: str) -> None:
    rooms = make_rooms(**{name: Silence.NO_SOCKET})
    first = reasons(watchdog=make_watchdog(lacks=name), rooms=rooms)[0]
    assert first == f"{name} is not among supervisord's programs"


def test_a_watchdog_that_just_started_need_not_have_heard_of_all() -> None:
    young = make_program("watchdog", start_time=NOW - 3)
    for programs in ({}, {"watchdog": young}):
        assert reasons(watchdog=make_watchdog(only=programs)) == ()
        (reason,) = reasons(watchdog=make_watchdog(only=programs), rooms=make_rooms(node=Silence.NO_SOCKET))
        assert reason == "node has no socket"


@pytest.mark.parametrize("name", list(PIDS))
def test_a_process_that_is_gone_is_a_reason_though_the_watchdog_did_not_notice(name: str) -> None:
    observation = make_observation()
    found = reasons(alive=without(observation, PIDS[name]))
    assert len(found) == 1
    assert found[0].startswith(f"{name} ")
    assert str(PIDS[name]) in found[0]


@pytest.mark.parametrize("name", ["node", "registrar", "statussync", "provider-file"])
@pytest.mark.parametrize("silence", list(Silence))
def test_a_room_that_gives_no_answer_is_the_only_reason(name: str, silence: Silence) -> None:
    if (name, silence) == ("provider-file", Silence.FORBIDDEN):
        # Its socket is root's by design: that tells nothing of it.
        assert reasons(rooms=make_rooms(provider_file=silence)) == ()
        return
    found = reasons(rooms=make_rooms(**{name: silence}))
    assert len(found) == 1
    assert found[0].startswith(f"{name} {silence}")


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("node", "waiting for the socket"),
        ("node", "looking at the volumes that are there"),
        ("registrar", "waiting for the driver"),
        ("registrar", "waiting for kubelet"),
        ("statussync", "stopping"),
    ],
)
def test_a_room_that_does_not_do_its_work_yet_is_a_reason_in_its_own_words(name: str, state: str) -> None:
    assert reasons(rooms=make_rooms(**{name: make_room(name, state=state)})) == (f"{name} is {state}",)


def test_a_driver_that_kubelet_refused_comes_with_kubelets_words() -> None:
    registrar = make_room(
        "registrar",
        state="waiting for kubelet",
        last_error="NodeGetInfo failed",
        problems=["NodeGetInfo failed"],
    )
    assert reasons(rooms=make_rooms(registrar=registrar)) == (
        "registrar is waiting for kubelet: NodeGetInfo failed",
    )


def test_an_error_that_is_over_is_no_reason() -> None:
    rooms = make_rooms(
        registrar=make_room("registrar", last_error="once"),
        statussync=make_room("statussync", last_problem="once"),
    )
    report = judge(make_observation(rooms=rooms))
    assert report.healthy
    assert (report.registration.last_error, report.status_sync.last_problem) == ("once", "once")


def test_another_process_on_a_programs_socket_is_a_reason() -> None:
    stranger = dataclasses.replace(make_room("node"), pid=999)
    (reason,) = reasons(rooms=make_rooms(node=stranger))
    assert "12" in reason
    assert "999" in reason


def test_status_sync_without_node_is_a_reason() -> None:
    for told in ("false", "", "perhaps"):
        (reason,) = reasons(rooms=make_rooms(statussync=make_room("statussync", node_connected=told)))
        assert reason.startswith("statussync is not connected to node")


def test_what_a_room_says_does_not_work_is_a_reason() -> None:
    room = make_room("statussync", problems=["Secret shop/a: not ours", "Secret shop/b: not ours"])
    assert reasons(rooms=make_rooms(statussync=room)) == (
        "statussync has a problem: Secret shop/a: not ours (and 1 more)",
    )


def test_a_volume_whose_refresh_failed_is_a_reason_with_the_longest_age() -> None:
    volumes = (make_volume("web-1"), make_failing("web-2", age=61), make_failing("web-3", age=192))
    report = judge(make_observation(volumes=SeenVolumes(volumes=volumes, unknown=0)))
    assert report.reasons == ("the last refresh of 2 of 3 volumes failed, the longest for 3m12s",)
    assert [item.pod for item in report.volumes.items] == ["web-3", "web-2", "web-1"]
    assert [item.failing for item in report.volumes.items] == [True, True, False]
    assert report.volumes.items[0].last_success_seconds_ago == 192


def test_the_volume_that_fails_the_longest_is_not_the_one_with_the_oldest_success() -> None:
    volumes = (
        make_failing("web-1", age=7200, failing_since=NOW - 60, failure_reason="ProviderDenied"),
        make_failing("web-2", age=900, failing_since=NOW - 800, failure_reason="ClassNotFound"),
    )
    report = judge(make_observation(volumes=SeenVolumes(volumes=volumes, unknown=0)))
    assert report.reasons == ("the last refresh of 2 of 2 volumes failed, the longest for 13m20s",)
    assert [(item.pod, item.failure_reason, item.failing_since) for item in report.volumes.items] == [
        ("web-2", "ClassNotFound", NOW - 800),
        ("web-1", "ProviderDenied", NOW - 60),
    ]
    assert report.volumes.oldest_success_seconds_ago == 7200


@pytest.mark.parametrize(
    ("interval", "due", "is_due", "is_late"),
    [
        (120.0, -1, False, False),
        (120.0, 0, True, False),
        (120.0, 11.9, True, False),
        (120.0, 12.1, True, True),
        (10.0, 4.9, True, False),
        (10.0, 5.1, True, True),
        (0.0, 100, True, False),
        (-1.0, 100, False, False),
    ],
)
def test_late_is_more_than_a_tenth_of_the_interval_and_more_than_5_seconds(
    interval: float, due: float, is_due: bool, is_late: bool
) -> None:
    volume = make_volume(refresh_interval=interval, due_time=NOW - due)
    report = judge(make_observation(volumes=SeenVolumes(volumes=(volume,), unknown=0)))
    (item,) = report.volumes.items
    assert (item.due, item.late, report.volumes.late) == (is_due, is_late, int(is_late))
    assert item.refresh_interval_seconds == interval
    assert item.due_seconds_ago == (None if interval < 0 else pytest.approx(due))
    assert report.healthy


def test_a_volume_that_is_never_due_has_no_due_time() -> None:
    volume = make_volume(refresh_interval=-1.0, due_time=0.0)
    (item,) = judge(make_observation(volumes=SeenVolumes(volumes=(volume,), unknown=0))).volumes.items
    assert (item.due, item.late, item.due_seconds_ago) == (False, False, None)


def test_an_adopted_volume_is_due_since_it_was_found_and_not_since_the_machine_started() -> None:
    volume = make_volume(
        adopted=True, last_success_time=0.0, last_attempt_time=NOW - 30, due_time=NOW - 9_000_000
    )
    report = judge(make_observation(volumes=SeenVolumes(volumes=(volume,), unknown=0)))
    (item,) = report.volumes.items
    assert (item.due_seconds_ago, item.late) == (30, True)
    assert report.healthy


@pytest.mark.parametrize(
    ("interval", "due", "turns"),
    [(60.0, 119, False), (60.0, 121, True), (600.0, 599, False), (600.0, 601, True)],
)
def test_late_volumes_turn_the_verdict_when_kubelets_next_call_does_not_explain_it(
    interval: float, due: float, turns: bool
) -> None:
    late = make_late("web-1", due=due, refresh_interval=interval, waits_for="kubelet's next call: x")
    found = reasons(volumes=SeenVolumes(volumes=(make_volume(), late), unknown=0))
    told = f"the refresh of 1 of 2 volumes does not come, the oldest due for {age_text(due)}: "
    assert found == ((f"{told}it waits for kubelet's next call: x",) if turns else ())


def test_a_volume_that_fails_and_is_late_is_one_reason() -> None:
    volume = make_failing("web-1", due_time=NOW - 9000, failing_since=NOW - 9000)
    report = judge(make_observation(volumes=SeenVolumes(volumes=(volume,), unknown=0)))
    assert report.reasons == ("the last refresh of 1 of 1 volume failed, the longest for 2h30m",)
    assert (report.volumes.failing, report.volumes.late) == (1, 1)


def test_an_adopted_volume_is_no_reason_and_has_no_age() -> None:
    adopted = make_volume(adopted=True, last_success_time=0.0)
    report = judge(make_observation(volumes=SeenVolumes(volumes=(adopted,), unknown=2)))
    assert report.healthy
    assert (report.volumes.adopted, report.volumes.unknown) == (1, 2)
    assert report.volumes.items[0].last_success_seconds_ago is None


def test_node_tells_a_failing_volume_as_a_problem_too_and_it_counts_once() -> None:
    failing = make_failing(error="no such secret")
    node = make_room("node", problems=["the last refresh of class web-shop failed: no such secret"])
    found = reasons(rooms=make_rooms(node=node), volumes=SeenVolumes(volumes=(failing,), unknown=0))
    assert found == ("the last refresh of 1 of 1 volume failed, the longest for 3m12s",)


def test_another_problem_of_node_is_a_reason_of_its_own() -> None:
    node = make_room("node", problems=["no record can be written"])
    assert reasons(rooms=make_rooms(node=node)) == ("node has a problem: no record can be written",)


def test_who_may_not_list_the_volumes_has_nodes_count() -> None:
    node = make_room(
        "node",
        volumes="7",
        volumes_late="2",
        volumes_whose_last_refresh_failed="1",
        problems=["class a for pod b failed: c"],
    )
    report = judge(make_observation(rooms=make_rooms(node=node), volumes=Silence.FORBIDDEN))
    assert report.reasons == ("the last refresh of 1 of 7 volumes failed",)
    assert report.volumes.trouble
    assert report.volumes.late == 2
    assert judge(make_observation(volumes=Silence.FORBIDDEN)).healthy


@pytest.mark.parametrize("silence", [Silence.HANGING, Silence.REFUSED, Silence.NO_SOCKET])
def test_a_node_that_serves_and_does_not_list_its_volumes_is_a_reason(silence: Silence) -> None:
    (reason,) = reasons(volumes=silence)
    assert reason.startswith("node does not list its volumes: ")


def test_a_node_that_does_not_answer_is_not_blamed_for_its_volumes_too() -> None:
    found = reasons(rooms=make_rooms(node=Silence.HANGING), volumes=Silence.HANGING)
    assert found == ("node does not answer within 0.6 s",)


def test_a_watchdog_that_wrote_long_ago_does_not_report() -> None:
    report = judge(make_observation(watchdog=make_watchdog(time=NOW - 47)))
    assert report.reasons == ("watchdog does not report: what it wrote last is 47s old",)
    node = report.programs["node"]
    # What the room itself tells is used instead; what nobody tells now is not shown.
    assert (node.state, node.pid, node.uptime_seconds, node.restarts) == ("", PIDS["node"], UPTIME, None)
    assert (node.pss_bytes, node.answers, node.says) == (None, True, "serving")
    assert report.memory.container_bytes is None


def test_a_watchdog_that_is_a_little_late_reports() -> None:
    assert reasons(watchdog=make_watchdog(time=NOW - 14)) == ()
    assert reasons(watchdog=make_watchdog(time=NOW + 5)) == ()


def test_what_a_watchdog_wrote_before_the_clock_was_set_back_is_not_its_present_report() -> None:
    report = judge(make_observation(watchdog=make_watchdog(time=NOW + 3600)))
    assert report.reasons == ("watchdog does not report: what it wrote last is dated 1h00m ahead",)
    assert report.programs["node"].state == ""
    assert report.supervisor.alive is None


@pytest.mark.parametrize("name", ["livenessprobe", "node"])
def test_a_program_that_was_halted_is_a_reason(name: str) -> None:
    (reason,) = reasons(halted=frozenset({PIDS[name]}))
    assert reason.startswith(f"{name} does nothing: process {PIDS[name]} was halted")
    assert reason.endswith(f"kill -CONT {PIDS[name]} lets it go on")


def test_a_watchdog_that_was_halted_does_not_report_however_young_its_file_is() -> None:
    (reason,) = reasons(halted=frozenset({WATCHDOG_PID}))
    assert reason.startswith(f"watchdog does not report: process {WATCHDOG_PID} was halted")


def test_a_supervisord_that_was_halted_is_the_first_reason() -> None:
    assert reasons(halted=frozenset({SUPERVISOR_PID}))[0].startswith(
        "supervisord starts nothing again: process 1 was halted"
    )


def test_a_watchdog_that_died_does_not_report_however_young_its_file_is() -> None:
    observation = make_observation()
    assert reasons(alive=without(observation, WATCHDOG_PID)) == (
        f"watchdog does not report: its process {WATCHDOG_PID} has ended",
    )


def test_without_the_watchdogs_file_the_rooms_are_judged_by_what_they_say() -> None:
    changes: dict[str, Any] = {"watchdog": None, "watchdog_trouble": "there is no watchdog.json"}
    report = judge(make_observation(**changes))
    assert report.reasons == ("watchdog does not report: there is no watchdog.json",)
    assert report.programs["node"].pid == PIDS["node"]
    assert "livenessprobe" not in report.programs
    found = reasons(**changes, rooms=make_rooms(registrar=Silence.REFUSED, provider_file=Silence.NO_SOCKET))
    assert found[0] == "registrar does not listen on its socket"
    assert not any("provider-file" in reason for reason in found)


def test_a_registrar_that_nobody_tells_of_is_neither_wanted_nor_off() -> None:
    rooms = make_rooms(registrar=Silence.NO_SOCKET)
    report = judge(make_observation(watchdog=None, watchdog_trouble="there is none", rooms=rooms))
    assert report.registration.wanted is None


def test_a_dead_supervisord_is_the_first_reason() -> None:
    observation = make_observation()
    found = reasons(alive=without(observation, SUPERVISOR_PID))
    assert found[0].startswith("supervisord (process 1) has ended")


def test_an_old_file_does_not_tell_who_supervises_now() -> None:
    observation = make_observation(watchdog=make_watchdog(time=NOW - 3600))
    report = judge(dataclasses.replace(observation, alive=without(observation, SUPERVISOR_PID)))
    assert report.supervisor.alive is None
    assert not any("supervisord" in reason for reason in report.reasons)


def test_a_directory_without_an_appliance_is_one_sentence_and_nothing_else() -> None:
    report = judge(
        make_observation(
            directory_trouble="there is no directory '/x'",
            watchdog=None,
            alive=frozenset(),
            rooms=dict.fromkeys(make_rooms(), Silence.NO_SOCKET),
            volumes=Silence.NO_SOCKET,
        )
    )
    assert_is_empty(report, "there is no directory '/x'")


def test_what_a_dead_appliance_left_behind_is_one_sentence() -> None:
    rooms = dict.fromkeys(make_rooms(), Silence.REFUSED)
    report = judge(make_observation(alive=frozenset(), rooms=rooms, volumes=Silence.REFUSED))
    (reason,) = report.reasons
    assert "was left behind" in reason
    assert_is_empty(report, reason)


def assert_is_empty(report: Report, why: str) -> None:
    """As the docs promise: null where nobody told, and the reason."""
    assert (report.healthy, report.running, report.reasons) == (False, False, (why,))
    assert report.programs == {}
    assert set(dataclasses.astuple(report.supervisor)) == {None}
    assert set(dataclasses.astuple(report.memory)) == {None}
    assert (report.registration.wanted, report.registration.registered) == (None, False)
    assert (report.providers, report.status_sync.node_connected) == (None, None)
    assert (report.volumes.count, report.volumes.items, report.volumes.trouble) == (None, (), why)


def test_facts_that_make_no_sense_are_as_if_nobody_had_told() -> None:
    node = make_room("node", volumes="many", volumes_adopted="-1")
    registrar = make_room("registrar", registered_since="inf", registrations="1" * 5000)
    report = judge(
        make_observation(rooms=make_rooms(node=node, registrar=registrar), volumes=Silence.FORBIDDEN)
    )
    assert (report.volumes.count, report.volumes.adopted) == (None, None)
    assert (report.registration.registered_since, report.registration.registrations) == (None, None)


TEXTS = st.text(max_size=40) | st.just("a\x1b[31m\n\u2028b" * 30)
TIMES = st.just(0.0) | st.floats(min_value=0, max_value=2 * NOW)
ROOMS = st.sampled_from(list(Silence)) | st.builds(
    lambda name, state, problems, facts: dataclasses.replace(
        make_room(name, state=state, problems=problems), facts=facts
    ),
    st.sampled_from(["node", "registrar", "statussync"]),
    TEXTS,
    st.lists(TEXTS, max_size=9),
    st.dictionaries(
        st.sampled_from(
            ["providers", "registered_since", "last_error", "node_connected", "queue_depth", "driver"]
        ),
        TEXTS,
    ),
)
PROGRAMS = st.builds(
    make_program,
    st.just("node"),
    state=st.sampled_from(PROGRAM_STATES),
    pid=st.sampled_from([0, 12, 99]),
    start_time=TIMES,
    last_exit_time=st.none() | TIMES,
    pss_bytes=st.none() | st.integers(0, 2**62),
    over_budget_restarts=st.integers(0, 3),
)
OBSERVATIONS = st.builds(
    make_observation,
    watchdog=st.none()
    | st.builds(make_watchdog, st.dictionaries(st.sampled_from([*PIDS, "a new one"]), PROGRAMS), time=TIMES),
    watchdog_trouble=st.just("there is none"),
    alive=st.frozensets(st.sampled_from([SUPERVISOR_PID, *PIDS.values()])),
    halted=st.frozensets(st.sampled_from([SUPERVISOR_PID, *PIDS.values()])),
    rooms=st.fixed_dictionaries(dict.fromkeys(make_rooms(), ROOMS)),
    volumes=st.sampled_from(list(Silence))
    | st.builds(
        SeenVolumes,
        volumes=st.lists(
            st.builds(
                make_volume,
                TEXTS,
                class_name=TEXTS,
                last_success_time=TIMES,
                last_attempt_time=TIMES,
                last_error=TEXTS,
                failure_reason=TEXTS,
                failing_since=TIMES,
                refresh_interval=st.just(-1.0) | TIMES,
                due_time=TIMES,
                waits_for=TEXTS,
            ),
            max_size=20,
        ).map(tuple),
        unknown=st.integers(0, 5),
    ),
)


@given(OBSERVATIONS)
def test_whatever_is_seen_there_is_a_verdict_that_fits_a_terminal_and_a_machine(
    observation: Observation,
) -> None:
    report = judge(observation)
    assert report.healthy is (report.reasons == ())
    lines = render(report).split("\n")
    assert lines[0].startswith("HEALTHY: " if report.healthy else "NOT HEALTHY: ")
    assert max(map(len, lines)) <= WIDTH
    assert all(line.isprintable() for line in lines)
    document = json.loads(as_json(report))
    assert document["healthy"] is report.healthy
    assert document["reasons"] == list(report.reasons)
