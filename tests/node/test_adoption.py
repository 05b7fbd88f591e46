"""Volumes that are there already: upstream's, ours without a record, and those that look published and are not."""

import os

import grpc
import pytest

from sscsi.node.provider_gates import OPEN_AFTER
from sscsi.pb import sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.disks import SOME_GID
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process
from tests.support.volume_state import View, pod_view
from tests.support.volume_wrecks import litter_volume, upstream_volume
from tests.support.waiting import wait_until

pytestmark = pytest.mark.root

ROTATION = ("--enable-secret-rotation", "--rotation-poll-interval=0")
UPSTREAMS: View = {"user": (0o644, b"admin"), "tls/key": (0o400, b"\x00"), "none": (0, b"")}
FETCHED: View = {"secret": (0o644, b"first content")}


def spared(node: NodeInProcess, provider: str, reason: str) -> float:
    """Calls to the provider that were put off for the reason."""
    families = node.room.Metrics(sscsi_pb2.RoomMetricsRequest(), timeout=60).families
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if family.name == "sscsi_refreshes_put_off_total"
        and {label.name: label.value for label in sample.labels} == {"provider": provider, "reason": reason}
    )


class TestUpstreamsVolume:
    def test_with_rotation_off_it_is_taken_over_as_it_is(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = node.place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        node.publish(target_path)
        assert pod_view(target_path) == UPSTREAMS
        assert provider.requests == []
        assert len(node.place.mounts()) == 1
        record = node.place.record()
        assert (record.adopted, record.object_versions) == (True, ())
        assert record.data_directory == os.readlink(f"{target_path}/..data")
        assert (record.pod_namespace, record.pod_name, record.class_name) == ("default", "web-0", "app")

    def test_with_rotation_on_it_is_due_at_once_however_long_the_interval(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        # Nobody knows how old the content is. The interval is longer than any machine that runs this has been up.
        target_path = place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        with room_in_process(place, "--enable-secret-rotation", "--rotation-poll-interval=1000000h") as node:
            for _ in range(2):
                node.publish(target_path)
        assert pod_view(target_path) == FETCHED
        assert len(provider.requests) == 1
        record = place.record()
        assert (record.adopted, record.object_versions) == (False, (("secret", "v1"),))

    @pytest.mark.usefixtures("short_patience")
    def test_its_provider_is_spared_while_it_is_away_though_no_record_names_it(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        provider.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
        pods = [f"pod-{number}" for number in range(OPEN_AFTER)]
        for pod in pods:
            upstream_volume(place.target_path(pod), UPSTREAMS)
        with room_in_process(place, "--enable-secret-rotation", "--rotation-poll-interval=1s") as node:
            for pod in pods:
                node.publish(publish_request(place.target_path(pod), pod=pod, pod_uid=pod))
            wait_until(lambda: spared(node, "fake", "circuit") > 0, "the open circuit keeps calls from it")
            assert pod_view(place.target_path(pods[0])) == UPSTREAMS
            provider.error = None
            wait_until(
                lambda: all(pod_view(place.target_path(pod)) == FETCHED for pod in pods),
                "all are fetched",
            )

    def test_its_first_refresh_names_no_version_and_the_next_one_does(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        for _ in range(2):
            rotating.publish(target_path)
        assert [len(request.current_object_version) for request in provider.requests] == [0, 1]

    def test_equal_content_is_left_in_upstreams_own_version(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(*((path, mode, data) for path, (mode, data) in UPSTREAMS.items()))
        target_path = rotating.place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        before = os.readlink(f"{target_path}/..data")
        rotating.publish(target_path)
        assert os.readlink(f"{target_path}/..data") == before
        assert pod_view(target_path) == UPSTREAMS

    def test_a_failing_first_refresh_keeps_it(self, rotating: NodeInProcess, provider: FakeProvider) -> None:
        provider.error = (grpc.StatusCode.PERMISSION_DENIED, "no")
        target_path = rotating.place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        rotating.publish(target_path)
        assert pod_view(target_path) == UPSTREAMS
        assert rotating.place.record().adopted
        assert rotating.place.record().last_error.endswith("code = PermissionDenied desc = no")

    def test_a_group_is_given_at_the_first_refresh(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(*((path, mode, data) for path, (mode, data) in UPSTREAMS.items()))
        target_path = rotating.place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        rotating.publish(publish_request(target_path, group=str(SOME_GID)))
        assert pod_view(target_path)["tls/key"] == (0o440, b"\x00")
        assert os.stat(f"{target_path}/tls/key").st_gid == SOME_GID

    def test_it_is_unpublished_like_any_other(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        node.unpublish(target_path)
        assert not os.path.lexists(target_path)
        assert node.place.mounts() == []

    def test_what_an_interrupted_write_left_in_it_goes_with_the_next_refresh(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        litter_volume(target_path)
        rotating.publish(target_path)
        data = os.readlink(f"{target_path}/..data")
        assert sorted(os.listdir(target_path)) == sorted(["..data", data, "secret"])


class TestOurOwnWithoutARecord:
    def test_when_the_state_directory_was_lost_the_volume_is_adopted(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        with room_in_process(place) as node:
            node.publish(target_path)
        os.unlink(f"{place.state_directory}/{place.records()[0]}")
        with room_in_process(place) as node:
            node.publish(target_path)
        assert len(provider.requests) == 1
        assert place.record().adopted
        assert pod_view(target_path) == FETCHED


class TestFalseSuccess:
    """The four cases in which upstream 1.6 tells kubelet OK and the pod gets an empty volume (users.md, P2)."""

    @pytest.mark.parametrize("flags", [(), ("--enable-secret-rotation", "--rotation-poll-interval=1h")])
    def test_a_and_b_an_empty_mount_of_a_killed_publish_is_filled(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider, flags: tuple[str, ...]
    ) -> None:
        target_path = place.target_path()
        upstream_volume(target_path, {}, layout=False)
        with room_in_process(place, *flags) as node:
            node.publish(target_path)
        assert pod_view(target_path) == FETCHED
        assert len(place.mounts()) == 1

    def test_c_an_empty_mount_and_a_failing_provider_are_an_error_and_the_mount_of_others_stays(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        upstream_volume(target_path, {}, layout=False)
        provider.error = (grpc.StatusCode.PERMISSION_DENIED, "no")
        code, _ = refusal(lambda: rotating.publish(target_path))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert len(rotating.place.mounts()) == 1
        assert rotating.place.records() == []
        provider.error = None
        rotating.publish(target_path)
        assert pod_view(target_path) == FETCHED

    def test_d_a_retry_within_the_interval_after_a_failure_that_keeps_the_directory_asks_the_provider(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        provider.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
        with room_in_process(place, "--enable-secret-rotation", "--rotation-poll-interval=1h") as node:
            os.mkdir(target_path)
            assert refusal(lambda: node.publish(target_path))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            provider.error = None
            node.publish(target_path)
        assert os.path.ismount(target_path)
        assert pod_view(target_path) == FETCHED

    @pytest.mark.parametrize(
        "wreck", ["half a version", "empty version", "link to nothing", "a link is missing"]
    )
    def test_whatever_is_less_than_whole_is_filled(
        self, node: NodeInProcess, provider: FakeProvider, wreck: str
    ) -> None:
        target_path = node.place.target_path()
        upstream_volume(target_path, UPSTREAMS)
        version = os.path.join(target_path, os.readlink(f"{target_path}/..data"))
        if wreck == "half a version":
            os.unlink(f"{target_path}/..data")
        elif wreck == "link to nothing":
            os.rename(version, version + ".x")
        elif wreck == "a link is missing":
            os.unlink(f"{target_path}/user")
        else:
            os.rename(version, f"{target_path}/other")
            os.mkdir(version)
        node.publish(target_path)
        assert len(provider.requests) == 1
        assert pod_view(target_path) == FETCHED

    def test_plain_files_without_a_record_prove_nothing(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        # A provider that writes itself may have been killed half-way.
        target_path = node.place.target_path()
        upstream_volume(target_path, {"half": (0o644, b"x")}, layout=False)
        node.publish(target_path)
        assert pod_view(target_path) == FETCHED

    @pytest.mark.parametrize("target", ["/etc", "..", "../..", "..data", "etc", ".hidden"])
    def test_a_data_link_that_leads_elsewhere_proves_nothing_and_is_not_followed(
        self, node: NodeInProcess, provider: FakeProvider, target: str
    ) -> None:
        target_path = node.place.target_path()
        upstream_volume(target_path, {"etc/passwd": (0o644, b"x"), ".hidden/x": (0o644, b"x")}, layout=False)
        os.symlink(target, f"{target_path}/..data")
        node.publish(target_path)
        assert pod_view(target_path) == FETCHED


class TestForeignMounts:
    """At a path that is not of kubelet's shape and has no record, a mount may be anybody's."""

    @pytest.mark.parametrize("name", ["file", "directory/file"])
    def test_a_tmpfs_with_files_of_somebody_else_is_neither_filled_nor_unmounted(
        self, node: NodeInProcess, provider: FakeProvider, name: str
    ) -> None:
        target_path = f"{node.place.base}/elsewhere"
        theirs: View = {name: (0o644, b"theirs")}
        top = name.partition("/")[0]
        upstream_volume(target_path, theirs, layout=False)
        for call in (lambda: node.publish(target_path), lambda: node.unpublish(target_path)):
            code, message = refusal(call)
            assert code is grpc.StatusCode.INTERNAL
            assert f"is a mount with files of somebody else in it ({top!r})" in message
        assert pod_view(target_path) == theirs
        assert len(node.place.mounts(target_path)) == 1
        assert provider.requests == []

    def test_an_empty_tmpfs_may_be_ours_and_is_filled(self, node: NodeInProcess) -> None:
        target_path = f"{node.place.base}/elsewhere"
        upstream_volume(target_path, {}, layout=False)
        node.publish(target_path)
        assert pod_view(target_path) == FETCHED
        node.unpublish(target_path)
        assert not os.path.lexists(target_path)

    def test_upstreams_volume_is_taken_over_and_given_back_there_too(self, node: NodeInProcess) -> None:
        target_path = f"{node.place.base}/elsewhere"
        upstream_volume(target_path, UPSTREAMS)
        node.publish(target_path)
        assert pod_view(target_path) == UPSTREAMS
        node.unpublish(target_path)
        assert not os.path.lexists(target_path)
