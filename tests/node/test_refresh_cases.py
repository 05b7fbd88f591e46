"""The table of cases in docs/refresh.md: what a refresh does to the volume, and who is told what."""

import dataclasses
import os
import threading
from collections.abc import Callable

import grpc
import pytest

from sscsi.core.status_conditions import refreshed
from sscsi.edges.class_messages import volume_from_message
from sscsi.pb import provider_pb2, sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync, make_class
from tests.support.checkout import ROOT
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, room_in_process
from tests.support.volume_state import pod_view

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("classes_soon_stale")]

FLAGS = (
    "--enable-secret-rotation",
    "--rotation-poll-interval=0",
    "--content-limit=16384",
)
FIRST = files_answer(("a", 0o644, b"A"), ("b", 0o644, b"B"), version="1")
FIRST_VIEW = {"a": (0o644, b"A"), "b": (0o644, b"B")}
Code = grpc.StatusCode


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """What a case may change before the refresh."""

    place: NodePlace
    status_sync: FakeStatusSync
    provider: FakeProvider


Change = Callable[[Stage], None]


def answer(response: provider_pb2.MountResponse) -> Change:
    def change(stage: Stage) -> None:
        stage.provider.answer = response

    return change


def error(code: grpc.StatusCode) -> Change:
    def change(stage: Stage) -> None:
        stage.provider.error = (code, "the store says no")

    return change


def versions(version: str) -> provider_pb2.MountResponse:
    return provider_pb2.MountResponse(
        object_version=[provider_pb2.ObjectVersion(id=name, version=version) for name in ("a", "b")]
    )


def hang(stage: Stage) -> None:
    stage.provider.hold.clear()


def remove_socket(stage: Stage) -> None:
    os.unlink(stage.place.provider_socket())


def forget_fresh_class() -> None:
    """Wait as long as the room goes by a class without asking again."""
    threading.Event().wait(0.15)


def remove_class(stage: Stage) -> None:
    stage.status_sync.classes.clear()
    forget_fresh_class()


def break_class(stage: Stage) -> None:
    stage.status_sync.add(make_class(provider=""))
    forget_fresh_class()


def lose_status_sync(stage: Stage) -> None:
    stage.status_sync.error = (Code.UNAVAILABLE, "away")
    forget_fresh_class()


TRUE = ("True", "LastFetchSucceeded")
# What is fetched, or not; what the pod sees then; the condition `Refreshed`; the metric's `result`.
CASES: dict[str, tuple[Change, dict[str, tuple[int, bytes]], tuple[str, str], str]] = {
    "the same": (answer(FIRST), FIRST_VIEW, TRUE, "unchanged"),
    "new content and versions": (
        answer(files_answer(("a", 0o644, b"A2"), ("b", 0o644, b"B"), version="2")),
        {"a": (0o644, b"A2"), "b": (0o644, b"B")},
        TRUE,
        "changed",
    ),
    "fewer files": (
        answer(files_answer(("a", 0o644, b"A"), version="1")),
        {"a": (0o644, b"A")},
        TRUE,
        "changed",
    ),
    "other modes": (
        answer(files_answer(("a", 0o600, b"A"), ("b", 0o644, b"B"), version="1")),
        {"a": (0o600, b"A"), "b": (0o644, b"B")},
        TRUE,
        "changed",
    ),
    "other versions for the same content": (
        answer(files_answer(("a", 0o644, b"A"), ("b", 0o644, b"B"), version="2")),
        FIRST_VIEW,
        TRUE,
        "unchanged",
    ),
    "the same versions for other content": (
        answer(files_answer(("a", 0o644, b"A2"), ("b", 0o644, b"B"), version="1")),
        {"a": (0o644, b"A2"), "b": (0o644, b"B")},
        TRUE,
        "changed",
    ),
    "the same versions and no files": (answer(versions("1")), FIRST_VIEW, TRUE, "unchanged"),
    "other versions and no files": (
        answer(versions("2")),
        FIRST_VIEW,
        ("False", "ProviderAnswerInvalid"),
        "failed",
    ),
    "nothing": (
        answer(provider_pb2.MountResponse()),
        FIRST_VIEW,
        ("False", "ProviderAnswerInvalid"),
        "failed",
    ),
    "a path or mode that is refused": (
        answer(files_answer(("../a", 0o644, b"A"))),
        FIRST_VIEW,
        ("False", "ProviderAnswerInvalid"),
        "failed",
    ),
    "more than the content limit": (
        answer(files_answer(("a", 0o644, b"A" * 20000))),
        FIRST_VIEW,
        ("False", "ContentTooLarge"),
        "failed",
    ),
    "an error code in the answer": (
        answer(provider_pb2.MountResponse(error=provider_pb2.Error(code="SecretNotFound"))),
        FIRST_VIEW,
        ("False", "ProviderFailed"),
        "failed",
    ),
    "RESOURCE_EXHAUSTED": (
        error(Code.RESOURCE_EXHAUSTED),
        FIRST_VIEW,
        ("False", "ProviderThrottled"),
        "failed",
    ),
    "UNAVAILABLE": (error(Code.UNAVAILABLE), FIRST_VIEW, ("False", "ProviderUnavailable"), "failed"),
    "PERMISSION_DENIED or UNAUTHENTICATED": (
        error(Code.PERMISSION_DENIED),
        FIRST_VIEW,
        ("False", "ProviderDenied"),
        "failed",
    ),
    "another code": (error(Code.NOT_FOUND), FIRST_VIEW, ("False", "ProviderFailed"), "failed"),
    "never": (hang, FIRST_VIEW, ("False", "ProviderTimedOut"), "failed"),
    "no provider of that name": (remove_socket, FIRST_VIEW, ("False", "ProviderNotFound"), "failed"),
    "no class any more": (remove_class, FIRST_VIEW, ("False", "ClassNotFound"), "failed"),
    "a class that can't be used": (break_class, FIRST_VIEW, ("False", "ClassInvalid"), "failed"),
    "status-sync or the API away": (lose_status_sync, FIRST_VIEW, TRUE, "unchanged"),
}


def counted(node: NodeInProcess, name: str, result: str = "") -> float:
    """A metric over all providers; of those with that `result`, if one is given."""
    families = node.room.Metrics(sscsi_pb2.RoomMetricsRequest(), timeout=60).families
    (family,) = [family for family in families if family.name == name]
    return sum(
        sample.value
        for sample in family.samples
        if not result or ("result", result) in [(label.name, label.value) for label in sample.labels]
    )


def condition(node: NodeInProcess) -> tuple[str, str]:
    """Status and reason of the condition that status-sync makes of the volume."""
    call = node.volumes.Watch(sscsi_pb2.WatchRequest(), timeout=60)
    try:
        wanted = refreshed([volume_from_message(volume) for volume in next(iter(call)).volumes])
    finally:
        call.cancel()
    return wanted.status, wanted.reason


def documented() -> dict[str, list[str]]:
    """The rows of the table, by case."""
    with open(f"{ROOT}/docs/refresh.md", encoding="utf-8") as file:
        lines = file.read().partition("## What each case does")[2].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:]}


@pytest.mark.parametrize("case", CASES)
def test_the_volume_kubelet_the_condition_and_the_metric(
    place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider, case: str
) -> None:
    change, view, wanted, result = CASES[case]
    target_path = place.target_path()
    provider.answer = FIRST
    timeout = "--provider-timeout=500ms" if case == "never" else "--provider-timeout=15s"
    with room_in_process(place, *FLAGS, timeout) as node:
        node.publish(target_path)
        before = counted(node, "sscsi_refreshes_total", result)
        change(Stage(place, status_sync, provider))
        node.publish(target_path)  # kubelet is told OK: an error would raise here
        assert pod_view(target_path) == view
        assert condition(node) == wanted
        assert counted(node, "sscsi_refreshes_total", result) == before + 1
        # Upstream's: a failure of which kubelet is not told is an error all the same.
        failed = int(result == "failed")
        assert counted(node, "node_publish_total") == 2 - failed
        assert counted(node, "node_publish_error_total") == failed
        assert counted(node, "rotation_reconcile_error_total") == failed
        assert counted(node, "rotation_reconcile_total") == 1 - failed
        provider.hold.set()


def test_the_table_tells_it() -> None:
    told = documented()
    assert told.keys() == CASES.keys()
    for case, (_, view, (status, reason), result) in CASES.items():
        volume, kubelet, shown, counts = told[case]
        assert (view == FIRST_VIEW) is volume.startswith("stays"), case
        assert kubelet == "OK", case
        assert shown == f"`{status}` `{reason}`", case
        assert counts == f"`{result}`", case
