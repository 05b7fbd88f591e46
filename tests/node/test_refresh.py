"""Republishes with rotation on: when the provider is asked, what changes, and what a failure does not change."""

import dataclasses
import os
import time
from collections.abc import Callable

import grpc
import pytest

from sscsi.pb import provider_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync, make_class
from tests.support.disks import SOME_GID
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process
from tests.support.volume_state import pod_view
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("classes_soon_stale")]

ROTATION = "--enable-secret-rotation"
KUBELET_ONLY = "--refresh-between-republishes=false"
AT_ONCE = "--rotation-poll-interval=0"


def snapshot(target_path: str) -> dict[str, tuple[int, int, int]]:
    """Every path below the volume with inode, mtime and ctime: any change of the file system shows."""
    found = {}
    for directory, names, files in os.walk(target_path):
        for path in (directory, *(os.path.join(directory, name) for name in names + files)):
            status = os.lstat(path)
            found[path] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return found


def sent_versions(provider: FakeProvider) -> list[list[tuple[str, str]]]:
    """The versions that each call said to be in place."""
    return [[(v.id, v.version) for v in request.current_object_version] for request in provider.requests]


class TestWhen:
    def test_content_younger_than_the_interval_is_not_fetched_again(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, ROTATION, "--rotation-poll-interval=1h") as node:
            for _ in range(3):
                node.publish(place.target_path())
        assert len(provider.requests) == 1

    @pytest.mark.parametrize("interval", ["0", "0s"])
    def test_an_interval_of_nothing_fetches_at_every_republish(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider, interval: str
    ) -> None:
        with room_in_process(place, ROTATION, f"--rotation-poll-interval={interval}") as node:
            for _ in range(3):
                node.publish(place.target_path())
        assert len(provider.requests) == 3

    def test_the_interval_is_counted_from_the_last_success(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, ROTATION, KUBELET_ONLY, "--rotation-poll-interval=300ms") as node:
            begun = time.monotonic()
            node.publish(place.target_path())

            def asked_again() -> bool:
                node.publish(place.target_path())
                return len(provider.requests) == 2

            wait_until(asked_again, "the provider is asked again")
            assert time.monotonic() - begun >= 0.3

    def test_a_failed_refresh_is_tried_again_at_the_next_republish(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        with room_in_process(place, ROTATION, KUBELET_ONLY, "--rotation-poll-interval=50ms") as node:
            begun = time.monotonic()
            node.publish(target_path)
            provider.error = (grpc.StatusCode.UNKNOWN, "no")
            wait_until(lambda: node.publish(target_path) and len(provider.requests) > 1, "the first refresh")
            assert time.monotonic() - begun > 0.04
            calls = len(provider.requests)
            provider.error = None
            node.publish(target_path)
            assert len(provider.requests) == calls + 1


class TestWhat:
    def test_unchanged_content_touches_no_file_and_writes_no_record(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(("a", 0o400, b"1"), ("d/b", 0o644, b"2"))
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        before, state = snapshot(target_path), snapshot(rotating.place.state_directory)
        for _ in range(3):
            rotating.publish(target_path)
        assert len(provider.requests) == 4
        assert snapshot(target_path) == before
        assert snapshot(rotating.place.state_directory) == state

    @pytest.mark.parametrize(
        ("files", "view"),
        [
            ([("a", 0o400, b"new"), ("d/b", 0o644, b"2")], {"a": (0o400, b"new"), "d/b": (0o644, b"2")}),
            ([("a", 0o600, b"1"), ("d/b", 0o644, b"2")], {"a": (0o600, b"1"), "d/b": (0o644, b"2")}),
            ([("a", 0o400, b"1")], {"a": (0o400, b"1")}),
            ([("d/b", 0o644, b"2"), ("d/c", 0, b"")], {"d/b": (0o644, b"2"), "d/c": (0, b"")}),
            ([("x", 0o400, b"1")], {"x": (0o400, b"1")}),
            ([("a/z", 0o400, b"1"), ("d", 0o400, b"")], {"a/z": (0o400, b"1"), "d": (0o400, b"")}),
        ],
        ids=[
            "content",
            "mode",
            "a file less",
            "one less, one more",
            "all others",
            "files become directories",
        ],
    )
    def test_any_change_is_swapped_in_and_nothing_old_remains(
        self,
        rotating: NodeInProcess,
        provider: FakeProvider,
        files: list[tuple[str, int, bytes]],
        view: dict[str, tuple[int, bytes]],
    ) -> None:
        provider.answer = files_answer(("a", 0o400, b"1"), ("d/b", 0o644, b"2"))
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        before = os.readlink(f"{target_path}/..data")
        provider.answer = files_answer(*files, version="v2")
        rotating.publish(target_path)
        assert pod_view(target_path) == view
        data = os.readlink(f"{target_path}/..data")
        assert data != before
        tops = {path.split("/")[0] for path, _, _ in files}
        assert set(os.listdir(target_path)) == {"..data", data, *tops}
        record = rotating.place.record()
        assert (record.data_directory, dict(record.object_versions)[files[0][0]]) == (data, "v2")

    def test_an_open_file_stays_readable_over_a_swap(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        with open(f"{target_path}/secret", "rb") as file:
            provider.answer = files_answer(("secret", 0o644, b"second"))
            rotating.publish(target_path)
            assert file.read() == b"first content"
        assert pod_view(target_path) == {"secret": (0o644, b"second")}

    def test_new_versions_of_unchanged_content_are_recorded_and_no_file_is_touched(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        before = snapshot(target_path)
        provider.answer = files_answer(("secret", 0o644, b"first content"), version="v2")
        rotating.publish(target_path)
        assert snapshot(target_path) == before
        assert rotating.place.record().object_versions == (("secret", "v2"),)

    def test_a_changed_class_is_fetched_with_its_new_parameters(
        self, rotating: NodeInProcess, provider: FakeProvider, status_sync: FakeStatusSync
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        status_sync.add(make_class(parameters={"objects": "others"}, generation=2))

        def fetched_anew() -> bool:
            # A class is used for a moment without asking again.
            rotating.publish(target_path)
            return provider.attributes()["objects"] == "others"

        wait_until(fetched_anew, "the new class is used")
        assert rotating.place.record().class_generation == 2

    def test_a_group_that_was_not_asked_for_at_first_is_given_later(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:

        provider.answer = files_answer(("a", 0o400, b"1"))
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        rotating.publish(publish_request(target_path, group=str(SOME_GID)))
        assert pod_view(target_path) == {"a": (0o440, b"1")}
        assert os.stat(f"{target_path}/a").st_gid == SOME_GID

    @pytest.mark.parametrize("what", ["link", "version's file"])
    def test_what_somebody_removed_from_the_volume_comes_back(
        self, rotating: NodeInProcess, provider: FakeProvider, what: str
    ) -> None:
        provider.answer = files_answer(("a", 0o400, b"1"), ("b", 0o400, b"2"))
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        os.unlink(f"{target_path}/a" if what == "link" else f"{target_path}/..data/a")
        rotating.publish(target_path)
        assert pod_view(target_path) == {"a": (0o400, b"1"), "b": (0o400, b"2")}


Failure = Callable[[NodeInProcess, FakeProvider, FakeStatusSync], None]


def provider_says_no(_node: NodeInProcess, provider: FakeProvider, _status_sync: FakeStatusSync) -> None:
    provider.error = (grpc.StatusCode.PERMISSION_DENIED, "the store says no")


def provider_is_gone(node: NodeInProcess, _provider: FakeProvider, _status_sync: FakeStatusSync) -> None:
    os.rename(node.place.provider_socket(), f"{node.place.base}/gone.sock")


def provider_lies(_node: NodeInProcess, provider: FakeProvider, _status_sync: FakeStatusSync) -> None:
    provider.answer = files_answer(("../x", 0o644, b""))


class TestFailure:
    @pytest.mark.parametrize(
        ("fail", "message"),
        [
            (provider_says_no, "rpc error: code = PermissionDenied desc = the store says no"),
            (provider_is_gone, 'provider not found: provider "fake"'),
            (provider_lies, "invalid path: must not contain '..': ../x"),
        ],
    )
    def test_the_content_stays_kubelet_hears_ok_and_the_record_tells(
        self,
        rotating: NodeInProcess,
        provider: FakeProvider,
        status_sync: FakeStatusSync,
        fail: Failure,
        message: str,
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        before, record = snapshot(target_path), rotating.place.record()
        fail(rotating, provider, status_sync)
        rotating.publish(target_path)
        assert snapshot(target_path) == before
        after = rotating.place.record()
        assert after.last_error.startswith(
            "failed to mount secrets store objects for pod default/web-0, err: "
        )
        assert message in after.last_error
        assert after.attempt_time > record.attempt_time
        assert (after.success_time, after.object_versions) == (record.success_time, record.object_versions)

    def test_the_same_failure_again_writes_no_record(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        provider.error = (grpc.StatusCode.UNKNOWN, "no")
        rotating.publish(target_path)
        before = snapshot(rotating.place.state_directory)
        rotating.publish(target_path)
        assert snapshot(rotating.place.state_directory) == before

    def test_a_success_clears_the_error(self, rotating: NodeInProcess, provider: FakeProvider) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        provider.error = (grpc.StatusCode.UNKNOWN, "no")
        rotating.publish(target_path)
        provider.error = None
        rotating.publish(target_path)
        assert rotating.place.record().last_error == ""

    def test_a_class_that_was_deleted_keeps_the_content_too(
        self, rotating: NodeInProcess, provider: FakeProvider, status_sync: FakeStatusSync
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        status_sync.classes.clear()

        def failed() -> bool:
            rotating.publish(target_path)
            return rotating.place.record().last_error != ""

        wait_until(failed, "the class is found missing")
        assert rotating.place.record().last_error == (
            "failed to get secretproviderclass default/app, error: "
            'SecretProviderClass.secrets-store.csi.x-k8s.io "app" not found'
        )
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}

    def test_while_status_sync_is_away_the_last_class_serves(
        self, rotating: NodeInProcess, provider: FakeProvider, status_sync: FakeStatusSync
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        status_sync.error = (grpc.StatusCode.UNAVAILABLE, "away")
        calls = status_sync.calls

        def asked() -> bool:
            rotating.publish(target_path)
            return status_sync.calls > calls

        wait_until(asked, "status-sync is asked in vain")
        other = rotating.place.target_path(volume="other")
        rotating.publish(other)
        assert pod_view(other) == {"secret": (0o644, b"first content")}

    def test_a_volume_that_must_not_be_writable_is_refused_in_a_refresh_too(
        self, rotating: NodeInProcess
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        answer = refusal(lambda: rotating.publish(publish_request(target_path, readonly=False)))
        assert answer == (grpc.StatusCode.INVALID_ARGUMENT, "Readonly is not true in request")
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}


class TestCurrentVersions:
    def test_they_are_sent_with_a_refresh_of_the_same_class(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(("b", 0o644, b""), ("a", 0o644, b""), version="v1")
        for _ in range(2):
            rotating.publish(rotating.place.target_path())
        assert sent_versions(provider) == [[], [("a", "v1"), ("b", "v1")]]

    @pytest.mark.parametrize("what", ["generation", "uid"])
    def test_they_are_not_sent_for_another_class(
        self, rotating: NodeInProcess, provider: FakeProvider, status_sync: FakeStatusSync, what: str
    ) -> None:

        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        other = make_class(parameters={"objects": "others"}, generation=2 if what == "generation" else 1)
        status_sync.add(other if what == "generation" else dataclasses.replace(other, uid="created-anew"))

        def fetched_anew() -> bool:
            rotating.publish(target_path)
            return provider.attributes()["objects"] == "others"

        wait_until(fetched_anew, "the new class is used")
        assert sent_versions(provider)[-1] == []

    def test_they_are_not_sent_where_the_content_had_to_be_healed(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        os.unlink(f"{target_path}/..data")
        rotating.publish(target_path)
        assert sent_versions(provider) == [[], []]

    def test_a_call_that_fails_with_them_is_made_once_more_without(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)

        def answer(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            if request.current_object_version:
                raise FileNotFoundError("the provider looks for a file that is not there")
            return files_answer(("secret", 0o644, b"second"))

        provider.answer = answer
        rotating.publish(target_path)
        assert sent_versions(provider) == [[], [("secret", "v1")], []]
        assert pod_view(target_path) == {"secret": (0o644, b"second")}
        assert rotating.place.record().last_error == ""

    @pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
    def test_a_provider_that_is_away_or_asked_too_often_is_not_asked_once_more_without(
        self, rotating: NodeInProcess, provider: FakeProvider, code: str
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        provider.error = (grpc.StatusCode[code], "no")
        rotating.publish(target_path)
        # A call that finds the provider away is made anew on a new connection; with the versions, as before.
        assert sent_versions(provider).count([]) == 1

    def test_an_answer_that_is_wrong_with_them_is_asked_for_once_more_without(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        provider.answer = provider_pb2.MountResponse()
        rotating.publish(target_path)
        assert sent_versions(provider) == [[], [("secret", "v1")], []]
        assert rotating.place.record().last_error.endswith("missing object versions")

    def test_a_first_call_that_fails_is_not_made_again(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.error = (grpc.StatusCode.UNKNOWN, "no")
        refusal(lambda: rotating.publish(rotating.place.target_path()))
        assert len(provider.requests) == 1
