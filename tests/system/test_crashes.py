"""What dies, fills up or goes away around a node room, and what kubelet and the pods notice of it."""

import contextlib
import ctypes
import os
import shutil
import time
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from sscsi.pb import provider_pb2
from tests.fakes import fake_provider, fake_status_sync
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support import volume_wrecks
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import NodeClient, clean_environ, node_process, publish_request, refusal
from tests.support.preloaded import preloaded
from tests.support.volume_state import View, pod_view, residue, untrue_records
from tests.support.waiting import wait_until

_OLD: View = {"password": (0o644, b"old"), "nested/key": (0o600, b"old")}
_NEW: View = {"password": (0o644, b"new"), "other": (0o600, b"new")}
_HANGING_PROVIDER = "tests.support.hanging_provider"
_ROTATION = ("--enable-secret-rotation", "--rotation-poll-interval=0")

pytestmark = pytest.mark.root


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


@pytest.fixture
def status_sync(place: NodePlace) -> Iterator[FakeStatusSync]:
    """Has the class default/app."""
    status_sync = FakeStatusSync()
    status_sync.add(fake_status_sync.make_class())
    with fake_status_sync.serving(status_sync, place.status_sync_socket()):
        yield status_sync


@pytest.fixture
def provider(place: NodePlace, status_sync: FakeStatusSync) -> Iterator[FakeProvider]:
    with fake_provider.serving(FakeProvider(), place.provider_socket()) as provider:
        provider.answer = _files(_OLD)
        yield provider


def _files(view: View) -> provider_pb2.MountResponse:
    files = [(path, mode, content) for path, (mode, content) in view.items()]
    return files_answer(*files, version="of-new" if view is _NEW else "of-old")


def _by_itself(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
    volume_wrecks.write(request.target_path, _OLD)
    return provider_pb2.MountResponse(object_version=[provider_pb2.ObjectVersion(id="all", version="1")])


def _expect_published(place: NodePlace, view: View) -> None:
    target_path = place.target_path()
    assert len(place.mounts()) == 1
    assert pod_view(target_path) == view
    assert not untrue_records(place)
    assert not residue(place, target_path)


def _expect_nothing(place: NodePlace) -> None:
    assert not [entry for entry in place.mounts() if "/pods/" in entry.mount_point]
    assert not place.records()
    assert not os.listdir(f"{place.run_directory}/records")
    assert not os.path.lexists(place.target_path())


class TestTheNodeRoomIsKilledWhileAProviderIsAsked:
    def test_of_a_first_publish_nothing_is_seen_and_the_next_one_is_whole(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        _kill_while_the_provider_is_asked(place, provider)
        assert pod_view(place.target_path()) == {}
        with node_process(place) as node:
            assert pod_view(place.target_path()) == {}
            node.publish(place.target_path())
            _expect_published(place, _OLD)
            node.unpublish(place.target_path())
        _expect_nothing(place)

    def test_of_a_first_publish_that_is_not_tried_again_an_unpublish_leaves_nothing(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        _kill_while_the_provider_is_asked(place, provider)
        with node_process(place) as node:
            node.unpublish(place.target_path())
            _expect_nothing(place)

    def test_a_refresh_keeps_the_old_content_until_the_next_one_has_the_new(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        with node_process(place) as node:
            node.publish(place.target_path())
        provider.answer = _files(_NEW)
        _kill_while_the_provider_is_asked(place, provider)
        assert pod_view(place.target_path()) == _OLD
        with node_process(place, *_ROTATION) as node:
            _expect_published(place, _OLD)
            node.publish(place.target_path())
            _expect_published(place, _NEW)


def _kill_while_the_provider_is_asked(place: NodePlace, provider: FakeProvider) -> None:
    provider.hold.clear()
    asked = len(provider.requests)
    with node_process(place, *_ROTATION) as node, futures.ThreadPoolExecutor(1) as kubelet:
        call = kubelet.submit(refusal, lambda: node.publish(place.target_path()))
        wait_until(lambda: len(provider.requests) > asked, "the provider is asked")
        assert node.kill() == -9
        assert call.result()[0] is grpc.StatusCode.UNAVAILABLE
    provider.hold.set()


class TestAProviderIsKilledWhileItIsAsked:
    def test_and_is_asked_again_when_it_is_back(self, place: NodePlace, status_sync: FakeStatusSync) -> None:
        mark = f"{place.base}/asked"
        with (
            preloaded(_HANGING_PROVIDER) as programs,
            node_process(place) as node,
            futures.ThreadPoolExecutor(1) as kubelet,
        ):
            hanging = programs.start(
                _HANGING_PROVIDER,
                [place.provider_socket(), mark],
                environ=clean_environ({}),
                log_file=f"{place.base}/provider.log",
            )
            wait_until(lambda: os.path.exists(place.provider_socket()), "the provider serves")
            call = kubelet.submit(node.publish, place.target_path())
            wait_until(lambda: os.path.exists(mark), "the provider is asked")
            hanging.kill()
            with fake_provider.serving(FakeProvider(), place.provider_socket()) as back:
                back.answer = _files(_OLD)
                call.result()
                _expect_published(place, _OLD)


class TestTheRecordsAreLost:
    @pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is down"])
    def test_a_volume_of_ours_is_adopted_without_asking_the_provider(
        self, place: NodePlace, provider: FakeProvider, running: bool
    ) -> None:
        with node_process(place) as node:
            node.publish(place.target_path())
            if running:
                shutil.rmtree(place.state_directory)
                node.publish(place.target_path())
        if not running:
            shutil.rmtree(place.state_directory)
        provider.requests.clear()
        with node_process(place) as node:
            node.publish(place.target_path())
            _expect_published(place, _OLD)
            assert not provider.requests
            assert len(place.records()) == 1
            node.unpublish(place.target_path())
            _expect_nothing(place)

    def test_a_volume_that_its_provider_wrote_is_asked_for_again(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        provider.answer = _by_itself
        with node_process(place) as node:
            node.publish(place.target_path())
        shutil.rmtree(place.state_directory)
        provider.requests.clear()
        with node_process(place) as node:
            node.publish(place.target_path())
            assert len(provider.requests) == 1
            assert not provider.requests[0].current_object_version
            _expect_published(place, _OLD)

    def test_a_new_volume_is_recorded_in_a_directory_made_anew(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        with node_process(place) as node:
            shutil.rmtree(place.state_directory)
            node.publish(place.target_path())
            assert len(place.records()) == 1


class TestStatusSyncIsAway:
    def test_a_class_that_is_known_goes_on_serving(self, place: NodePlace, provider: FakeProvider) -> None:
        with _node_whose_status_sync_left(place) as node:
            begun = time.monotonic()
            node.publish(place.target_path("another-pod"))
            provider.answer = _files(_NEW)
            node.publish(place.target_path())
            assert time.monotonic() - begun < 30.0
            assert pod_view(place.target_path("another-pod")) == _OLD
            assert pod_view(place.target_path()) == _NEW
            node.unpublish(place.target_path())

    def test_a_class_that_is_not_known_is_unavailable_before_the_deadline(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        with _node_whose_status_sync_left(place) as node:
            target_path = place.target_path("another-pod")
            request = publish_request(target_path, class_name="unknown")
            code, text = refusal(lambda: node.publish(request, seconds=8.0))
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "failed to get secretproviderclass default/unknown" in text
            assert not os.path.lexists(target_path)

    def test_it_is_found_again_without_a_restart(self, place: NodePlace, provider: FakeProvider) -> None:
        with _node_whose_status_sync_left(place) as node:
            refusal(
                lambda: node.publish(publish_request(place.target_path("x"), class_name="later"), seconds=3.0)
            )
            back = FakeStatusSync()
            back.add(fake_status_sync.make_class("later"))
            with fake_status_sync.serving(back, place.status_sync_socket()):
                node.publish(publish_request(place.target_path("x"), class_name="later"))
                assert pod_view(place.target_path("x")) == _OLD


@contextlib.contextmanager
def _node_whose_status_sync_left(place: NodePlace) -> Iterator[NodeClient]:
    """A node room that has published one volume of the class `app`, and then lost status-sync."""
    os.unlink(place.status_sync_socket())
    status_sync = FakeStatusSync()
    status_sync.add(fake_status_sync.make_class())
    with node_process(place, *_ROTATION) as node:
        with fake_status_sync.serving(status_sync, place.status_sync_socket()):
            node.publish(place.target_path())
        left = time.monotonic()
        # For this long a class that was read is used as it is.
        wait_until(lambda: time.monotonic() > left + 1.1, "the class is no longer fresh")
        yield node


class TestTheDiskOfTheRecordsIsFull:
    def test_pods_start_and_the_record_is_kept_in_the_run_directory(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        with _full_state_directory(place):
            with node_process(place) as node:
                node.publish(place.target_path())
                _expect_record_in_run_directory(place)
                node.kill()
            with node_process(place, *_ROTATION) as node:
                _expect_record_in_run_directory(place)
                provider.answer = _files(_NEW)
                node.publish(place.target_path())
                # The record counts: what it says is in place is told to the provider.
                assert {version.version for version in provider.requests[-1].current_object_version} == {
                    "of-old"
                }
                assert pod_view(place.target_path()) == _NEW
                node.unpublish(place.target_path())
                assert not os.listdir(f"{place.run_directory}/records")

    def test_the_record_moves_to_the_state_directory_when_there_is_room_again(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        with _full_state_directory(place) as filling, node_process(place, *_ROTATION) as node:
            node.publish(place.target_path())
            os.unlink(filling)
            provider.answer = _files(_NEW)
            node.publish(place.target_path())
            assert len(place.records()) == 1
            assert not os.listdir(f"{place.run_directory}/records")
            node.unpublish(place.target_path())
            assert not place.records()

    def test_an_older_record_there_does_not_count_against_the_newer_one(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        with _full_state_directory(place) as filling:
            os.truncate(filling, 0)
            with node_process(place, *_ROTATION) as node:
                node.publish(place.target_path())
                _fill(filling)
                provider.answer = _files(_NEW)
                node.publish(place.target_path())
                node.kill()
            with node_process(place, *_ROTATION) as node:
                node.publish(place.target_path())
                assert {version.version for version in provider.requests[-1].current_object_version} == {
                    "of-new"
                }
                node.unpublish(place.target_path())
                assert not os.listdir(f"{place.run_directory}/records")
                assert os.listdir(place.state_directory) == [os.path.basename(filling)]


def _expect_record_in_run_directory(place: NodePlace) -> None:
    assert len(os.listdir(f"{place.run_directory}/records")) == 1
    assert not [name for name in place.records() if name.endswith(".json")]
    assert len([entry for entry in place.mounts() if "/pods/" in entry.mount_point]) == 1


@contextlib.contextmanager
def _full_state_directory(place: NodePlace) -> Iterator[str]:
    """A small disk at the state directory; the path of the file that fills it."""
    os.mkdir(place.state_directory)
    failed = ctypes.CDLL(None).mount(
        b"tmpfs", os.fsencode(place.state_directory), b"tmpfs", ctypes.c_ulong(0), b"size=64k"
    )
    assert not failed
    path = f"{place.state_directory}/filling"
    _fill(path)
    yield path


def _fill(path: str) -> None:
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
