import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BoolValue

from sscsi import errors
from sscsi.core import log_keys, log_levels
from sscsi.edges.grpc_status import (
    CLASSES_CODES,
    CODES,
    GO_NAMES,
    INTERNAL_TEXT,
    MAX_TEXT_BYTES,
    NO_ANSWERS,
    ErrorCodes,
    StatusInterceptor,
    status_of,
)
from sscsi.pb import csi_pb2, csi_pb2_grpc, sscsi_pb2, sscsi_pb2_grpc

TIMEOUT_SECONDS = 60.0


class Identity(csi_pb2_grpc.IdentityServicer):
    """Answers what the test says, or raises it; the methods that it lacks are never called."""

    def __init__(self, answer: Callable[[], csi_pb2.ProbeResponse]) -> None:
        self._answer = answer

    def Probe(self, request: csi_pb2.ProbeRequest, context: grpc.ServicerContext) -> csi_pb2.ProbeResponse:
        return self._answer()


class Node(csi_pb2_grpc.NodeServicer):
    def NodePublishVolume(
        self, request: csi_pb2.NodePublishVolumeRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodePublishVolumeResponse:
        raise LookupError(str(request))

    def NodeUnpublishVolume(
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: grpc.ServicerContext
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        return csi_pb2.NodeUnpublishVolumeResponse()


class Volumes(sscsi_pb2_grpc.VolumesServicer):
    """Streams two answers, then raises what the test says."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def Watch(
        self, request: sscsi_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[sscsi_pb2.WatchResponse]:
        yield sscsi_pb2.WatchResponse(revision=1)
        yield sscsi_pb2.WatchResponse(revision=2)
        if self._error:
            raise self._error


@contextlib.contextmanager
def serving(
    add: Callable[[grpc.Server], object], interceptor: StatusInterceptor | None = None
) -> Iterator[grpc.Channel]:
    """A channel to a server with the interceptor under test."""
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, interceptors=[interceptor or StatusInterceptor()])
        add(server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
        server.stop(0).wait()


def probe(
    answer: Callable[[], csi_pb2.ProbeResponse], interceptor: StatusInterceptor | None = None
) -> csi_pb2.ProbeResponse:
    def add(server: grpc.Server) -> None:
        csi_pb2_grpc.add_IdentityServicer_to_server(Identity(answer), server)  # type: ignore[abstract]

    with serving(add, interceptor) as channel:
        return csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest(), timeout=TIMEOUT_SECONDS)


def raising(error: Exception) -> Callable[[], csi_pb2.ProbeResponse]:
    def answer() -> csi_pb2.ProbeResponse:
        raise error

    return answer


def failure(error: Exception, interceptor: StatusInterceptor | None = None) -> tuple[grpc.StatusCode, str]:
    """What the caller sees of `error`."""
    with pytest.raises(grpc.RpcError) as caught:
        probe(raising(error), interceptor)
    return caught.value.code(), caught.value.details() or ""


def test_an_answer_passes() -> None:
    answer = probe(lambda: csi_pb2.ProbeResponse(ready=BoolValue(value=True)))
    assert answer.ready.value


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_each_error_arrives_with_its_code_and_its_own_text(
    kind: type[errors.SscsiError], code: grpc.StatusCode
) -> None:
    if kind is errors.ProviderCallError:
        assert status_of(errors.ProviderCallError("x", code=14)) is grpc.StatusCode.UNAVAILABLE
        return
    more = {errors.DriverUnreachableError: {"reason": "missing"}, errors.DriverCallError: {"code": 2}}
    error = kind("what, where and the cure", **more.get(kind, {}))  # type: ignore[arg-type]
    assert failure(error) == (code, "what, where and the cure")


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_providers_code_is_passed_on(code: grpc.StatusCode) -> None:
    assert status_of(errors.ProviderCallError("it said no", code=int(code.value[0]))) is code


@pytest.mark.parametrize("number", [0, -1, 17, 99])
def test_a_failure_with_a_code_that_is_none_is_unknown(number: int) -> None:
    assert status_of(errors.ProviderCallError("nonsense", code=number)) is grpc.StatusCode.UNKNOWN


def test_what_nobody_expected_is_internal_with_a_fixed_text() -> None:
    assert failure(LookupError("canary")) == (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)


def test_a_surface_may_have_a_code_of_its_own() -> None:
    def code_of(error: errors.SscsiError) -> grpc.StatusCode:
        return failure(error, StatusInterceptor(CLASSES_CODES))[0]

    assert code_of(errors.ClassNotFoundError("no class shop/web")) is grpc.StatusCode.NOT_FOUND
    assert code_of(errors.VolumeBusyError("busy")) is grpc.StatusCode.ABORTED


def test_a_path_that_is_no_text_does_not_hide_the_error() -> None:
    path = b"/a/\xff".decode(errors="surrogateescape")
    assert failure(errors.TargetPathError(f"cannot look at {path}")) == (
        grpc.StatusCode.INTERNAL,
        r"cannot look at /a/\udcff",
    )


@pytest.mark.parametrize("letter", ["x", "é", "%", "語"])
def test_a_text_too_long_for_a_status_is_cut_and_the_code_stays(letter: str) -> None:
    code, text = failure(errors.TargetPathError(letter * 20_000))
    assert code is grpc.StatusCode.INTERNAL
    assert text.endswith(letter + "...")
    assert MAX_TEXT_BYTES - 4 <= len(text.encode()) <= MAX_TEXT_BYTES


def test_a_method_that_is_not_served_is_unimplemented() -> None:
    with serving(lambda server: None) as channel, pytest.raises(grpc.RpcError) as caught:
        csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest(), timeout=TIMEOUT_SECONDS)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, None),
        (errors.StoppingError("stopping"), grpc.StatusCode.UNAVAILABLE),
        (KeyError("canary"), grpc.StatusCode.INTERNAL),
    ],
)
def test_a_stream_delivers_what_came_before_its_error(
    error: Exception | None, code: grpc.StatusCode | None
) -> None:
    revisions: list[int] = []
    ended: grpc.StatusCode | None = None

    def add(server: grpc.Server) -> None:
        volumes = Volumes(error)  # type: ignore[abstract] # nobody calls the others
        sscsi_pb2_grpc.add_VolumesServicer_to_server(volumes, server)

    with serving(add) as channel:
        try:
            for answer in sscsi_pb2_grpc.VolumesStub(channel).Watch(
                sscsi_pb2.WatchRequest(), timeout=TIMEOUT_SECONDS
            ):
                revisions.append(answer.revision)
        except grpc.RpcError as problem:
            ended = problem.code()
    assert revisions == [1, 2]
    assert ended is code


def rpc_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [entry for entry in caplog.records if log_keys.METHOD in entry.__dict__]


def unpublish(channel: grpc.Channel) -> None:
    csi_pb2_grpc.NodeStub(channel).NodeUnpublishVolume(
        csi_pb2.NodeUnpublishVolumeRequest(volume_id="csi-1"), timeout=TIMEOUT_SECONDS
    )


def ask_probe(channel: grpc.Channel) -> None:
    csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest(), timeout=TIMEOUT_SECONDS)


def watch(channel: grpc.Channel) -> None:
    list(sscsi_pb2_grpc.VolumesStub(channel).Watch(sscsi_pb2.WatchRequest(), timeout=TIMEOUT_SECONDS))


def add_all(server: grpc.Server) -> None:
    """Servicers whose every method succeeds."""
    csi_pb2_grpc.add_IdentityServicer_to_server(Identity(csi_pb2.ProbeResponse), server)  # type: ignore[abstract]
    csi_pb2_grpc.add_NodeServicer_to_server(Node(), server)  # type: ignore[abstract]
    sscsi_pb2_grpc.add_VolumesServicer_to_server(Volumes(None), server)  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("call", "method", "level"),
    [
        (unpublish, "NodeUnpublishVolume", log_levels.CALLS),
        (ask_probe, "Probe", log_levels.REQUESTS),
        (watch, "Watch", log_levels.REQUESTS),
    ],
)
def test_a_success_is_one_line_below_info(
    call: Callable[[grpc.Channel], None], method: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), serving(add_all) as channel:
        call(channel)
    (line,) = rpc_lines(caplog)
    assert (line.levelno, line.__dict__[log_keys.METHOD], line.__dict__[log_keys.CODE]) == (
        level,
        method,
        "OK",
    )
    assert 0 <= line.__dict__[log_keys.SECONDS] < TIMEOUT_SECONDS


def test_a_success_that_is_not_shown_makes_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), serving(add_all) as channel:
        for call in (unpublish, ask_probe, watch):
            call(channel)
    assert rpc_lines(caplog) == []


@pytest.mark.parametrize(
    ("answers", "level"), [(CLASSES_CODES, log_levels.DECISIONS), (NO_ANSWERS, logging.ERROR)]
)
def test_an_error_that_is_an_answer_is_told_by_who_asked(
    answers: ErrorCodes, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        failure(errors.ClassNotFoundError("no class shop/web"), StatusInterceptor(answers))
    (line,) = rpc_lines(caplog)
    assert line.levelno == level


def test_a_failure_is_one_line_with_the_code_in_gos_spelling(caplog: pytest.LogCaptureFixture) -> None:
    failure(errors.ClusterUnavailableError("the cluster is away"))
    (line,) = rpc_lines(caplog)
    assert line.levelno == logging.ERROR
    assert line.__dict__[log_keys.CODE] == "Unavailable"
    assert line.__dict__[log_keys.ERROR] == "the cluster is away"


def test_a_failing_publish_names_its_volume_and_nothing_else_of_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = csi_pb2.NodePublishVolumeRequest(
        volume_id="csi-1",
        secrets={"password": "canary"},
        volume_context={"csi.storage.k8s.io/serviceAccount.tokens": "canary"},
    )

    def add(server: grpc.Server) -> None:
        csi_pb2_grpc.add_NodeServicer_to_server(Node(), server)  # type: ignore[abstract]

    with caplog.at_level(logging.DEBUG), serving(add) as channel, pytest.raises(grpc.RpcError) as caught:
        csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request, timeout=TIMEOUT_SECONDS)
    assert caught.value.details() == INTERNAL_TEXT
    (line,) = rpc_lines(caplog)
    assert line.__dict__[log_keys.VOLUME_ID] == "csi-1"
    fields = {key: line.__dict__[key] for key in log_keys.ALL if key in line.__dict__}
    assert "canary" not in f"{line.getMessage()} {fields}"


def test_codes_are_spelt_as_go_spells_them() -> None:
    assert GO_NAMES[grpc.StatusCode.CANCELLED] == "Canceled"
    assert GO_NAMES[grpc.StatusCode.DEADLINE_EXCEEDED] == "DeadlineExceeded"
    assert GO_NAMES[grpc.StatusCode.OK] == "OK"
    assert len(set(GO_NAMES.values())) == len(grpc.StatusCode)
