"""What every Providers does, on the fake and over sockets; then what only sockets can show."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Protocol

import grpc
import pytest

from sscsi.core.file_plan import PlannedFile
from sscsi.edges.grpc_status import GO_NAMES
from sscsi.edges.provider_sockets import ProviderSockets
from sscsi.errors import ProviderCallError, ProviderNotFoundError
from sscsi.pb import provider_pb2
from sscsi.ports import ProviderAnswer, ProviderRequest, Providers, ProviderVersion
from tests.fakes.fake_provider import FakeProvider, files_answer, serving
from tests.fakes.fake_providers import FakeProviders
from tests.support.node_place import NodePlace, node_place

MIB = 1024 * 1024
REQUEST = ProviderRequest(
    attributes='{"objects":"x"}',
    secrets="null",
    permission="420",
    target_path="/pods/u/mount",
    current_object_versions=(("a", "1"), ("b", "2")),
)
ANSWER = ProviderAnswer(
    object_versions=(("a", "1"), ("a", "2")),
    error_code="",
    files=(PlannedFile(path="../as it came", mode=-1, contents=b"\0\xff"),),
)


class Harness(Protocol):
    """Providers, and how a test tells the provider `fake` what to answer."""

    providers: Providers

    def answer(self, answer: ProviderAnswer) -> None: ...

    def fail(self, code: grpc.StatusCode, message: str) -> None: ...

    def requests(self) -> list[ProviderRequest]: ...

    def tell_version(self, version: ProviderVersion) -> None: ...

    def fail_version(self, code: grpc.StatusCode, message: str) -> None: ...


def call_error(code: grpc.StatusCode, message: str) -> ProviderCallError:
    return ProviderCallError(f"rpc error: code = {GO_NAMES[code]} desc = {message}", code=int(code.value[0]))


class FakeHarness:
    def __init__(self) -> None:
        self.fake = FakeProviders()
        self.providers: Providers = self.fake

    def answer(self, answer: ProviderAnswer) -> None:
        self.fake.answers["fake"] = answer

    def fail(self, code: grpc.StatusCode, message: str) -> None:
        self.fake.answers["fake"] = call_error(code, message)

    def tell_version(self, version: ProviderVersion) -> None:
        self.fake.versions["fake"] = version

    def fail_version(self, code: grpc.StatusCode, message: str) -> None:
        self.fake.versions["fake"] = call_error(code, message)

    def requests(self) -> list[ProviderRequest]:
        return [request for _, request, _ in self.fake.requests]


class SocketHarness:
    def __init__(self, place: NodePlace, provider: FakeProvider) -> None:
        self.provider = provider
        self.sockets = ProviderSockets([place.provider_directory], max_answer_bytes=4 * MIB)
        self.providers: Providers = self.sockets

    def answer(self, answer: ProviderAnswer) -> None:
        self.provider.error = None
        self.provider.answer = provider_pb2.MountResponse(
            object_version=[provider_pb2.ObjectVersion(id=i, version=v) for i, v in answer.object_versions],
            error=provider_pb2.Error(code=answer.error_code),
            files=[provider_pb2.File(path=f.path, mode=f.mode, contents=f.contents) for f in answer.files],
        )

    def fail(self, code: grpc.StatusCode, message: str) -> None:
        self.provider.error = (code, message)

    def tell_version(self, version: ProviderVersion) -> None:
        self.provider.version = provider_pb2.VersionResponse(
            version="v1alpha1", runtime_name=version.runtime_name, runtime_version=version.runtime_version
        )

    def fail_version(self, code: grpc.StatusCode, message: str) -> None:
        self.provider.version_error = (code, message)

    def requests(self) -> list[ProviderRequest]:
        return [
            ProviderRequest(
                attributes=request.attributes,
                secrets=request.secrets,
                permission=request.permission,
                target_path=request.target_path,
                current_object_versions=tuple((v.id, v.version) for v in request.current_object_version),
            )
            for request in self.provider.requests
        ]


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


@pytest.fixture(params=["fake", "sockets"])
def harness(request: pytest.FixtureRequest, place: NodePlace) -> Iterator[Harness]:
    if request.param == "fake":
        yield FakeHarness()
        return
    with serving(FakeProvider(), place.provider_socket()) as provider:
        harness = SocketHarness(place, provider)
        yield harness
        harness.sockets.close()


class TestEveryProviders:
    def test_the_request_arrives_as_it_is(self, harness: Harness) -> None:
        harness.answer(ANSWER)
        harness.providers.mount("fake", REQUEST, timeout_seconds=60)
        assert harness.requests() == [REQUEST]

    @pytest.mark.parametrize(
        "answer",
        [
            ANSWER,
            ProviderAnswer(object_versions=(), error_code="", files=()),
            ProviderAnswer(object_versions=(), error_code="SecretNotFound", files=()),
        ],
        ids=["whole", "empty", "error"],
    )
    def test_the_answer_comes_back_as_it_is_and_unchecked(
        self, harness: Harness, answer: ProviderAnswer
    ) -> None:
        harness.answer(answer)
        assert harness.providers.mount("fake", REQUEST, timeout_seconds=60) == answer

    def test_a_provider_that_is_not_there_is_named_in_upstreams_words(self, harness: Harness) -> None:
        with pytest.raises(ProviderNotFoundError) as refusal:
            harness.providers.mount("other", REQUEST, timeout_seconds=60)
        upstream = 'error connecting to provider "other": provider not found: provider "other"'
        assert str(refusal.value).startswith(upstream)

    @pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "ä", "x" * 31, "fake\n"])
    def test_a_name_that_is_no_name_is_refused_in_upstreams_words(self, harness: Harness, name: str) -> None:
        with pytest.raises(ProviderNotFoundError) as refusal:
            harness.providers.mount(name, REQUEST, timeout_seconds=60)
        assert str(refusal.value) == (
            f'error connecting to provider "{name}": invalid provider: provider "{name}"'
        )

    # UNAVAILABLE is tried again by gRPC first; see below.
    @pytest.mark.parametrize(
        ("code", "go_name"),
        [
            (grpc.StatusCode.UNKNOWN, "Unknown"),
            (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied"),
            (grpc.StatusCode.NOT_FOUND, "NotFound"),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "ResourceExhausted"),
            (grpc.StatusCode.CANCELLED, "Canceled"),
            (grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated"),
        ],
    )
    def test_an_error_keeps_its_code_and_is_worded_as_go_words_it(
        self, harness: Harness, code: grpc.StatusCode, go_name: str
    ) -> None:
        harness.fail(code, "no such secret")
        with pytest.raises(ProviderCallError) as refusal:
            harness.providers.mount("fake", REQUEST, timeout_seconds=60)
        assert str(refusal.value) == f"rpc error: code = {go_name} desc = no such secret"
        assert refusal.value.code == code.value[0]

    @pytest.mark.parametrize("runtime_name", ["secrets-store-csi-driver-provider-aws", "", "two\nlines"])
    def test_the_version_comes_back_as_it_is_and_unchecked(self, harness: Harness, runtime_name: str) -> None:
        version = ProviderVersion(runtime_name=runtime_name, runtime_version="1.0.r2")
        harness.tell_version(version)
        assert harness.providers.version("fake", timeout_seconds=60) == version

    def test_a_version_that_is_refused_keeps_the_code(self, harness: Harness) -> None:
        harness.fail_version(grpc.StatusCode.UNIMPLEMENTED, "no such method")
        with pytest.raises(ProviderCallError) as refusal:
            harness.providers.version("fake", timeout_seconds=60)
        assert str(refusal.value) == "rpc error: code = Unimplemented desc = no such method"
        assert refusal.value.code == grpc.StatusCode.UNIMPLEMENTED.value[0]

    def test_who_is_not_there_has_no_version_and_no_name_in_the_list(self, harness: Harness) -> None:
        harness.tell_version(ProviderVersion(runtime_name="fake", runtime_version="1"))
        with pytest.raises(ProviderNotFoundError, match="provider not found"):
            harness.providers.version("other", timeout_seconds=60)
        assert harness.providers.names() == ["fake"]


class TestSockets:
    @pytest.fixture
    def sockets(self, place: NodePlace) -> Iterator[ProviderSockets]:
        sockets = ProviderSockets(
            [f"{place.base}/none", place.provider_directory, f"{place.base}/second"], max_answer_bytes=MIB
        )
        yield sockets
        sockets.close()

    def version_of(self, sockets: ProviderSockets, *, timeout_seconds: float = 60) -> str:
        """The version that the provider `fake` answers, by which a test tells servers apart."""
        return sockets.mount("fake", REQUEST, timeout_seconds=timeout_seconds).object_versions[0][1]

    def provider(self, version: str) -> FakeProvider:
        provider = FakeProvider()
        provider.answer = files_answer(("a", 0, b""), version=version)
        return provider

    def test_an_error_that_says_a_provider_is_missing_lists_those_that_are_there(
        self, place: NodePlace, sockets: ProviderSockets
    ) -> None:
        os.mkdir(f"{place.base}/second")
        for path in (
            place.provider_socket("vault"),
            f"{place.base}/second/aws.sock",
            place.provider_socket("no ne"),
        ):
            with open(path, "wb"):
                pass
        with pytest.raises(ProviderNotFoundError) as refusal:
            sockets.mount("azure", REQUEST, timeout_seconds=60)
        assert str(refusal.value).endswith(
            f"(no azure.sock in {place.base}/none, {place.provider_directory}, {place.base}/second; "
            "found there: aws, vault)"
        )

    def test_the_first_directory_that_has_the_socket_wins(
        self, place: NodePlace, sockets: ProviderSockets
    ) -> None:
        with serving(self.provider("late"), f"{place.base}/second/fake.sock"):
            assert self.version_of(sockets) == "late"
            with serving(self.provider("early"), place.provider_socket()):
                assert self.version_of(sockets) == "early"
            assert self.version_of(sockets) == "late"

    def test_a_provider_that_was_started_again_is_found_again(
        self, place: NodePlace, sockets: ProviderSockets
    ) -> None:
        for version in ("1", "2", "3"):
            with serving(self.provider(version), place.provider_socket()):
                assert self.version_of(sockets) == version

    def test_a_new_server_on_the_path_is_asked_although_the_old_one_still_holds_a_call(
        self, place: NodePlace, sockets: ProviderSockets
    ) -> None:
        old, new = self.provider("old"), self.provider("new")
        old.hold.clear()
        with (
            serving(old, f"{place.provider_directory}/old.sock"),
            serving(new, f"{place.provider_directory}/new.sock"),
            futures.ThreadPoolExecutor(1) as pool,
        ):
            os.rename(f"{place.provider_directory}/old.sock", place.provider_socket())
            held = pool.submit(self.version_of, sockets)
            assert old.waiting.acquire(timeout=60)
            os.rename(f"{place.provider_directory}/new.sock", place.provider_socket())
            assert self.version_of(sockets) == "new"
            old.hold.set()
            assert held.result(60) == "old"

    def test_a_provider_whose_socket_moves_to_another_directory_is_found_there(
        self, place: NodePlace, sockets: ProviderSockets
    ) -> None:
        os.mkdir(f"{place.base}/second")
        with serving(self.provider("same"), place.provider_socket()):
            assert self.version_of(sockets) == "same"
            os.rename(place.provider_socket(), f"{place.base}/second/fake.sock")
            assert self.version_of(sockets) == "same"

    def test_the_authority_is_localhost(self, place: NodePlace, sockets: ProviderSockets) -> None:
        # grpcio shows its servers no authority, so this one speaks just as much HTTP/2 as it takes to hear it.
        received = b""
        with socket.socket(socket.AF_UNIX) as server, futures.ThreadPoolExecutor(1) as pool:
            server.bind(place.provider_socket())
            server.listen()
            server.settimeout(10)
            call = pool.submit(self.version_of, sockets, timeout_seconds=60)
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                empty_settings = b"\0\0\0\4\0\0\0\0\0"
                connection.sendall(empty_settings)
                while b"/v1alpha1.CSIDriverProvider/Mount" not in received or b"objects" not in received:
                    received += connection.recv(65536)
            sockets.close()
            assert isinstance(call.exception(60), ProviderCallError)
        # HPACK as gRPC's core writes it (RFC 7541): literal name, length of the value, value.
        assert b":authority\x09localhost" in received

    def test_unavailable_is_tried_again(self, place: NodePlace, sockets: ProviderSockets) -> None:
        class Recovering(FakeProvider):
            def Mount(
                self, request: provider_pb2.MountRequest, context: grpc.ServicerContext
            ) -> provider_pb2.MountResponse:
                self.error = (grpc.StatusCode.UNAVAILABLE, "starting") if not self.requests else None
                return super().Mount(request, context)

        with serving(Recovering(), place.provider_socket()) as provider:
            sockets.mount("fake", REQUEST, timeout_seconds=60)
        assert len(provider.requests) == 2

    def test_a_socket_that_nobody_serves_is_waited_for_until_the_time_is_up(
        self, place: NodePlace, sockets: ProviderSockets
    ) -> None:
        with open(place.provider_socket(), "wb"):
            pass
        begun = time.monotonic()
        with pytest.raises(ProviderCallError) as refusal:
            sockets.mount("fake", REQUEST, timeout_seconds=0.3)
        assert time.monotonic() - begun > 0.25
        assert refusal.value.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert f"(provider 'fake' did not answer within 0.3 s at {place.provider_socket()})" in str(
            refusal.value
        )

    def test_an_answer_that_is_too_large_names_the_flag(
        self, place: NodePlace, sockets: ProviderSockets
    ) -> None:
        provider = FakeProvider()
        provider.answer = files_answer(("a", 0, b"x" * MIB))
        with serving(provider, place.provider_socket()), pytest.raises(ProviderCallError) as refusal:
            sockets.mount("fake", REQUEST, timeout_seconds=60)
        assert refusal.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert str(refusal.value).endswith(
            "(the answer of provider 'fake' is larger than --max-call-recv-msg-size)"
        )

    def test_a_limit_beyond_what_grpc_can_count_is_its_largest(self, place: NodePlace) -> None:
        sockets = ProviderSockets([place.provider_directory], max_answer_bytes=2**40)
        with serving(self.provider("1"), place.provider_socket()):
            assert self.version_of(sockets) == "1"
        sockets.close()

    def test_what_is_no_answer_of_the_protocol_is_an_error(
        self, place: NodePlace, sockets: ProviderSockets
    ) -> None:
        def garbage(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            return b"\xff\xff garbage"

        server = grpc.server(futures.ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "v1alpha1.CSIDriverProvider", {"Mount": grpc.unary_unary_rpc_method_handler(garbage)}
                ),
            )
        )
        server.add_insecure_port(f"unix:{place.provider_socket()}")
        server.start()
        try:
            with pytest.raises(ProviderCallError, match="rpc error: code = Internal"):
                sockets.mount("fake", REQUEST, timeout_seconds=60)
        finally:
            server.stop(0).wait()

    def test_a_directory_with_a_percent_sign_is_a_directory(self, place: NodePlace) -> None:
        directory = f"{place.base}/%41"
        os.mkdir(directory)
        sockets = ProviderSockets([directory], max_answer_bytes=MIB)
        with serving(self.provider("1"), f"{place.base}/x.sock"):
            os.rename(f"{place.base}/x.sock", f"{directory}/fake.sock")
            assert self.version_of(sockets, timeout_seconds=60) == "1"
        sockets.close()

    def test_closing_cancels_the_calls_in_flight(self, place: NodePlace, sockets: ProviderSockets) -> None:
        provider = self.provider("1")
        provider.hold.clear()
        failures: list[ProviderCallError] = []

        def call() -> None:
            try:
                self.version_of(sockets)
            except ProviderCallError as error:
                failures.append(error)

        with serving(provider, place.provider_socket()):
            caller = threading.Thread(target=call)
            caller.start()
            assert provider.waiting.acquire(timeout=60)
            sockets.close()
            caller.join(60)
        assert [failure.code for failure in failures] == [grpc.StatusCode.CANCELLED.value[0]]
