"""One request: what comes of every answer, how often it is made, how long it lasts, and what ends it."""

import itertools
import json
import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable

import pytest

from sidecars.statussync.kube.api import KubeApi, jittered
from sidecars.statussync.kube.api_errors import GARBAGE, UNREACHABLE, ApiError
from sidecars.statussync.kube.connection import Access, loader
from sidecars.statussync.kube.rate_limit import RateLimit
from sscsi import __version__
from sscsi.errors import ClusterUnavailableError
from tests.statussync.kube.conftest import MakeApi
from tests.statussync.kube.fake_api_server import (
    Answer,
    Exchange,
    FakeApiServer,
    body_answer,
    drip,
    half,
    hang_up,
    json_answer,
    nothing,
    status_answer,
)
from tests.statussync.kube.kubeconfigs import TOKEN, kubeconfig, write
from tests.support.waiting import wait_until

PATH = "/api/v1/namespaces/default/pods/web"
OK = json_answer(200, {"kind": "Pod"})
SECONDS = 60.0


def failure(api: KubeApi, method: str = "GET", *, seconds: float = SECONDS, body: object = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        api.call(method, PATH, body=body, timeout_seconds=seconds)
    return caught.value


class InThread:
    """A call in a thread of its own, and how it ended."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._action()
        except (ApiError, ClusterUnavailableError) as error:
            self.error = error

    def result(self) -> Exception | None:
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.error


def test_an_object_is_asked_for_and_answered(any_server: FakeApiServer, make_api: MakeApi) -> None:
    any_server.answers(OK)
    assert make_api(any_server).call("GET", PATH, query={"a": "b c"}, timeout_seconds=SECONDS) == {
        "kind": "Pod"
    }
    (request,) = any_server.requests
    assert (request.method, request.target, request.body) == ("GET", f"{PATH}?a=b+c", b"")
    assert request.token == TOKEN
    assert request.headers["user-agent"] == f"sscsi-statussync/{__version__}"
    assert request.headers["accept"] == "application/json"


def test_a_body_goes_as_the_type_that_it_has(server: FakeApiServer, make_api: MakeApi) -> None:
    server.answers(json_answer(201, {}))
    make_api(server).call(
        "PATCH", PATH, body={"ü": [1]}, content_type="application/merge-patch+json", timeout_seconds=SECONDS
    )
    (request,) = server.requests
    assert json.loads(request.body) == {"ü": [1]}
    assert request.headers["content-type"] == "application/merge-patch+json"


@pytest.mark.parametrize(
    ("code", "reason", "claim"),
    [
        (400, "BadRequest", "is_invalid"),
        (403, "Forbidden", "is_forbidden"),
        (404, "NotFound", "is_not_found"),
        (409, "Conflict", "is_conflict"),
        (409, "AlreadyExists", "is_conflict"),
        (410, "Expired", "is_gone"),
        (422, "Invalid", "is_invalid"),
    ],
)
def test_a_refusal_is_an_error_with_its_words_and_is_not_repeated(
    server: FakeApiServer, make_api: MakeApi, code: int, reason: str, claim: str
) -> None:
    server.answers(status_answer(code, reason, "no,\nnever"))
    error = failure(make_api(server))
    assert getattr(error, claim)
    assert (error.code, error.reason, str(error)) == (code, reason, f"GET {PATH}: no, never")
    assert len(server.requests) == 1


def test_the_fields_that_are_wrong_are_named(server: FakeApiServer, make_api: MakeApi) -> None:
    causes = [{"field": "data[a/b]", "message": "secret"}, {"field": "type"}, {"field": 5}, "garbage"]
    server.answers(json_answer(422, {"reason": "Invalid", "details": {"causes": causes}}))
    assert failure(make_api(server)).fields == ("data[a/b]", "type")


@pytest.mark.parametrize("body", [{"details": 5}, {"details": {"causes": 5}}, {"message": []}, [], None])
def test_a_refusal_of_another_form_is_one_all_the_same(
    server: FakeApiServer, make_api: MakeApi, body: object
) -> None:
    server.answers(json_answer(404, body))
    assert str(failure(make_api(server))) == f"GET {PATH}: HTTP 404"


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (status_answer(500, "InternalError"), 500, "InternalError"),
        (body_answer(503, b"<html>proxy</html>"), 503, "HTTP 503"),
        (body_answer(200, b"<html>proxy</html>"), 200, GARBAGE),
        (body_answer(200, b"\xff\xfe\x00garbage"), 200, GARBAGE),
        (body_answer(200, b"[" * 200_000), 200, GARBAGE),
        (body_answer(200, b"[]"), 200, GARBAGE),
        (body_answer(200, b""), 200, GARBAGE),
        (half, 0, UNREACHABLE),
        (hang_up, 0, UNREACHABLE),
    ],
)
def test_a_read_that_goes_wrong_is_repeated_and_a_write_is_not(
    server: FakeApiServer, make_api: MakeApi, answer: Answer, code: int, reason: str
) -> None:
    api = make_api(server)
    server.answers(answer, answer, OK)
    assert api.call("GET", PATH, timeout_seconds=SECONDS) == {"kind": "Pod"}
    assert len(server.requests) == 3
    for method in ("POST", "PATCH", "DELETE"):
        server.requests.clear()
        server.answers(answer)
        error = failure(api, method, body={})
        assert (error.code, error.reason) == (code, reason)
        assert len(server.requests) == 1


def test_repetition_ends(server: FakeApiServer, make_api: MakeApi) -> None:
    server.answers(status_answer(500, "InternalError"))
    failure(make_api(server))
    assert len(server.requests) == 4


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_is_asked_to_wait_waits_and_asks_again(
    server: FakeApiServer, make_api: MakeApi, method: str
) -> None:
    moments: list[float] = []

    def too_many(exchange: Exchange) -> None:
        status_answer(429, "TooManyRequests", Retry_After="1")(exchange)
        moments.append(time.monotonic())

    server.answers(too_many, OK)
    make_api(server).call(method, PATH, timeout_seconds=SECONDS)
    assert time.monotonic() - moments[0] >= 1.0
    assert len(server.requests) == 2


def test_a_wait_that_there_is_no_time_for_is_not_begun(server: FakeApiServer, make_api: MakeApi) -> None:
    server.answers(status_answer(429, "TooManyRequests", Retry_After="50"))
    assert failure(make_api(server), seconds=5.0).retry_after_seconds == 50.0


@pytest.mark.parametrize("value", ["soon", "-1", "Fri, 31 Dec 1999 23:59:59 GMT", "1" * 400, "٣"])
def test_a_wait_that_is_no_number_is_none(server: FakeApiServer, make_api: MakeApi, value: str) -> None:
    answer = json_answer(429, {}, {"Retry-After": value}) if value.isascii() else status_answer(429, "x")
    server.answers(answer, OK)
    make_api(server).call("GET", PATH, timeout_seconds=SECONDS)


def test_waits_differ_from_node_to_node() -> None:
    waits = [jittered(10.0) for _ in range(100)]
    assert all(5.0 <= wait <= 15.0 for wait in waits)
    assert max(waits) - min(waits) > 1.0


def test_a_redirection_is_not_followed(server: FakeApiServer, make_api: MakeApi) -> None:
    server.answers(json_answer(302, {}, {"Location": f"{server.url}/elsewhere"}))
    assert failure(make_api(server)).code == 302
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        nothing,
        drip(b""),
        drip(b"HTTP/1.1 200 OK\r\nX: "),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
        drip(b"HTTP/1.1 404 Not found\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000\r\n"),
    ],
    ids=["nothing", "status", "head", "body", "end", "chunk"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_that_does_not_end_is_given_up(
    any_server: FakeApiServer, make_api: MakeApi, answer: Answer, method: str
) -> None:
    any_server.answers(answer)
    error = failure(make_api(any_server), method, seconds=0.3)
    assert (error.code, error.reason, error.was_sent) == (0, UNREACHABLE, True)
    assert len(any_server.requests) == 1


def test_who_is_not_reached_is_not_told_anything(server: FakeApiServer, make_api: MakeApi) -> None:
    api = make_api(server)
    server.close()
    error = failure(api, "POST")
    assert not error.was_sent
    assert str(error) == f"POST {PATH}: no answer (NewConnectionError)"


def test_a_tls_handshake_that_does_not_end_is_given_up(server: FakeApiServer, make_api: MakeApi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server.url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        assert failure(make_api(server), seconds=0.3).reason == UNREACHABLE


def test_no_time_is_no_request(server: FakeApiServer, make_api: MakeApi) -> None:
    with pytest.raises(ClusterUnavailableError):
        make_api(server).call("GET", PATH, timeout_seconds=0.0)
    assert not server.requests


def test_a_turn_that_comes_too_late_is_not_waited_for(server: FakeApiServer, make_api: MakeApi) -> None:
    server.answers(OK)
    api = make_api(server, per_second=0.01, burst=1)
    api.call("GET", PATH, timeout_seconds=SECONDS)
    with pytest.raises(ClusterUnavailableError, match="--kube-api-qps"):
        api.call("GET", PATH, timeout_seconds=SECONDS)
    with pytest.raises(ClusterUnavailableError, match="go first"):
        api.call("GET", PATH, timeout_seconds=SECONDS, gives_way=True)
    assert len(server.requests) == 1


def test_the_end_ends_a_wait_for_an_answer(any_server: FakeApiServer, make_api: MakeApi) -> None:
    api = make_api(any_server)
    calls = [InThread(lambda: api.call("GET", PATH, timeout_seconds=100.0)) for _ in range(3)]
    wait_until(lambda: len(any_server.requests) == 3, "all wait")
    api.close()
    assert all(isinstance(call.result(), ApiError) for call in calls)
    assert len(any_server.requests) == 3


def test_the_end_ends_a_wait_for_the_head_of_a_watch(any_server: FakeApiServer, make_api: MakeApi) -> None:
    api = make_api(any_server)
    call = InThread(lambda: api.watch(PATH, query={}, timeout_seconds=100.0))
    wait_until(lambda: any_server.requests, "it waits")
    api.close()
    assert isinstance(call.result(), ApiError)


def test_the_end_ends_a_wait_between_repetitions(server: FakeApiServer, make_api: MakeApi) -> None:
    server.answers(status_answer(429, "TooManyRequests", Retry_After="50"))
    api = make_api(server)
    call = InThread(lambda: api.call("GET", PATH, timeout_seconds=1000.0))
    wait_until(lambda: server.requests, "it has its answer")
    api.close()
    assert isinstance(call.result(), ApiError)
    assert len(server.requests) == 1


def test_the_end_ends_a_wait_for_a_turn(server: FakeApiServer, make_api: MakeApi) -> None:
    server.answers(OK)
    api = make_api(server, per_second=0.01, burst=1)
    api.call("GET", PATH, timeout_seconds=SECONDS)
    call = InThread(lambda: api.call("GET", PATH, timeout_seconds=1000.0))
    api.close()
    assert isinstance(call.result(), ClusterUnavailableError)
    with pytest.raises(ClusterUnavailableError):
        api.call("GET", PATH, timeout_seconds=1000.0)
    assert len(server.requests) == 1


def test_connections_are_used_again(any_server: FakeApiServer, make_api: MakeApi) -> None:
    any_server.answers(OK)
    api = make_api(any_server)
    for _ in range(5):
        api.call("GET", PATH, timeout_seconds=SECONDS)
    assert len(any_server.connections) == 1


class Door:
    """It lets in who has the token `good`."""

    def __init__(self, good: str) -> None:
        self.good = good

    def __call__(self, exchange: Exchange) -> None:
        if exchange.request.token == self.good:
            return OK(exchange)
        return status_answer(401, "Unauthorized", f"{exchange.request.token} is wrong")(exchange)


class Credentials:
    """A kubeconfig with a file for the token; how often it was read."""

    def __init__(self, directory: str, server: FakeApiServer) -> None:
        self._token_file = os.path.join(directory, "token")
        self.put("the-old-token")
        user = {"tokenFile": self._token_file}
        path = write(os.path.join(directory, "kubeconfig"), kubeconfig({"server": server.url}, user))
        self._load = loader(path)
        self.count = 0

    def put(self, token: str) -> None:
        with open(self._token_file, "w", encoding="ascii") as file:
            file.write(token)

    def load(self) -> Access:
        self.count += 1
        return self._load()


def test_credentials_that_are_refused_are_read_anew_and_the_request_made_again(
    server: FakeApiServer, tmp_path: os.PathLike[str]
) -> None:
    credentials = Credentials(str(tmp_path), server)
    server.answers(Door("the-new-token"))
    api = KubeApi(credentials.load, RateLimit(per_second=100, burst=100))
    credentials.put("the-new-token\n")
    barrier = threading.Barrier(8)

    def call() -> None:
        barrier.wait(10.0)
        api.call("POST", PATH, body={}, timeout_seconds=SECONDS)

    calls = [InThread(call) for _ in range(8)]
    assert [one.result() for one in calls] == [None] * 8
    assert credentials.count == 2
    api.close()


def test_credentials_that_stay_refused_are_not_read_again_and_again(
    server: FakeApiServer, tmp_path: os.PathLike[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = Credentials(str(tmp_path), server)
    server.answers(Door("another-token"))
    api = KubeApi(credentials.load, RateLimit(per_second=100, burst=100))
    errors = [failure(api) for _ in range(5)]
    assert all(error.is_unauthorized for error in errors)
    assert credentials.count == 2
    assert len(server.requests) == 6
    assert str(errors[0]) == f"GET {PATH}: *** is wrong"
    assert "the-old-token" not in caplog.text
    api.close()


def test_credentials_that_can_not_be_read_anew_leave_the_old_ones(
    server: FakeApiServer, tmp_path: os.PathLike[str], caplog: pytest.LogCaptureFixture
) -> None:
    credentials = Credentials(str(tmp_path), server)
    server.answers(Door("another-token"))
    api = KubeApi(credentials.load, RateLimit(per_second=100, burst=100))
    write(os.path.join(tmp_path, "kubeconfig"), "garbage with the-old-token")
    assert failure(api).is_unauthorized
    assert "the-old-token" not in caplog.text
    server.answers(Door("the-old-token"))
    assert api.call("GET", PATH, timeout_seconds=SECONDS)
    api.close()


def test_a_token_that_is_none_is_not_sent_and_not_shown(
    server: FakeApiServer, tmp_path: os.PathLike[str]
) -> None:
    credentials = Credentials(str(tmp_path), server)
    credentials.put("two-words\nin-two-lines\x07")
    api = KubeApi(credentials.load, RateLimit(per_second=100, burst=100))
    with pytest.raises(ClusterUnavailableError) as caught:
        api.call("GET", PATH, timeout_seconds=SECONDS)
    assert "two-words" not in "".join(traceback.format_exception(caught.value))
    assert not server.requests
    api.close()


def test_what_was_sent_is_in_no_error_and_no_line_of_log(
    any_server: FakeApiServer, make_api: MakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    value = "c2VjcmV0LWNvbnRlbnQ="
    words = f"{TOKEN} Bearer {TOKEN} {value} secret-content"
    status = {"message": words, "reason": words, "details": {"causes": [{"field": words}]}}
    api = make_api(any_server)
    for answer in (
        json_answer(400, status),
        json_answer(500, status),
        body_answer(500, words.encode()),
        half,
    ):
        any_server.answers(answer)
        error = failure(api, "POST", body={"data": {"a": value}})
        shown = "".join(traceback.format_exception(error)) + caplog.text + error.reason + str(error.fields)
        for canary in (TOKEN, value, "secret-content"):
            assert canary not in shown


def test_more_connections_than_are_kept_are_no_news(
    server: FakeApiServer, make_api: MakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    barrier = threading.Barrier(12)

    def together(exchange: Exchange) -> None:
        barrier.wait(10.0)
        OK(exchange)

    server.answers(together)
    api = make_api(server)
    calls = [InThread(lambda: api.call("GET", PATH, timeout_seconds=SECONDS)) for _ in range(12)]
    assert [call.result() for call in calls] == [None] * 12
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_pauses_between_repetitions_grow(server: FakeApiServer, make_api: MakeApi) -> None:
    moments: list[float] = []

    def fail(exchange: Exchange) -> None:
        moments.append(time.monotonic())
        status_answer(503, "ServiceUnavailable")(exchange)

    server.answers(fail)
    failure(make_api(server))
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert [gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2), strict=True)] == [True] * 3
