"""A first publish: what arrives in the volume, what the provider is asked, and what is recorded."""

import ctypes
import json
import os
import re
import stat
import time
from concurrent import futures

import grpc
import pytest

from sscsi.pb import provider_pb2
from tests.fakes import fake_status_sync
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync, make_class
from tests.support.disks import SOME_GID
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process
from tests.support.volume_state import pod_view

pytestmark = pytest.mark.root

FILES = (
    ("user", 0o644, b"admin"),
    ("tls/key", 0o400, b"\x00\xff"),
    ("tls/deep/er", 0o777, b""),
    ("none", 0, b"x"),
)
TOKENS = '{"vault":{"token":"eyJ.canary.token","expirationTimestamp":"2026-11-24T00:00:00Z"}}'
TOKENS_KEY = "csi.storage.k8s.io/serviceAccount.tokens"


class TestContent:
    def test_every_file_is_there_with_its_content_and_exact_mode(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(*FILES)
        target_path = node.place.target_path()
        node.publish(target_path)
        assert pod_view(target_path) == {path: (mode, contents) for path, mode, contents in FILES}

    def test_the_layout_is_upstreams(self, node: NodeInProcess, provider: FakeProvider) -> None:
        provider.answer = files_answer(*FILES)
        target_path = node.place.target_path()
        node.publish(target_path)
        data = os.readlink(f"{target_path}/..data")
        assert sorted(os.listdir(target_path)) == sorted(["..data", data, "user", "tls", "none"])
        assert os.readlink(f"{target_path}/tls") == "..data/tls"
        time.strptime(data.rpartition(".")[0], "..%Y_%m_%d_%H_%M_%S")
        assert stat.S_IMODE(os.stat(f"{target_path}/{data}/tls/deep").st_mode) == 0o755

    def test_the_volume_is_a_tmpfs_of_twice_the_content_limit(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        with room_in_process(place, "--content-limit=1048576") as node:
            node.publish(place.target_path())
        (entry,) = place.mounts()
        assert entry.filesystem == "tmpfs"
        assert {"rw", "nosuid", "nodev", "noexec"} <= set(entry.options.split(","))
        assert "size=2048k" in entry.super_options.split(",")

    def test_content_of_just_the_limit_fits_and_can_be_swapped_for_as_much(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        limit = 256 * 1024
        target_path = place.target_path()
        flags = (f"--content-limit={limit}", "--enable-secret-rotation", "--rotation-poll-interval=0")
        with room_in_process(place, *flags) as node:
            for byte in (b"1", b"2"):
                provider.answer = files_answer(("a", 0o644, byte * (limit - 4096)), ("b", 0o644, byte))
                node.publish(target_path)
                assert pod_view(target_path)["a"] == (0o644, byte * (limit - 4096))

    def test_as_many_entries_as_a_volume_holds_fit_and_can_be_swapped(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        for contents in (b"", b"2"):
            provider.answer = files_answer(*((f"{i}/f", 0o644, contents) for i in range(4096)))
            rotating.publish(target_path)
            assert len(pod_view(target_path)) == 4096
        assert rotating.place.record().last_error == ""

    def test_the_volume_of_a_pod_in_an_existing_empty_directory_is_published_too(
        self, node: NodeInProcess
    ) -> None:
        # After a restart of the machine kubelet's directories are there, and nothing is mounted.
        target_path = node.place.target_path()
        os.mkdir(target_path)
        node.publish(target_path)
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}

    def test_missing_parents_are_made_as_kubelet_makes_them(self, node: NodeInProcess) -> None:
        target_path = f"{node.place.base}/new/deep/mount"
        node.publish(target_path)
        assert stat.S_IMODE(os.stat(f"{node.place.base}/new").st_mode) == 0o750
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_what_is_no_directory_is_in_the_way_and_stays(self, node: NodeInProcess, kind: str) -> None:
        target_path = node.place.target_path()
        os.mkdir(f"{node.place.base}/kept")
        if kind == "file":
            os.mknod(target_path)
        else:
            os.symlink(f"{node.place.base}/kept", target_path)
        code, message = refusal(lambda: node.publish(target_path))
        assert (code, message) == (
            grpc.StatusCode.INTERNAL,
            f"target path {target_path} is in the way: it is not a directory; remove it",
        )
        assert os.path.lexists(target_path)
        assert node.place.mounts() == []

    def test_another_file_system_at_the_target_path_is_not_covered(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        os.mkdir(target_path)
        libc_mount("ramfs", target_path, "ramfs")
        code, message = refusal(lambda: node.publish(target_path))
        assert code is grpc.StatusCode.INTERNAL
        assert message == f"target path {target_path} is a mount point of another file system; unmount it"
        assert [entry.filesystem for entry in node.place.mounts(target_path)] == ["ramfs"]


class TestGroups:
    def test_the_group_owns_everything_and_reads_what_the_owner_reads(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(
            ("a", 0o400, b""), ("d/b", 0o644, b""), ("d/c", 0, b""), ("d/d", 0o200, b"")
        )
        target_path = node.place.target_path()
        node.publish(publish_request(target_path, group=str(SOME_GID)))
        modes = {path: mode for path, (mode, _) in pod_view(target_path).items()}
        assert modes == {"a": 0o440, "d/b": 0o644, "d/c": 0, "d/d": 0o200}
        for directory in (target_path, f"{target_path}/..data/", f"{target_path}/d/"):
            status = os.stat(directory)
            assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o2755, SOME_GID)
        assert {os.stat(f"{target_path}/{path}").st_gid for path in modes} == {SOME_GID}

    def test_without_a_group_nothing_is_granted(self, node: NodeInProcess, provider: FakeProvider) -> None:
        provider.answer = files_answer(("a", 0o400, b""))
        target_path = node.place.target_path()
        node.publish(target_path)
        assert pod_view(target_path) == {"a": (0o400, b"")}
        assert stat.S_IMODE(os.stat(target_path).st_mode) == 0o755


class TestTheProvidersRequest:
    def test_it_says_what_upstream_says(self, node: NodeInProcess, provider: FakeProvider) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        (request,) = provider.requests
        assert request == provider_pb2.MountRequest(
            attributes=(
                '{"csi.storage.k8s.io/ephemeral":"true","csi.storage.k8s.io/pod.name":"web-0",'
                '"csi.storage.k8s.io/pod.namespace":"default","csi.storage.k8s.io/pod.uid":"pod-uid-1",'
                '"csi.storage.k8s.io/serviceAccount.name":"default","objects":"any","secretProviderClass":"app"}'
            ),
            secrets="null",
            permission="420",
            target_path=target_path,
        )

    def test_attributes_of_the_volume_win_over_the_class(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        node.publish(publish_request(node.place.target_path(), attributes={"objects": "mine", "extra": "1"}))
        attributes = provider.attributes()
        assert (attributes["objects"], attributes["extra"]) == ("mine", "1")

    def test_secrets_are_handed_on(self, node: NodeInProcess, provider: FakeProvider) -> None:
        node.publish(
            publish_request(node.place.target_path(), secrets={"clientid": "i", "clientsecret": "s"})
        )
        assert json.loads(provider.requests[0].secrets) == {"clientid": "i", "clientsecret": "s"}

    @pytest.mark.parametrize("place_of_tokens", ["attributes", "secrets"])
    def test_tokens_reach_the_provider_from_either_place(
        self, node: NodeInProcess, provider: FakeProvider, place_of_tokens: str
    ) -> None:
        tokens = {TOKENS_KEY: TOKENS}
        request = (
            publish_request(node.place.target_path(), secrets=tokens)
            if place_of_tokens == "secrets"
            else publish_request(node.place.target_path(), attributes=tokens)
        )
        node.publish(request)
        assert provider.attributes()[TOKENS_KEY] == TOKENS

    def test_a_first_publish_names_no_version(self, node: NodeInProcess, provider: FakeProvider) -> None:
        node.publish(node.place.target_path())
        assert list(provider.requests[0].current_object_version) == []

    def test_the_provider_is_called_when_the_volume_is_attached_already(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        seen: list[bool] = []

        def answer(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            seen.append(os.path.ismount(request.target_path))
            return files_answer(("a", 0o644, b""))

        provider.answer = answer
        node.publish(node.place.target_path())
        assert seen == [True]


class TestTheRecord:
    def test_it_tells_what_was_published_and_no_secret(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(("b", 0o644, b"canary-content"), ("a", 0o644, b"x"), version="v7")
        target_path = node.place.target_path()
        secrets = {"clientsecret": "canary-secret"}
        before = time.time()
        node.publish(publish_request(target_path, secrets=secrets, attributes={TOKENS_KEY: TOKENS}))
        record = node.place.record()
        assert record.target_path == target_path
        assert record.device == os.stat(target_path).st_dev
        assert record.data_directory == os.readlink(f"{target_path}/..data")
        assert record.files == ()
        assert record.object_versions == (("a", "v7"), ("b", "v7"))
        assert (record.pod_namespace, record.pod_name, record.pod_uid) == ("default", "web-0", "pod-uid-1")
        assert (record.volume_id, record.service_account) == ("csi-volume-1", "default")
        assert (record.class_name, record.class_uid, record.class_generation) == (
            "app",
            "uid-of-default-app",
            1,
        )
        assert (record.provider, record.adopted, record.last_error) == ("fake", False, "")
        assert before <= record.attempt_time == record.success_time <= time.time()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            assert record.boot_id == file.read().strip()
        with open(f"{node.place.state_directory}/{node.place.records()[0]}", encoding="utf-8") as file:
            assert "canary" not in file.read()

    def test_of_versions_with_one_id_the_last_counts(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        answer = files_answer(("a", 0o644, b""), version="1")
        answer.object_version.add(id="a", version="2")
        provider.answer = answer
        node.publish(node.place.target_path())
        assert node.place.record().object_versions == (("a", "2"),)

    def test_it_is_there_before_the_answer_and_after_the_content(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        target_path = node.place.target_path()
        with futures.ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(node.publish, target_path)
            assert provider.waiting.acquire(timeout=60)
            assert node.place.records() == []
            provider.hold.set()
            publishing.result(60)
        assert node.place.record().target_path == target_path


class TestProven:
    def test_with_rotation_off_a_republish_asks_nobody(
        self, node: NodeInProcess, provider: FakeProvider, status_sync: FakeStatusSync
    ) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        provider.error = status_sync.error = (grpc.StatusCode.INTERNAL, "nobody should ask")
        (calls, inode) = (status_sync.calls, os.lstat(f"{target_path}/..data").st_ino)
        for _ in range(3):
            node.publish(target_path)
        assert (len(provider.requests), status_sync.calls) == (1, calls)
        assert os.lstat(f"{target_path}/..data").st_ino == inode
        assert len(node.place.mounts()) == 1

    def test_two_volumes_of_one_pod_are_two_volumes(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        for name in ("a", "b"):
            provider.answer = files_answer((name, 0o644, name.encode()))
            request = publish_request(node.place.target_path(volume=name), volume_id=f"csi-{name}")
            node.publish(request)
        for name in ("a", "b"):
            assert pod_view(node.place.target_path(volume=name)) == {name: (0o644, name.encode())}
        assert len(node.place.records()) == 2


class TestLocks:
    def test_a_second_call_for_the_same_volume_is_aborted_and_another_volume_is_not(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        target_path, other = node.place.target_path(), node.place.target_path(volume="other")
        with futures.ThreadPoolExecutor(2) as pool:
            first = pool.submit(node.publish, target_path)
            assert provider.waiting.acquire(timeout=60)
            for second in (lambda: node.publish(target_path + "/"), lambda: node.unpublish(target_path)):
                assert refusal(second) == (
                    grpc.StatusCode.ABORTED,
                    f"an operation on target path {target_path} is under way; try again later",
                )
            another = pool.submit(node.publish, other)
            assert provider.waiting.acquire(timeout=60)
            provider.hold.set()
            first.result(60)
            another.result(60)
        node.publish(target_path)
        node.unpublish(target_path)
        assert len(node.place.mounts()) == 1


class TestWaitingForSecrets:
    def test_the_secrets_of_the_class_are_asked_for_after_a_first_publish_only(
        self, rotating: NodeInProcess, status_sync: FakeStatusSync
    ) -> None:
        status_sync.add(make_class(with_secret=True))
        target_path = rotating.place.target_path()
        for _ in range(2):
            rotating.publish(target_path)
        (volume,) = status_sync.ensured
        assert (volume.target_path, volume.data_directory) == (
            target_path,
            os.readlink(f"{target_path}/..data"),
        )
        assert [(version.id, version.version) for version in volume.object_versions] == [("secret", "v1")]

    def test_a_class_without_secrets_waits_for_nobody(
        self, node: NodeInProcess, status_sync: FakeStatusSync
    ) -> None:
        node.publish(node.place.target_path())
        assert status_sync.ensured == []

    def test_a_wait_of_zero_is_no_wait(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        status_sync.add(make_class(with_secret=True))
        with room_in_process(place, "--secret-wait=0") as node:
            node.publish(place.target_path())
        assert status_sync.ensured == []

    def test_when_the_secrets_do_not_come_in_time_the_volume_is_published_all_the_same(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        status_sync.add(make_class(with_secret=True))
        status_sync.ensure_hold.clear()
        with room_in_process(place, "--secret-wait=200ms") as node:
            begun = time.monotonic()
            node.publish(place.target_path())
            assert time.monotonic() - begun >= 0.2
        assert len(status_sync.ensured) == 1
        assert pod_view(place.target_path()) == {"secret": (0o644, b"first content")}

    @pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
    def test_when_the_secrets_cannot_be_made_the_volume_is_published_all_the_same(
        self, node: NodeInProcess, status_sync: FakeStatusSync, status: grpc.StatusCode
    ) -> None:
        status_sync.add(make_class(with_secret=True))
        status_sync.ensure_error = (status, "no")
        node.publish(node.place.target_path())


class TestClasses:
    def test_a_class_is_asked_for_once_while_it_is_fresh(
        self, node: NodeInProcess, status_sync: FakeStatusSync
    ) -> None:
        for volume in ("a", "b", "c"):
            node.publish(publish_request(node.place.target_path(volume=volume), volume_id=volume))
        assert status_sync.calls == 1

    def test_status_sync_may_start_later(self, place: NodePlace, provider: FakeProvider) -> None:
        status_sync = FakeStatusSync()
        status_sync.add(make_class())
        with room_in_process(place) as node, futures.ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(node.publish, place.target_path())
            with fake_status_sync.serving(status_sync, place.status_sync_socket()):
                publishing.result(60)

    def test_without_status_sync_the_answer_says_so_in_time(
        self, place: NodePlace, provider: FakeProvider
    ) -> None:
        target_path = place.target_path()
        with room_in_process(place) as node:
            answer = refusal(lambda: node.publish(publish_request(target_path), seconds=3))
        assert answer == (
            grpc.StatusCode.UNAVAILABLE,
            "failed to get secretproviderclass default/app, error: status-sync did not answer in time; is it running?",
        )
        assert not os.path.lexists(target_path)

    def test_a_run_directory_with_a_percent_sign_is_a_directory(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        # gRPC's core takes an address for a URI.
        run_directory = f"{place.base}/%41"
        os.mkdir(run_directory)
        os.rename(place.status_sync_socket(), f"{run_directory}/statussync.sock")
        with room_in_process(place, f"--run-dir={run_directory}") as node:
            node.publish(place.target_path())


class TestDeadlines:
    def test_a_provider_has_the_time_of_the_flag(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        target_path = place.target_path()
        with room_in_process(place, "--provider-timeout=200ms") as node:
            begun = time.monotonic()
            code, message = refusal(lambda: node.publish(target_path))
            assert time.monotonic() - begun >= 0.2
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert message == (
                "failed to mount secrets store objects for pod default/web-0, err: rpc error: "
                "code = DeadlineExceeded desc = Deadline Exceeded (provider 'fake' did not answer within 0.2 s "
                f"at {place.provider_socket()})"
            )
        assert place.mounts() == []
        assert not os.path.lexists(target_path)

    def test_or_what_the_callers_deadline_leaves_so_that_the_answer_still_arrives(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        code, message = refusal(lambda: node.publish(publish_request(node.place.target_path()), seconds=3))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert re.search(r"\(provider 'fake' did not answer within 1(\.[0-5]\d*)? s at ", message)


def libc_mount(source: str, path: str, kind: str) -> None:
    libc = ctypes.CDLL(None)
    assert libc.mount(source.encode(), path.encode(), kind.encode(), ctypes.c_ulong(0), None) == 0
