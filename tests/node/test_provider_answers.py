"""Providers that fail or talk nonsense: a clear error, nothing left behind, and the next try works."""

import os
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from sscsi.pb import provider_pb2, sscsi_pb2
from tests.fakes.fake_provider import FakeProvider, files_answer, serving
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace
from tests.support.node_room import NodeInProcess, publish_request, refusal, room_in_process
from tests.support.volume_state import pod_view

pytestmark = pytest.mark.root

MIB = 1024 * 1024
UNKNOWN = grpc.StatusCode.UNKNOWN
PREFIX = "failed to mount secrets store objects for pod default/web-0, err: "
GOOD = files_answer(("secret", 0o644, b"good"))


def paths(*names: str) -> provider_pb2.MountResponse:
    return files_answer(*((name, 0o644, b"x") for name in names))


def without_versions(answer: provider_pb2.MountResponse) -> provider_pb2.MountResponse:
    answer.ClearField("object_version")
    return answer


def with_error(code: str) -> provider_pb2.MountResponse:
    answer = paths("secret")
    answer.error.code = code
    return answer


ANSWERS = {
    "parent": (paths("a", "../x"), "invalid path: must not contain '..': ../x"),
    "absolute": (paths("/x"), "invalid path: must be relative path: /x"),
    "itself": (paths("."), 'invalid filepath: "."'),
    "back and forth": (paths("a/../b"), "invalid path: must not contain '..': a/../b"),
    "two slashes": (paths("a//b"), 'invalid filepath: "a//b"'),
    "trailing slash": (paths("a/"), 'invalid filepath: "a/"'),
    "empty": (paths(""), 'invalid path: must not be empty: ""'),
    "data link": (paths("..data"), "invalid path: must not start with '..': ..data"),
    "NUL": (paths("a\0b"), "invalid path: must not contain NUL"),
    "long name": (
        paths("x" * 256),
        "invalid path: filenames must be less than or equal to 255 characters",
    ),
    "long path": (paths("a/" * 2048 + "x"), "invalid path: must be less than or equal to 4096 characters"),
    "deep": (paths("a/" * 100 + "x"), "invalid path: must be at most 100 names deep: " + "a/" * 100 + "x"),
    "twice": (paths("a", "a"), "invalid path: must not occur twice: a"),
    "file and directory": (
        paths("a", "a/b"),
        "invalid path: must not be both a file and a directory: a",
    ),
    "sticky mode": (
        files_answer(("a", 0o1777, b"")),
        "invalid mode: must be 0 to 0777: a has 0o1777",
    ),
    "negative mode": (files_answer(("a", -1, b"")), "invalid mode: must be 0 to 0777: a has -0o1"),
    "too large": (
        files_answer(("a", 0o644, b"x" * MIB), ("b", 0o644, b"")),
        f"the provider's answer takes {MIB} bytes (in pages of 4096); --content-limit is {MIB - 1}: raise it or deliver less",
    ),
    "no versions": (without_versions(paths("a")), "missing object versions"),
    "nothing at all": (provider_pb2.MountResponse(), "missing object versions"),
    "error code": (
        with_error("SecretNotFound"),
        "mount request failed with provider error code SecretNotFound",
    ),
    "no files": (
        provider_pb2.MountResponse(object_version=[provider_pb2.ObjectVersion(id="a", version="1")]),
        "provider 'fake' answered without files and wrote none to the target path itself",
    ),
}
FLAGS = (f"--content-limit={MIB - 1}",)


@pytest.fixture
def limited(place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider) -> Iterator[NodeInProcess]:
    """A node room that takes less than 1 MiB."""
    with room_in_process(place, *FLAGS) as node:
        yield node


def assert_nothing_left(place: NodePlace, target_path: str, *, directory: bool) -> None:
    assert place.mounts() == []
    assert place.records() == []
    assert os.path.isdir(target_path) is directory
    if directory:
        assert os.listdir(target_path) == []


@pytest.mark.parametrize("before", ["absent", "directory"])
@pytest.mark.parametrize(
    ("answer", "message"), [pytest.param(*case, id=name) for name, case in ANSWERS.items()]
)
def test_a_bad_answer_is_refused_leaves_nothing_and_the_next_good_one_works(
    limited: NodeInProcess,
    provider: FakeProvider,
    answer: provider_pb2.MountResponse,
    message: str,
    before: str,
) -> None:
    target_path = limited.place.target_path()
    if before == "directory":
        os.mkdir(target_path)
    provider.answer = answer
    assert refusal(lambda: limited.publish(target_path)) == (UNKNOWN, PREFIX + message)
    assert_nothing_left(limited.place, target_path, directory=before == "directory")
    provider.answer = GOOD
    limited.publish(target_path)
    assert pod_view(target_path) == {"secret": (0o644, b"good")}


@pytest.mark.parametrize(
    ("answer", "message"), [pytest.param(*case, id=name) for name, case in ANSWERS.items()]
)
def test_a_bad_answer_to_a_refresh_keeps_the_content_and_the_pod(
    place: NodePlace,
    status_sync: FakeStatusSync,
    provider: FakeProvider,
    answer: provider_pb2.MountResponse,
    message: str,
) -> None:
    target_path = place.target_path()
    with room_in_process(place, *FLAGS, "--enable-secret-rotation", "--rotation-poll-interval=0") as node:
        provider.answer = GOOD
        node.publish(target_path)
        provider.answer = answer
        node.publish(target_path)
        assert pod_view(target_path) == {"secret": (0o644, b"good")}
        status = node.room.Status(sscsi_pb2.RoomStatusRequest(), timeout=60)
    # Also for an answer without files: what is in place is not of the version that it names.
    assert status.facts["volumes_whose_last_refresh_failed"] == "1"


def test_control_characters_of_a_path_reach_no_terminal_and_a_long_one_is_cut(
    node: NodeInProcess, provider: FakeProvider
) -> None:
    provider.answer = paths("/\x1b[31m\n" + "x" * 3000)
    code, message = refusal(lambda: node.publish(node.place.target_path()))
    assert code is UNKNOWN
    assert message.startswith(PREFIX + "invalid path: must be relative path: / [31m xxx")
    assert message.isprintable()
    assert len(message) == len(PREFIX) + 1024


def test_a_path_that_the_kernel_refuses_is_worded_like_any_other(
    node: NodeInProcess, provider: FakeProvider
) -> None:
    # 4096 bytes are upstream's limit; with its NUL the kernel takes 4095.
    name = "\u00fc" * 120
    provider.answer = paths("/".join([name] * 16 + ["\u00fc" * ((4096 - 16 * 241) // 2)]))
    code, message = refusal(lambda: node.publish(node.place.target_path()))
    assert code is grpc.StatusCode.INTERNAL
    assert message.startswith(PREFIX + "cannot write ")
    assert len(message.encode()) <= len(PREFIX) + 1024
    assert_nothing_left(node.place, node.place.target_path(), directory=False)


class TestErrorsOfTheCall:
    @pytest.mark.parametrize(
        ("code", "go_name"),
        [
            (grpc.StatusCode.UNKNOWN, "Unknown"),
            (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied"),
            (grpc.StatusCode.INTERNAL, "Internal"),
            (grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated"),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "ResourceExhausted"),
            (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
            (grpc.StatusCode.CANCELLED, "Canceled"),
            (grpc.StatusCode.ABORTED, "Aborted"),
            (grpc.StatusCode.NOT_FOUND, "NotFound"),
        ],
    )
    def test_the_code_is_the_providers_and_the_text_as_go_words_it(
        self, node: NodeInProcess, provider: FakeProvider, code: grpc.StatusCode, go_name: str
    ) -> None:
        provider.error = (code, "the store says no")
        target_path = node.place.target_path()
        answer, message = refusal(lambda: node.publish(target_path))
        assert answer is code
        assert message.startswith(f"{PREFIX}rpc error: code = {go_name} desc = the store says no")
        assert_nothing_left(node.place, target_path, directory=False)
        provider.error = None
        node.publish(target_path)

    def test_secrets_tokens_and_control_characters_are_not_passed_on(
        self, node: NodeInProcess, provider: FakeProvider
    ) -> None:
        tokens = '{"vault":{"token":"eyJ.token.value","expirationTimestamp":"2026"}}'
        provider.error = (UNKNOWN, "login with hunter22 and eyJ.token.value\nfailed at \x1b[31mhttps://store")
        request = publish_request(
            node.place.target_path(),
            secrets={"password": "hunter22"},
            attributes={"csi.storage.k8s.io/serviceAccount.tokens": tokens},
        )
        _, message = refusal(lambda: node.publish(request))
        assert message == (
            PREFIX + "rpc error: code = Unknown desc = login with *** and *** failed at  [31mhttps://store"
        )

    def test_returned_content_is_not_passed_on(self, node: NodeInProcess, provider: FakeProvider) -> None:
        answer = files_answer(("../canary-content", 0o644, b"line one\ncanary-content\n"))
        provider.answer = answer
        _, message = refusal(lambda: node.publish(node.place.target_path()))
        assert message == PREFIX + "invalid path: must not contain '..': ../***"

    def test_a_long_message_is_cut(self, node: NodeInProcess, provider: FakeProvider) -> None:
        provider.error = (UNKNOWN, "x" * 3000)
        _, message = refusal(lambda: node.publish(node.place.target_path()))
        assert message.endswith("xxx...")
        assert len(message) == len(PREFIX) + 1024

    def test_an_answer_over_the_receive_limit_names_the_flag(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        provider.answer = files_answer(("a", 0o644, b"x" * 5000))
        target_path = place.target_path()
        with room_in_process(place, "--max-call-recv-msg-size=4096") as node:
            code, message = refusal(lambda: node.publish(target_path))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert message.endswith("(the answer of provider 'fake' is larger than --max-call-recv-msg-size)")
            assert_nothing_left(place, target_path, directory=False)
            provider.answer = GOOD
            node.publish(target_path)

    def test_what_is_no_answer_of_the_protocol_is_an_error_and_leaves_nothing(
        self, place: NodePlace, status_sync: FakeStatusSync
    ) -> None:
        def garbage(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            return b"\xff\xff garbage"

        server = grpc.server(futures.ThreadPoolExecutor(1))
        service = "v1alpha1.CSIDriverProvider"
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    service, {"Mount": grpc.unary_unary_rpc_method_handler(garbage)}
                ),
            )
        )
        server.add_insecure_port(f"unix:{place.provider_socket()}")
        server.start()
        target_path = place.target_path()
        try:
            with room_in_process(place) as node:
                code, message = refusal(lambda: node.publish(target_path))
        finally:
            server.stop(0).wait()
        assert code is grpc.StatusCode.INTERNAL
        assert message.startswith(f"{PREFIX}rpc error: code = Internal desc = ")
        assert_nothing_left(place, target_path, directory=False)

    def test_a_provider_that_dies_during_the_call_is_waited_for_and_asked_again(
        self, place: NodePlace, status_sync: FakeStatusSync
    ) -> None:
        dying = FakeProvider()
        dying.hold.clear()
        target_path = place.target_path()
        with room_in_process(place) as node, futures.ThreadPoolExecutor(1) as pool:
            with serving(dying, place.provider_socket()):
                publishing = pool.submit(node.publish, target_path)
                assert dying.waiting.acquire(timeout=60)
            with serving(FakeProvider(), place.provider_socket()):
                publishing.result(60)
        assert pod_view(target_path) == {"secret": (0o644, b"first content")}


class TestAdmission:
    def test_over_the_limit_publishes_wait_and_those_that_find_no_place_are_unavailable(
        self, place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
    ) -> None:
        provider.hold.clear()
        flags = ("--max-publishes-per-provider=1", "--max-waiting-publishes=1")
        with room_in_process(place, *flags) as node, futures.ThreadPoolExecutor(3) as pool:
            first = pool.submit(node.publish, place.target_path(volume="first"))
            assert provider.waiting.acquire(timeout=60)
            # Whichever comes second waits; the third finds the queue full.
            others = {pool.submit(node.publish, place.target_path(volume=name)) for name in ("a", "b")}
            done, waiting = futures.wait(others, timeout=10, return_when=futures.FIRST_COMPLETED)
            (turned_away,) = done
            assert refusal(turned_away.result) == (
                grpc.StatusCode.UNAVAILABLE,
                "1 publishes wait already (--max-waiting-publishes); try again later",
            )
            provider.hold.set()
            for published in (first, *waiting):
                published.result(60)
        assert len(provider.requests) == len(place.mounts()) == len(place.records()) == 2
