"""The screen of `sscsi status`: what is on it, in which order."""

import dataclasses
import re
from typing import Any

import pytest

from sscsi.cli.status_failures import SHOWN_ERRORS
from sscsi.cli.status_layout import WIDTH
from sscsi.cli.status_observation import SeenVolumes, Silence
from sscsi.cli.status_report import judge
from sscsi.cli.status_screen import render
from sscsi.cli.status_units import age_text, mebibytes
from tests.cli.status_making import (
    MIB,
    NOW,
    PIDS,
    make_failing,
    make_late,
    make_observation,
    make_program,
    make_room,
    make_rooms,
    make_volume,
    make_watchdog,
)


def screen(**changes: Any) -> list[str]:
    """Its lines, without what lines its columns up."""
    text = render(judge(make_observation(**changes)))
    return [re.sub(" +", " ", line).strip() for line in text.split("\n")]


def about(lines: list[str], label: str) -> str:
    line = next(line for line in lines if line.startswith(label))
    return line.removeprefix(label).strip()


def test_a_healthy_appliance_is_told_from_top_to_bottom() -> None:
    assert screen() == [
        "HEALTHY: 6 programs running, registered with kubelet, 2 volumes, no refresh failed",
        "",
        "PROGRAM STATE PID UPTIME RESTARTS PSS MiB RSS MiB CPU SAYS",
        "node RUNNING 12 3h12m 0 12.0 30.0 1m01s serving",
        "registrar RUNNING 10 3h12m 0 12.0 30.0 1m01s registered",
        "livenessprobe RUNNING 13 3h12m 0 12.0 30.0 1m01s -",
        "statussync RUNNING 14 3h12m 0 12.0 30.0 1m01s serving",
        "provider-file RUNNING 15 3h12m 0 12.0 30.0 1m01s serving",
        "watchdog RUNNING 16 3h12m 0 12.0 30.0 1m01s reporting",
        "",
        "Registration kubelet confirmed secrets-store.csi.k8s.io 3h11m ago (1 time in all)",
        "endpoint /var/lib/kubelet/plugins/csi-secrets-store/csi.sock",
        "Volumes 2 published, oldest success 40s ago",
        "Providers aws, file",
        "Status-sync connected to node, queue empty, no problem",
        "Memory programs 72.0 MiB (PSS); container 100.0 MiB of 256.0 MiB, volumes' contents included",
        "Supervisor process 1; watchdog reported 2s ago",
    ]


def test_the_columns_stand_one_below_another() -> None:
    lines = render(judge(make_observation())).split("\n")
    table = lines[2 : 3 + len(PIDS)]
    assert len({line.index(word) for line, word in zip(table, ["STATE", *["RUNNING"] * 6], strict=True)}) == 1
    assert max(map(len, lines)) <= WIDTH


def test_every_reason_has_a_line_and_the_first_is_the_verdict() -> None:
    rooms = make_rooms(
        registrar=make_room("registrar", state="waiting for kubelet"), statussync=Silence.HANGING
    )
    lines = screen(rooms=rooms)
    assert lines[:2] == [
        "NOT HEALTHY: registrar is waiting for kubelet",
        "and: statussync does not answer within 0.6 s",
    ]
    assert about(lines, "statussync").endswith("no answer")
    assert about(lines, "Registration") == "not registered: the registrar is waiting for kubelet"


def test_a_great_many_reasons_do_not_push_the_rest_off_the_screen() -> None:
    stopped = {f"program-{number}": make_program("node", state="FATAL", pid=0) for number in range(20)}
    lines = screen(watchdog=make_watchdog(stopped))
    assert lines[8] == "and: 12 more (--json has all)"
    assert lines[9] == ""


def test_a_failing_volume_has_its_pod_class_age_and_error() -> None:
    volumes = (make_volume(), make_failing("web-9", age=192, error="rpc error: no such secret"))
    lines = screen(volumes=SeenVolumes(volumes=volumes, unknown=0))
    assert lines[0] == "NOT HEALTHY: the last refresh of 1 of 2 volumes failed, the longest for 3m12s"
    assert about(lines, "Volumes") == "2 published, 1 whose last refresh failed, oldest success 3m12s ago"
    assert lines[-3:] == [
        "Volumes whose last refresh failed; their pods have the content of the last success:",
        "shop/web-9, class web-shop: last success 3m12s ago, last tried 40s ago",
        "rpc error: no such secret",
    ]


def test_volumes_that_fail_with_one_error_stand_together_however_many() -> None:
    error = "rpc error: code = Unavailable desc = provider aws: " + "no route to host; " * 50
    volumes = tuple(make_failing(f"web-{number}", age=100 + number, error=error) for number in range(50))
    lines = screen(volumes=SeenVolumes(volumes=volumes, unknown=0))
    assert lines[-5:-3] == [
        "Volumes whose last refresh failed; their pods have the content of the last success:",
        "50 volumes, the oldest success 2m29s ago: shop/web-49, shop/web-48, shop/web-47 and 47 more",
    ]
    assert [line for line in lines if "no route" in line] == lines[-3:]
    assert len(lines) < 25


def test_since_when_a_refresh_fails_and_why_in_one_word() -> None:
    alone = make_failing(
        "web-1", age=9000, error="a", failing_since=NOW - 8950, failure_reason="ProviderDenied"
    )
    together = [
        make_failing(
            f"web-{number}", error="b", failing_since=NOW - 100 * number, failure_reason="WriteFailed"
        )
        for number in (2, 3)
    ]
    lines = screen(volumes=SeenVolumes(volumes=(alone, *together), unknown=0))
    assert lines[0] == "NOT HEALTHY: the last refresh of 3 of 3 volumes failed, the longest for 2h29m"
    assert " ".join(lines[-6:]) == (
        "shop/web-1, class web-shop: failing for 2h29m (ProviderDenied), last success 2h30m ago, last tried 40s ago "
        "a "
        "2 volumes, the longest failing for 5m00s (WriteFailed), the oldest success 3m12s ago: shop/web-3, shop/web-2 "
        "b"
    )


def test_volumes_that_are_late_are_counted_and_the_first_ones_named() -> None:
    late = tuple(make_late(f"web-{number}", due=20 + number) for number in range(7))
    waiting = make_late("web-9", due=115, waits_for="kubelet's next call: the tokens have expired")
    failing = make_failing("web-f", due_time=NOW - 20)
    lines = screen(volumes=SeenVolumes(volumes=(*late, waiting, failing, make_volume()), unknown=0))
    assert about(lines, "Volumes").startswith(
        "10 published, 1 whose last refresh failed, 9 late (up to 1m55s), "
    )
    start = lines.index("Volumes whose refresh is late; nothing failed:")
    assert lines[start + 1 :] == [
        "shop/web-9, class web-shop: due for 1m55s, every 2m; it waits for kubelet's next call: the tokens",
        "have expired",
        *(f"shop/web-{number}, class web-shop: due for {20 + number}s, every 2m" for number in (6, 5, 4, 3)),
        "and 3 volumes more (--json has all)",
    ]


def test_who_may_not_list_the_volumes_is_told_how_many_are_late() -> None:
    node = make_room("node", volumes="7", volumes_late="2")
    lines = screen(rooms=make_rooms(node=node), volumes=Silence.FORBIDDEN)
    assert about(lines, "Volumes") == "7 published, 2 late, not listed: only root may list them"


def test_of_many_errors_three_are_told_in_full_and_each_further_one_in_a_line() -> None:
    volumes = tuple(
        make_failing(f"web-{number}", age=100 + number, error=f"error {number}: " + "long words " * 90)
        for number in range(50)
    )
    lines = screen(volumes=SeenVolumes(volumes=volumes, unknown=0))
    assert [line.partition(" long words")[0] for line in lines if line.startswith(("error", "shop/"))] == [
        "shop/web-49, class web-shop: last success 2m29s ago, last tried 40s ago",
        "error 49:",
        "shop/web-48, class web-shop: last success 2m28s ago, last tried 40s ago",
        "error 48:",
        "shop/web-47, class web-shop: last success 2m27s ago, last tried 40s ago",
        "error 47:",
        *(f"shop/web-{number}, class web-shop: error {number}:" for number in range(46, 41, -1)),
    ]
    assert lines[-1] == f"and {50 - SHOWN_ERRORS} volumes more (--json has all)"
    assert len(lines) < 45


def test_a_volume_that_cannot_be_published_is_told_and_the_verdict_says_so() -> None:
    facts = {
        "volumes_whose_publish_fails": "3",
        "last_failed_publish_namespace": "shop",
        "last_failed_publish_pod": "new-1",
        "last_failed_publish_class": "web-shop",
        "last_failed_publish_time": str(NOW - 12),
        "last_failed_publish_error": "provider not found: provider 'aws'",
    }
    lines = screen(rooms=make_rooms(node=make_room("node", **facts)))
    assert lines[0].startswith("HEALTHY: ")
    assert " ".join(lines[:2]).endswith("2 volumes, no refresh failed, 3 can't be published")
    assert about(lines, "Volumes") == "2 published, oldest success 40s ago, 3 can't be published"
    assert lines[-4:] == [
        "Volumes that can't be published; kubelet tries again, and tells it on the pod:",
        "shop/new-1, class web-shop: tried 12s ago",
        "provider not found: provider 'aws'",
        "and 2 volumes more",
    ]


def test_a_long_error_is_cut_and_never_moves_the_cursor() -> None:
    failing = make_failing(error="\x1b[2J\rwords and " * 200)
    text = render(judge(make_observation(volumes=SeenVolumes(volumes=(failing,), unknown=0))))
    assert "\x1b" not in text
    assert "\r" not in text
    assert len(text.split("\n")) < 30


def test_adopted_and_unknown_volumes_are_counted() -> None:
    volumes = SeenVolumes(volumes=(make_volume(adopted=True, last_success_time=0.0),), unknown=2)
    assert (
        about(screen(volumes=volumes), "Volumes") == "1 published, 1 adopted, 2 mounts that nobody knows yet"
    )


def test_what_programs_say_does_not_work_comes_last() -> None:
    room = make_room("statussync", problems=["Secret shop/a: not ours"], queue_depth="4")
    lines = screen(rooms=make_rooms(statussync=room))
    assert about(lines, "Status-sync") == "connected to node, 4 queued, 1 problem"
    assert lines[-2:] == ["What the programs say does not work:", "statussync: Secret shop/a: not ours"]


def test_why_kubelet_refuses_is_told_once() -> None:
    error = "kubelet refused: NodeGetInfo failed"
    registrar = make_room("registrar", state="waiting for kubelet", last_error=error, problems=[error])
    lines = screen(rooms=make_rooms(registrar=registrar))
    assert [line for line in lines if "refused" in line] == [
        f"NOT HEALTHY: registrar is waiting for kubelet: {error}"
    ]


def test_what_is_over_is_told_as_such() -> None:
    rooms = make_rooms(
        registrar=make_room("registrar", last_error="NodeGetInfo failed", last_error_time=str(NOW - 200)),
        statussync=make_room("statussync", last_problem="no API"),
    )
    lines = screen(rooms=rooms)
    assert "last error, 3m20s ago: NodeGetInfo failed" in lines
    assert "last problem, which is over: no API" in lines
    assert lines[0].startswith("HEALTHY")


def test_a_driver_without_registrar_says_which_variable_switches_it_on() -> None:
    lines = screen(watchdog=make_watchdog(lacks="registrar"), rooms=make_rooms(registrar=Silence.NO_SOCKET))
    assert "SSCSI_KUBELET_REGISTRATION_PATH" in about(lines, "Registration")
    assert lines[0] == "HEALTHY: 5 programs running, 2 volumes, no refresh failed"


def test_restarts_are_told_with_their_reason_and_the_last_one() -> None:
    node = make_program("node", restarts=3, over_budget_restarts=2, last_exit_time=NOW - 300)
    lines = screen(watchdog=make_watchdog({"node": node}, container=None))
    assert about(lines, "Memory") == "programs 72.0 MiB (PSS)"
    assert about(lines, "Restarts") == (
        "node 3 times, 2 of them for more memory than its budget, last ended 5m00s ago"
    )


def test_what_nobody_told_is_not_made_up() -> None:
    lines = screen(
        watchdog=None,
        watchdog_trouble="there is no watchdog.json",
        rooms=dict.fromkeys(make_rooms(), Silence.HANGING) | {"registrar": Silence.NO_SOCKET},
        volumes=Silence.HANGING,
    )
    assert about(lines, "node") == "? - - - - - - no answer"
    for label in ("Registration", "Volumes", "Providers", "Status-sync", "Memory", "Supervisor"):
        assert about(lines, label).startswith("not known")


def test_where_no_appliance_is_there_is_only_the_verdict() -> None:
    text = render(
        judge(make_observation(directory_trouble="there is no directory '/x'; start it: sscsi run"))
    )
    assert text == "NOT HEALTHY: there is no directory '/x'; start it: sscsi run"


def test_a_long_word_of_a_program_does_not_break_the_table() -> None:
    room = dataclasses.replace(make_room("node", state="looking " * 20), version="1")
    lines = render(judge(make_observation(rooms=make_rooms(node=room)))).split("\n")
    (row,) = (line for line in lines if line.startswith("node "))
    assert len(row) == WIDTH
    assert row.endswith("...")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (192, "3m12s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (11_520, "3h12m"),
        (86_399, "23h59m"),
        (86_400, "1d00h"),
        (11_000_000, "127d07h"),
        (-5, "0s"),
    ],
)
def test_an_age_is_two_units_at_most(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_sizes_are_mebibytes() -> None:
    assert (mebibytes(0), mebibytes(MIB * 3 // 2), mebibytes(2_000_000_000)) == ("0.0", "1.5", "1907.3")
