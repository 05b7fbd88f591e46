"""Objects kept as they are in the API, through pages, breaks, lost versions and an API server that is away."""

import gc
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sidecars.statussync.kube import watched
from sidecars.statussync.kube.watched import Name, Watched
from tests.statussync.kube.conftest import MakeApi
from tests.statussync.kube.fake_api_server import (
    Answer,
    Exchange,
    FakeApiServer,
    LiveWatch,
    Request,
    body_answer,
    hang_up,
    json_answer,
    nothing,
    status_answer,
)
from tests.support.waiting import wait_until

PATH = "/apis/example.com/v1/things"
FORBIDDEN = status_answer(403, "Forbidden", "you may not")
GONE = status_answer(410, "Expired", "too old")


def thing(name: str, version: int, value: str = "") -> dict[str, Any]:
    metadata = {"namespace": "default", "name": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "value": value, "ballast": {"of": "no use"}}


def page(version: int, *things: dict[str, Any], token: str = "") -> Answer:
    metadata = {"resourceVersion": str(version), "continue": token}
    return json_answer(200, {"metadata": metadata, "items": list(things)})


def query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}


def short_watch(exchange: Exchange) -> None:
    """A watch that is over at once."""
    LiveWatch.ended()(exchange)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the real ones, which nobody here has to wait for."""
    monkeypatch.setattr(watched, "_FIRST_DELAY_SECONDS", 0.05)


class Follower:
    """A Watched with its thread, and the changes that it told."""

    def __init__(self, make: Callable[[Callable[[Name], None]], Watched[str]]) -> None:
        self.changes: list[str] = []
        self.watched = make(lambda name: self.changes.append(name[1]))
        self._thread = threading.Thread(target=self.watched.run)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.watched.close()
        if self._thread.ident is not None:
            self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def values(self) -> dict[str, str]:
        return {name: value for (_, name), value in self.watched.all().items()}


@pytest.fixture
def follower(server: FakeApiServer, make_api: MakeApi) -> Iterator[Follower]:
    api = make_api(server)
    made = Follower(
        lambda on_change: Watched(
            api,
            PATH,
            {"labelSelector": "a=b"},
            keep=lambda obj: str(obj["value"]),
            on_change=on_change,
            watch_seconds=100.0,
        )
    )
    yield made
    api.close()
    made.close()


def wait_current(follower: Follower) -> None:
    wait_until(lambda: follower.watched.is_current, "changes are heard of")


def test_all_pages_are_taken_in_and_a_watch_goes_on_from_there(
    server: FakeApiServer, follower: Follower
) -> None:
    live = LiveWatch()
    server.answers(page(7, thing("a", 1, "A"), token="t"), page(7, thing("b", 2, "B")), live)
    follower.start()
    wait_current(follower)
    assert follower.values == {"a": "A", "b": "B"}
    assert sorted(follower.changes) == ["a", "b"]
    first, second, third = map(query, server.requests)
    assert first == {"labelSelector": "a=b", "limit": "500"}
    assert second == {**first, "continue": "t"}
    assert third["resourceVersion"] == "7"
    assert third["allowWatchBookmarks"] == "true"
    assert third["labelSelector"] == "a=b"
    assert 100 <= int(third["timeoutSeconds"]) < 200


def test_changes_are_taken_in_and_told_once(server: FakeApiServer, follower: Follower) -> None:
    live = LiveWatch()
    server.answers(page(7, thing("a", 1, "A")), live)
    follower.start()
    live.tell("ADDED", thing("b", 8, "B"))
    live.tell("MODIFIED", thing("a", 9, "AA"))
    live.tell("MODIFIED", thing("a", 9, "AA"))
    live.tell("DELETED", thing("b", 10, "B"))
    live.tell("DELETED", thing("b", 11, "B"))
    live.tell("BOOKMARK", {"metadata": {"resourceVersion": "12"}})
    live.tell("ADDED", thing("end", 13))
    wait_until(lambda: "end" in follower.values, "all are taken in")
    assert follower.values == {"a": "AA", "end": ""}
    assert follower.changes == ["a", "b", "a", "b", "end"]


@pytest.mark.parametrize("how", ["break", "end", "garbage in the chunks"])
def test_after_a_break_the_next_watch_goes_on_from_the_last_version(
    server: FakeApiServer, follower: Follower, how: str
) -> None:
    first, second = LiveWatch(), LiveWatch()
    server.answers(page(7), first, second)
    follower.start()
    first.tell("ADDED", thing("a", 8, "A"))
    first.tell("BOOKMARK", {"metadata": {"resourceVersion": "20"}})
    first.tell("ADDED", thing("b", 21, "B"))
    if how == "break":
        first.break_off()
    else:
        first.end()
    assert second.begun.wait(60)
    assert query(server.requests[2])["resourceVersion"] == "21"
    wait_current(follower)
    assert follower.values == {"a": "A", "b": "B"}
    assert follower.changes == ["a", "b"]


@pytest.mark.parametrize(
    "gone",
    [
        GONE,
        LiveWatch.telling("ERROR", {"code": 410, "reason": "Expired"}),
        LiveWatch.telling("ADDED", "garbage"),
        LiveWatch.telling("ADDED", {"metadata": {"resourceVersion": "8"}}),
    ],
    ids=["answer", "event", "garbage", "another form"],
)
def test_a_version_that_is_lost_leads_to_a_list_that_tells_the_difference(
    server: FakeApiServer, follower: Follower, gone: Answer
) -> None:
    live = LiveWatch()
    before = page(7, thing("a", 1, "A"), thing("b", 2, "B"), thing("c", 3, "C"))
    server.answers(
        before, gone, page(30, thing("a", 1, "A"), thing("b", 25, "BB"), thing("d", 26, "D")), live
    )
    follower.start()
    assert live.begun.wait(60)
    wait_current(follower)
    assert follower.values == {"a": "A", "b": "BB", "d": "D"}
    assert sorted(follower.changes[:3]) == ["a", "b", "c"]
    assert sorted(follower.changes[3:]) == ["b", "c", "d"]
    assert query(server.requests[3])["resourceVersion"] == "30"


def test_a_version_that_is_always_lost_is_no_storm(server: FakeApiServer, follower: Follower) -> None:
    lists = threading.Semaphore(0)

    def answer(exchange: Exchange) -> None:
        if "watch=1" in exchange.request.target:
            return GONE(exchange)
        lists.release()
        return page(7)(exchange)

    server.answers(answer)
    follower.start()
    assert all(lists.acquire(timeout=30.0) for _ in range(3))
    # 25 ms to 75 ms, then 50 ms to 150 ms: what is asked without a pause is asked hundreds of times.
    assert len(server.requests) < 10


@pytest.mark.parametrize("answer", [hang_up, FORBIDDEN, short_watch, body_answer(200, b"")], ids=range(4))
def test_a_watch_that_never_lasts_is_no_storm(
    server: FakeApiServer, follower: Follower, answer: Answer
) -> None:
    watches = threading.Semaphore(0)

    def answer_all(exchange: Exchange) -> None:
        if "watch=1" in exchange.request.target:
            watches.release()
            return answer(exchange)
        return page(7)(exchange)

    server.answers(answer_all)
    follower.start()
    assert all(watches.acquire(timeout=30.0) for _ in range(3))
    assert len(server.requests) < 10
    wait_until(lambda: follower.watched.problem and not follower.watched.is_current, "it is known")


def test_a_problem_is_told_once_until_it_is_over(
    server: FakeApiServer, follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveWatch()
    server.answers(page(7), FORBIDDEN, FORBIDDEN, live)
    assert (follower.watched.problem, follower.watched.is_current) == ("", False)
    follower.start()
    wait_until(lambda: follower.watched.problem, "there is a problem")
    assert follower.watched.problem == f"watch {PATH}: you may not"
    assert not follower.watched.is_current
    wait_current(follower)
    assert follower.watched.problem == ""
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_an_api_server_that_is_not_there_is_asked_until_it_is(
    server: FakeApiServer, follower: Follower
) -> None:
    live = LiveWatch()
    server.answers(FORBIDDEN, hang_up, hang_up, hang_up, hang_up, page(7, thing("a", 1, "A")), live)
    follower.start()
    wait_until(lambda: follower.watched.problem, "there is a problem")
    assert not follower.watched.wait_listed(0)
    wait_until(lambda: follower.watched.is_current, "it is there")
    assert follower.watched.wait_listed(0)
    assert follower.values == {"a": "A"}


@pytest.mark.parametrize(
    "document",
    [
        {"items": 5},
        {"items": ["a"]},
        {"items": [{"metadata": {"name": "a"}}]},
        {"items": [{"metadata": 5}]},
    ],
)
def test_a_list_of_another_form_is_a_problem(
    server: FakeApiServer, follower: Follower, document: dict[str, Any]
) -> None:
    live = LiveWatch()
    server.answers(json_answer(200, document), page(7), live)
    follower.start()
    wait_until(lambda: follower.watched.problem, "there is a problem")
    wait_current(follower)


def test_what_we_wrote_ourselves_is_known_at_once_and_no_news(
    server: FakeApiServer, follower: Follower
) -> None:
    live = LiveWatch()
    server.answers(page(7, thing("a", 1, "A")), live)
    follower.start()
    wait_current(follower)
    follower.watched.put(thing("a", 20, "ours"))
    follower.watched.put(thing("b", 21, "ours"))
    assert follower.values == {"a": "ours", "b": "ours"}
    live.tell("MODIFIED", thing("a", 15, "before ours"))
    live.tell("MODIFIED", thing("a", 20, "ours"))
    live.tell("DELETED", thing("b", 19, "before ours"))
    live.tell("ADDED", thing("b", 21, "ours"))
    live.tell("MODIFIED", thing("a", 22, "after ours"))
    wait_until(lambda: follower.values["a"] == "after ours", "the news is taken in")
    assert follower.values["b"] == "ours"
    assert follower.changes == ["a", "a"]


def test_an_answer_that_is_older_than_the_news_is_none(server: FakeApiServer, follower: Follower) -> None:
    live = LiveWatch()
    server.answers(page(7), live)
    follower.start()
    live.tell("ADDED", thing("a", 9, "newer"))
    wait_until(lambda: follower.values, "the news is taken in")
    follower.watched.put(thing("a", 8, "ours"))
    assert follower.values == {"a": "newer"}


def test_what_we_removed_ourselves_is_no_news(server: FakeApiServer, follower: Follower) -> None:
    live = LiveWatch()
    server.answers(page(7, thing("a", 1, "A")), live)
    follower.start()
    wait_current(follower)
    follower.watched.drop(("default", "a"))
    assert follower.watched.get(("default", "a")) is None
    live.tell("DELETED", thing("a", 9, "A"))
    live.tell("ADDED", thing("end", 10))
    wait_until(lambda: "end" in follower.values, "all are taken in")
    assert follower.changes == ["a", "end"]


def test_a_list_does_not_undo_what_we_did_while_it_was_made(
    server: FakeApiServer, follower: Follower
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        asked.set()
        assert go_on.wait(60)
        page(7, thing("a", 1, "A"), thing("b", 2, "B"))(exchange)

    server.answers(slow, LiveWatch())
    follower.start()
    assert asked.wait(60)
    follower.watched.put(thing("a", 8, "ours"))
    follower.watched.put(thing("c", 9, "ours"))
    follower.watched.drop(("default", "b"))
    go_on.set()
    wait_current(follower)
    assert follower.values == {"a": "ours", "c": "ours"}


def test_a_list_by_the_way_is_told_and_the_watch_goes_on_from_it(
    server: FakeApiServer, follower: Follower
) -> None:
    live = LiveWatch()
    server.answers(page(7, thing("a", 1, "A")), live)
    follower.watched.list_now(10.0)
    assert follower.values == {"a": "A"}
    assert not follower.watched.is_current
    follower.start()
    wait_current(follower)
    assert [query(request).get("resourceVersion") for request in server.requests] == [None, "7"]


def test_a_list_by_the_way_is_no_news_to_a_watch_that_works_again(
    server: FakeApiServer, follower: Follower
) -> None:
    live = LiveWatch()
    asked, go_on = threading.Event(), threading.Event()

    def answer(exchange: Exchange) -> None:
        if "watch=1" in exchange.request.target:
            return live(exchange)
        if follower.watched.is_current:
            asked.set()
            assert go_on.wait(60)
        return page(7, thing("a", 1, "A"))(exchange)

    server.answers(answer)
    follower.start()
    wait_current(follower)
    lister = threading.Thread(target=follower.watched.list_now, args=(20.0,))
    lister.start()
    assert asked.wait(60)
    live.tell("DELETED", thing("a", 8, "A"))
    wait_until(lambda: not follower.values, "it is gone")
    go_on.set()
    lister.join()
    assert follower.values == {}


@pytest.mark.parametrize("answers", [(nothing,), (page(7), nothing), (page(7), LiveWatch()), (FORBIDDEN,)])
def test_the_end_comes_wherever_it_is(
    server: FakeApiServer, make_api: MakeApi, answers: tuple[Answer, ...]
) -> None:
    server.answers(*answers)
    api = make_api(server)
    follower = Follower(
        lambda on_change: Watched(
            api, PATH, {}, keep=lambda obj: "", on_change=on_change, watch_seconds=100.0
        )
    )
    follower.start()
    wait_until(lambda: len(server.requests) >= len(answers), "it is there")
    # As the room does it.
    follower.watched.close()
    api.close()
    follower.close()


def test_only_what_is_kept_stays(server: FakeApiServer, follower: Follower) -> None:
    live = LiveWatch()
    server.answers(page(7, thing("a", 1, "A")), live)
    follower.start()
    live.tell("MODIFIED", thing("a", 8, "AA"))
    live.tell("ADDED", thing("b", 9, "B"))
    wait_until(lambda: follower.values == {"a": "AA", "b": "B"}, "all are taken in")

    def left() -> list[object]:
        return [obj for obj in gc.get_objects() if type(obj) is dict and "ballast" in obj]

    wait_until(lambda: not left(), "nothing of it stays")


def test_what_is_kept_is_what_was_said(server: FakeApiServer, follower: Follower) -> None:
    live = LiveWatch()
    server.answers(page(7), live)
    follower.start()
    text = "ü" * 1_000_000
    whole = json.dumps({"type": "ADDED", "object": thing("a", 8, text)}, ensure_ascii=False).encode() + b"\n"
    for start in range(0, len(whole), 100_001):
        live.send(whole[start : start + 100_001])
    wait_until(lambda: follower.values == {"a": text}, "it is whole")
