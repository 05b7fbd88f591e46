"""The pod's group (fsGroup) reads what a provider wrote itself, though the mount did not have the group yet."""

import os
import stat

import pytest

from sscsi.pb import provider_pb2
from tests.fakes.fake_provider import FakeProvider
from tests.support.disks import SOME_GID
from tests.support.node_room import NodeInProcess, publish_request
from tests.support.require import require
from tests.support.volume_state import View, pod_view
from tests.support.volume_wrecks import upstream_volume, write

pytestmark = pytest.mark.root

WRITTEN: View = {"user": (0o600, b"admin"), "deep/er/key": (0o400, b"k1"), "none": (0, b"")}
GROUPED: View = {"user": (0o640, b"admin"), "deep/er/key": (0o440, b"k1"), "none": (0, b"")}


@pytest.fixture(autouse=True)
def writer(provider: FakeProvider) -> None:
    """The provider writes its files itself."""

    def answer(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
        write(request.target_path, WRITTEN)
        return provider_pb2.MountResponse(object_version=[provider_pb2.ObjectVersion(id="a", version="1")])

    provider.answer = answer


def groups(target_path: str) -> set[int]:
    return {os.stat(f"{target_path}/{path}").st_gid for path in WRITTEN}


def test_an_unfinished_mount_without_a_group_gets_it_with_all_that_is_written(node: NodeInProcess) -> None:
    require("root")
    target_path = node.place.target_path()
    upstream_volume(target_path, {}, layout=False)
    assert not os.stat(target_path).st_mode & stat.S_ISGID
    node.publish(publish_request(target_path, group=str(SOME_GID)))
    status = os.stat(target_path)
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o2755, SOME_GID)
    assert pod_view(target_path) == GROUPED
    assert groups(target_path) == {SOME_GID}


def test_a_volume_that_is_refreshed_with_a_group_for_the_first_time_gives_it_to_all(
    rotating: NodeInProcess, provider: FakeProvider
) -> None:
    require("root")
    target_path = rotating.place.target_path()
    rotating.publish(target_path)
    assert groups(target_path) == {0}
    # What is there already is not written anew: the provider has nothing new.
    provider.answer = provider_pb2.MountResponse(
        object_version=[provider_pb2.ObjectVersion(id="a", version="1")]
    )
    rotating.publish(publish_request(target_path, group=str(SOME_GID)))
    assert pod_view(target_path) == GROUPED
    assert groups(target_path) == {SOME_GID}


def test_without_a_group_nothing_is_given_to_any(node: NodeInProcess) -> None:
    target_path = node.place.target_path()
    upstream_volume(target_path, {}, layout=False)
    node.publish(target_path)
    assert not os.stat(target_path).st_mode & stat.S_ISGID
    assert pod_view(target_path) == WRITTEN
    assert groups(target_path) == {0}
