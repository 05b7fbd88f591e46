"""Providers that write plain files into the target path themselves and answer with versions only (AWS by default)."""

import os
import stat

import grpc
import pytest

from sscsi.pb import provider_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.disks import SOME_GID
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process
from tests.support.volume_state import View, pod_view
from tests.support.volume_wrecks import write

pytestmark = pytest.mark.root

FIRST: View = {"user": (0o644, b"admin"), "deep/er/key": (0o600, b"k1")}
SECOND: View = {"user": (0o644, b"admin"), "deep/er/key": (0o600, b"k22")}


class Writer:
    """An answer that writes `view` and answers with versions; keeps no file that it does not want."""

    def __init__(self, view: View, version: str = "v1") -> None:
        self.view = view
        self.version = version

    def __call__(self, request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
        write(request.target_path, self.view)
        return provider_pb2.MountResponse(
            object_version=[provider_pb2.ObjectVersion(id=path, version=self.version) for path in self.view]
        )


@pytest.fixture(autouse=True)
def writer(provider: FakeProvider) -> Writer:
    """What the provider `fake` does here."""
    provider.answer = writer = Writer(FIRST)
    return writer


class TestFirstPublish:
    def test_the_files_are_there_and_recorded_with_size_and_inode(self, node: NodeInProcess) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        assert pod_view(target_path) == FIRST
        assert "..data" not in os.listdir(target_path)
        record = node.place.record()
        assert record.data_directory == ""
        assert [(file.path, file.size, file.inode) for file in record.files] == [
            (path, len(FIRST[path][1]), os.stat(f"{target_path}/{path}").st_ino) for path in sorted(FIRST)
        ]
        assert record.object_versions == (("deep/er/key", "v1"), ("user", "v1"))

    def test_a_group_reads_what_the_owner_reads(self, node: NodeInProcess, writer: Writer) -> None:
        writer.view = {**FIRST, "none": (0, b"")}
        target_path = node.place.target_path()
        node.publish(publish_request(target_path, group=str(SOME_GID)))
        modes = {path: mode for path, (mode, _) in pod_view(target_path).items()}
        assert modes == {"user": 0o644, "deep/er/key": 0o640, "none": 0}
        assert os.stat(f"{target_path}/deep/er/key").st_gid == SOME_GID
        assert stat.S_ISGID & os.stat(f"{target_path}/deep").st_mode

    def test_a_provider_that_writes_nothing_is_an_error_and_nothing_is_left(
        self, node: NodeInProcess, writer: Writer, provider: FakeProvider
    ) -> None:
        answer = Writer(FIRST)(provider_pb2.MountRequest(target_path=f"{node.place.base}/elsewhere"))
        provider.answer = answer
        target_path = node.place.target_path()
        code, message = refusal(lambda: node.publish(target_path))
        assert code is grpc.StatusCode.UNKNOWN
        assert message == (
            "failed to mount secrets store objects for pod default/web-0, err: "
            "provider 'fake' answered without files and wrote none to the target path itself"
        )
        assert not os.path.lexists(target_path)
        assert (node.place.mounts(), node.place.records()) == ([], [])
        provider.answer = writer
        node.publish(target_path)
        assert pod_view(target_path) == FIRST

    def test_directories_and_links_alone_are_no_content(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        def answer(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            os.makedirs(f"{request.target_path}/a/b")
            os.symlink("/etc/passwd", f"{request.target_path}/link")
            return provider_pb2.MountResponse(
                object_version=[provider_pb2.ObjectVersion(id="a", version="1")]
            )

        provider.answer = answer
        assert refusal(lambda: node.publish(node.place.target_path()))[0] is grpc.StatusCode.UNKNOWN

    def test_one_that_fails_half_way_leaves_nothing_and_may_try_again(
        self, node: NodeInProcess, writer: Writer, provider: FakeProvider
    ) -> None:
        def half(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            write(request.target_path, {"user": FIRST["user"]})
            raise PermissionError("the second secret")

        provider.answer = half
        target_path = node.place.target_path()
        assert refusal(lambda: node.publish(target_path))[0] is grpc.StatusCode.UNKNOWN
        assert not os.path.lexists(target_path)
        assert node.place.mounts() == []
        provider.answer = writer
        node.publish(target_path)
        assert pod_view(target_path) == FIRST

    def test_too_many_files_are_an_error(self, node: NodeInProcess, provider: FakeProvider) -> None:
        def many(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            for number in range(8193):
                os.mknod(f"{request.target_path}/{number}")
            return provider_pb2.MountResponse(
                object_version=[provider_pb2.ObjectVersion(id="a", version="1")]
            )

        provider.answer = many
        target_path = node.place.target_path()
        _, message = refusal(lambda: node.publish(target_path))
        assert message.endswith(f"the provider wrote more than 8192 files to {target_path}")
        assert node.place.mounts() == []


class TestProof:
    def test_with_the_files_in_place_a_republish_asks_nobody(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = node.place.target_path()
        for _ in range(3):
            node.publish(target_path)
        assert len(provider.requests) == 1

    def test_the_proof_outlives_a_restart(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        for _ in range(2):
            with room_in_process(place) as node:
                node.publish(place.target_path())
        assert len(provider.requests) == 1

    @pytest.mark.parametrize("harm", ["removed", "replaced", "grown", "emptied", "a link now"])
    def test_a_file_that_is_not_the_recorded_one_is_fetched_again(
        self, node: NodeInProcess, provider: FakeProvider, harm: str
    ) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        path = f"{target_path}/user"
        if harm == "replaced":
            write(target_path, {"user": (0o644, b"evil!")})
        elif harm in {"grown", "emptied"}:
            with open(path, "ab" if harm == "grown" else "wb") as file:
                file.write(b"x" if harm == "grown" else b"")
        else:
            os.unlink(path)
            if harm == "a link now":
                os.symlink("/etc/hostname", path)
        node.publish(target_path)
        assert len(provider.requests) == 2
        assert provider.requests[1].current_object_version == provider.requests[0].current_object_version
        assert pod_view(target_path) == FIRST

    def test_more_files_than_recorded_do_no_harm(self, node: NodeInProcess, provider: FakeProvider) -> None:
        target_path = node.place.target_path()
        node.publish(target_path)
        write(target_path, {"more": (0o644, b"")})
        node.publish(target_path)
        assert len(provider.requests) == 1


class TestRefresh:
    def test_what_the_provider_writes_anew_is_recorded_anew(
        self, rotating: NodeInProcess, writer: Writer, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        before = rotating.place.record()
        writer.view, writer.version = SECOND, "v2"
        rotating.publish(target_path)
        assert pod_view(target_path) == SECOND
        assert [(v.id, v.version) for v in provider.requests[1].current_object_version] == [
            ("deep/er/key", "v1"),
            ("user", "v1"),
        ]
        after = rotating.place.record()
        assert after.files != before.files
        assert dict(after.object_versions)["user"] == "v2"

    def test_a_failure_before_any_write_keeps_content_and_proof(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        provider.error = (grpc.StatusCode.PERMISSION_DENIED, "no")
        for _ in range(2):
            rotating.publish(target_path)
        assert pod_view(target_path) == FIRST
        assert rotating.place.record().last_error.endswith("desc = no")

    def test_one_that_fails_half_way_leaves_the_running_pod_what_is_there_and_the_next_goes_on(
        self, rotating: NodeInProcess, writer: Writer, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)

        def half(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            write(request.target_path, {"deep/er/key": SECOND["deep/er/key"]})
            raise PermissionError("the second secret")

        provider.answer = half
        for _ in range(2):
            rotating.publish(target_path)
        assert pod_view(target_path) == SECOND
        record = rotating.place.record()
        assert "desc = " in record.last_error
        assert dict(record.object_versions)["user"] == "v1"
        provider.answer = writer
        writer.view = SECOND
        rotating.publish(target_path)
        assert rotating.place.record().last_error == ""

    def test_one_that_fails_after_it_removed_a_file_is_an_error_as_the_pod_has_less_than_it_needs(
        self, rotating: NodeInProcess, writer: Writer, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)

        def remove(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
            os.unlink(f"{request.target_path}/user")
            raise PermissionError("no more")

        provider.answer = remove
        rotating.publish(target_path)
        provider.error = (grpc.StatusCode.PERMISSION_DENIED, "no")
        assert refusal(lambda: rotating.publish(target_path))[0] is grpc.StatusCode.PERMISSION_DENIED
        provider.error = None
        provider.answer = writer
        rotating.publish(target_path)
        assert pod_view(target_path) == FIRST

    def test_a_group_that_was_not_asked_for_at_first_is_given_to_what_is_written_later(
        self, rotating: NodeInProcess
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        rotating.publish(publish_request(target_path, group=str(SOME_GID)))
        modes = {path: mode for path, (mode, _) in pod_view(target_path).items()}
        assert modes == {"user": 0o644, "deep/er/key": 0o640}


class TestModes:
    def test_a_provider_that_turns_to_answering_with_files_replaces_all_that_it_wrote(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        rotating.publish(target_path)
        provider.answer = files_answer(("user", 0o400, b"root"), ("deep", 0o400, b"a file now"))
        rotating.publish(target_path)
        assert pod_view(target_path) == {"user": (0o400, b"root"), "deep": (0o400, b"a file now")}
        data = os.readlink(f"{target_path}/..data")
        assert sorted(os.listdir(target_path)) == sorted(["..data", data, "deep", "user"])
        record = rotating.place.record()
        assert (record.data_directory, record.files) == (data, ())

    def test_and_one_that_turns_back_is_seen_by_the_pod(
        self, rotating: NodeInProcess, writer: Writer, provider: FakeProvider
    ) -> None:
        target_path = rotating.place.target_path()
        provider.answer = files_answer(("user", 0o400, b"root"))
        rotating.publish(target_path)
        provider.answer = writer
        rotating.publish(target_path)
        assert pod_view(target_path) == FIRST
        record = rotating.place.record()
        assert [file.path for file in record.files] == ["deep/er/key", "user"]
        assert record.data_directory == ""
        calls = len(provider.requests)
        provider.error = (grpc.StatusCode.UNKNOWN, "no")
        rotating.publish(target_path)
        assert len(provider.requests) > calls
        assert pod_view(target_path) == FIRST

    def test_a_files_volume_that_is_answered_without_files_stays_as_it_is_and_of_its_version(
        self, rotating: NodeInProcess, provider: FakeProvider
    ) -> None:
        # Upstream touches nothing on disk either (step 6), and shows the new version with the old file.
        target_path = rotating.place.target_path()
        provider.answer = files_answer(("user", 0o400, b"root"))
        rotating.publish(target_path)
        before = os.readlink(f"{target_path}/..data")
        provider.answer = provider_pb2.MountResponse(
            object_version=[provider_pb2.ObjectVersion(id="user", version="v2")]
        )
        rotating.publish(target_path)
        assert pod_view(target_path) == {"user": (0o400, b"root")}
        assert os.readlink(f"{target_path}/..data") == before
        record = rotating.place.record()
        assert record.object_versions == (("user", "v1"),)
        assert record.last_error.endswith("answered with new versions and without their files")
        assert record.failure_reason == "ProviderAnswerInvalid"
