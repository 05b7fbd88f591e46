"""A watch: its events however they are cut, every way in which it ends, and that any thread may end it."""

import contextlib
import threading
import tracemalloc

import pytest
import urllib3

from sidecars.statussync.kube.api import Object, Watch
from sidecars.statussync.kube.api_errors import GARBAGE, UNREACHABLE, ApiError
from sidecars.statussync.kube.connection import Connection
from sidecars.statussync.kube.wire import Stream
from tests.statussync.kube.conftest import MakeApi
from tests.statussync.kube.fake_api_server import (
    FakeApiServer,
    LiveWatch,
    body_answer,
    drip,
    event,
    json_answer,
    status_answer,
)
from tests.support.waiting import wait_until

PATH = "/api/v1/pods"
POD = {"metadata": {"name": "wéb", "resourceVersion": "5"}, "text": "a\nb\r\n"}
STREAM = event("ADDED", POD) + event("MODIFIED", POD) + b"\n" + event("BOOKMARK", {"metadata": {}})
KINDS = ["ADDED", "MODIFIED", "BOOKMARK"]


class Reader:
    """A thread that reads a watch to its end."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.events: list[tuple[str, Object]] = []
        self.error: ApiError | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.events.extend(self._watch)
        except ApiError as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


def watch(server: FakeApiServer, make_api: MakeApi, live: LiveWatch, *, seconds: float = 100.0) -> Watch:
    server.answers(live)
    return make_api(server).watch(PATH, query={"a": "b"}, timeout_seconds=seconds)


def test_a_watch_is_asked_for_with_its_end(server: FakeApiServer, make_api: MakeApi) -> None:
    live = LiveWatch()
    watch(server, make_api, live, seconds=77.7).close()
    assert server.requests[0].target == f"{PATH}?a=b&watch=1&timeoutSeconds=77"


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_events_are_whole_however_they_are_cut(
    server: FakeApiServer, make_api: MakeApi, size: int, is_chunked: bool
) -> None:
    live = LiveWatch(is_chunked=is_chunked)
    for start in range(0, len(STREAM), size):
        live.send(STREAM[start : start + size])
    live.end()
    events = list(watch(server, make_api, live))
    assert [kind for kind, _ in events] == KINDS
    assert events[0][1] == POD


@pytest.mark.parametrize("is_chunked", [True, False])
def test_an_event_is_told_before_the_next_one_comes(
    any_server: FakeApiServer, make_api: MakeApi, is_chunked: bool
) -> None:
    live = LiveWatch(is_chunked=is_chunked)
    reader = Reader(watch(any_server, make_api, live))
    for count in range(1, 4):
        live.tell("ADDED", POD)
        wait_until(lambda count=count: len(reader.events) == count, "it is told")  # type: ignore[misc]
    live.end()
    reader.join()
    assert reader.error is None


def test_a_large_event_is_whole(any_server: FakeApiServer, make_api: MakeApi) -> None:
    live = LiveWatch()
    text = "x" * 2_000_000
    live.tell("ADDED", {"metadata": {}, "text": text})
    live.end()
    assert list(watch(any_server, make_api, live)) == [("ADDED", {"metadata": {}, "text": text})]


def test_nothing_of_an_event_stays_until_the_next_one(server: FakeApiServer, make_api: MakeApi) -> None:
    live = LiveWatch()
    made = watch(server, make_api, live)
    told = threading.Event()

    def read() -> None:
        with contextlib.suppress(ApiError):
            for one in made:
                if one[0] == "MODIFIED":
                    told.set()
                del one

    tracemalloc.start()
    thread = threading.Thread(target=read)
    try:
        thread.start()
        live.tell("ADDED", {"metadata": {}, "text": ["x" * 100] * 20_000})
        live.tell("MODIFIED", {"metadata": {}})
        assert told.wait(60)
        here = tracemalloc.Filter(True, "*/statussync/kube/api.py")
        decoder = tracemalloc.Filter(True, "*/json/*")
        wire = tracemalloc.Filter(True, "*/http/client.py")
        wait_until(
            lambda: (
                sum(
                    statistic.size
                    for statistic in tracemalloc.take_snapshot()
                    .filter_traces([here, decoder, wire])
                    .statistics("filename")
                )
                < 200_000
            ),
            "its memory is free",
        )
    finally:
        tracemalloc.stop()
        made.close()
        thread_ended(thread)


def thread_ended(thread: threading.Thread) -> None:
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("is_chunked", [True, False])
def test_another_thread_ends_a_watch_that_waits(
    any_server: FakeApiServer, make_api: MakeApi, is_chunked: bool
) -> None:
    live = LiveWatch(is_chunked=is_chunked)
    made = watch(any_server, make_api, live)
    reader = Reader(made)
    live.tell("ADDED", POD)
    wait_until(lambda: reader.events, "it waits for the next one")
    made.close()
    reader.join()
    made.close()


def test_another_thread_ends_a_watch_in_the_middle_of_an_event(
    any_server: FakeApiServer, make_api: MakeApi
) -> None:
    live = LiveWatch()
    made = watch(any_server, make_api, live)
    reader = Reader(made)
    live.send(event("ADDED", POD) + b'{"type": "ADD')
    wait_until(lambda: reader.events, "it waits for the rest")
    made.close()
    reader.join()
    assert reader.kinds == ["ADDED"]


def test_a_watch_that_was_ended_before_it_was_read_is_over(
    any_server: FakeApiServer, make_api: MakeApi
) -> None:
    made = watch(any_server, make_api, LiveWatch())
    made.close()
    Reader(made).join()


def test_the_end_of_the_transport_ends_a_watch(any_server: FakeApiServer, make_api: MakeApi) -> None:
    any_server.answers(LiveWatch())
    api = make_api(any_server)
    reader = Reader(api.watch(PATH, query={}, timeout_seconds=100.0))
    api.close()
    reader.join()


def test_the_end_of_one_watch_is_no_other_ones(any_server: FakeApiServer, make_api: MakeApi) -> None:
    first, second = LiveWatch(), LiveWatch()
    any_server.answers(first, second, json_answer(200, {}))
    api = make_api(any_server)
    one, other = (api.watch(PATH, query={}, timeout_seconds=100.0) for _ in range(2))
    readers = [Reader(one), Reader(other)]
    one.close()
    readers[0].join()
    assert api.call("GET", PATH, timeout_seconds=10.0) == {}
    second.tell("ADDED", POD)
    wait_until(lambda: readers[1].events, "the other goes on")
    other.close()
    readers[1].join()


def test_a_break_is_an_error(any_server: FakeApiServer, make_api: MakeApi) -> None:
    live = LiveWatch()
    live.send(event("ADDED", POD) + b'{"type": "ADD')
    live.break_off()
    reader = Reader(watch(any_server, make_api, live))
    reader.join()
    assert reader.kinds == ["ADDED"]
    assert reader.error is not None
    assert reader.error.reason == UNREACHABLE


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"5",
        b'{"type": "ADDED"}',
        b'{"type": "ADDED", "object": []}',
        b'{"type": ["ADDED"], "object": {}}',
        b'{"type": "EXPLODED", "object": {}}',
        b'{"type": "ERROR", "object": "text"}',
        b"[" * 200_000,
    ],
    ids=range(10),
)
def test_what_is_no_event_is_an_error(server: FakeApiServer, make_api: MakeApi, line: bytes) -> None:
    live = LiveWatch()
    live.send(event("ADDED", POD) + line + b"\n")
    reader = Reader(watch(server, make_api, live))
    reader.join()
    assert reader.kinds == ["ADDED"]
    assert reader.error is not None
    assert reader.error.reason == GARBAGE


@pytest.mark.parametrize(
    "status", [{"code": 410, "reason": "Expired", "message": "too old"}, {"code": "410"}]
)
def test_an_error_event_is_the_error_that_it_tells(
    server: FakeApiServer, make_api: MakeApi, status: dict[str, object]
) -> None:
    live = LiveWatch()
    live.tell("ERROR", status)
    reader = Reader(watch(server, make_api, live))
    reader.join()
    assert reader.error is not None
    assert reader.error.is_gone == (status["code"] == 410)


def test_a_refused_watch_is_an_error(server: FakeApiServer, make_api: MakeApi) -> None:
    api = make_api(server)
    for answer, code in ((status_answer(410, "Expired"), 410), (body_answer(502, b"<html>"), 502)):
        server.answers(answer)
        with pytest.raises(ApiError) as caught:
            api.watch(PATH, query={}, timeout_seconds=100.0)
        assert caught.value.code == code


def test_a_watch_that_the_server_does_not_end_is_given_up(
    any_server: FakeApiServer, make_api: MakeApi
) -> None:
    any_server.answers(drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n"))
    connection: Connection = make_api(any_server)._connection
    timeout = urllib3.Timeout(total=30.0)
    response = connection.request("GET", PATH, headers={}, body=None, timeout=timeout, stream=True)
    reader = Reader(Watch(Stream(response, seconds=0.2), PATH))
    reader.join()
    assert reader.error is not None
