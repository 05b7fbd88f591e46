"""A provider that writes its files itself and fails half-way in a refresh: what is there stays proven."""

import os
from collections.abc import Callable

import grpc
import pytest

from sscsi.pb import provider_pb2
from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, refusal, room_in_process
from tests.support.volume_state import View, pod_view, untrue_records
from tests.support.volume_wrecks import write

pytestmark = pytest.mark.root

FIRST: View = {"a": (0o644, b"first"), "b": (0o600, b"first")}
HALF: View = {"a": (0o644, b"second"), "b": (0o600, b"first")}
ROTATION = ("--enable-secret-rotation", "--rotation-poll-interval=0")
Harm = Callable[[str], None]


def writes_first(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
    write(request.target_path, FIRST)
    return provider_pb2.MountResponse(object_version=[provider_pb2.ObjectVersion(id="a", version="v1")])


def fails_after(harm: Harm) -> Callable[[provider_pb2.MountRequest], provider_pb2.MountResponse]:
    """An answer that does `harm` to the volume in its first call, and fails in every one."""
    todo = [harm]

    def answer(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
        while todo:
            todo.pop()(request.target_path)
        raise PermissionError("the second secret")

    return answer


def rewrite_one(target_path: str) -> None:
    write(target_path, {"a": HALF["a"]})


def remove_one(target_path: str) -> None:
    os.unlink(f"{target_path}/b")


@pytest.fixture
def target_path(rotating: NodeInProcess, provider: FakeProvider) -> str:
    """A volume that the provider has written itself."""
    provider.answer = writes_first
    path = rotating.place.target_path()
    rotating.publish(path)
    return path


def test_a_republish_is_ok_then_and_ever_after_and_the_record_says_what_is_there_and_why(
    rotating: NodeInProcess, provider: FakeProvider, target_path: str
) -> None:
    before = rotating.place.record()
    provider.answer = fails_after(rewrite_one)
    for _ in range(4):
        rotating.publish(target_path)
    assert len(provider.requests) >= 5, "each republish asked again"
    assert pod_view(target_path) == HALF
    after = rotating.place.record()
    assert "the second secret" in after.last_error
    assert [file.path for file in after.files] == [file.path for file in before.files]
    assert after.files[0].inode == os.stat(f"{target_path}/a").st_ino != before.files[0].inode
    assert after.files[1] == before.files[1]
    assert after.object_versions == before.object_versions, "the provider is told what it delivered whole"
    assert after.success_time == before.success_time


def test_what_is_there_is_proven_to_the_next_process_too(
    place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
) -> None:
    provider.answer = writes_first
    target_path = place.target_path()
    with room_in_process(place, *ROTATION) as node:
        node.publish(target_path)
        provider.answer = fails_after(rewrite_one)
        node.publish(target_path)
    calls = len(provider.requests)
    with room_in_process(place) as node:
        assert untrue_records(place) == []
        node.publish(target_path)
    assert len(provider.requests) == calls, "with rotation off a proven volume needs nobody"
    assert pod_view(target_path) == HALF


def test_when_a_recorded_file_is_gone_it_is_not_proven_and_the_pod_may_not_start(
    rotating: NodeInProcess, provider: FakeProvider, target_path: str
) -> None:
    provider.answer = fails_after(remove_one)
    rotating.publish(target_path)
    assert rotating.place.record().last_error
    code, message = refusal(lambda: rotating.publish(target_path))
    assert code is grpc.StatusCode.UNKNOWN
    assert "the second secret" in message
    provider.answer = writes_first
    rotating.publish(target_path)
    assert pod_view(target_path) == FIRST
    assert rotating.place.record().last_error == ""
