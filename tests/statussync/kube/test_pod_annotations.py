"""What pods ask for: one watch by node, of metadata, while there are pods in use; a missing right is told by whoever asks."""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sidecars.statussync.kube.pod_annotations import KubePodAnnotations
from sidecars.statussync.kube.watched import Terms
from sscsi.core.annotations import REFRESH_AT
from sscsi.errors import ClusterUnavailableError
from tests.statussync.kube.conftest import MakeApi
from tests.statussync.kube.fake_api_server import (
    FakeApiServer,
    LiveWatch,
    Request,
    hang_up,
    json_answer,
    status_answer,
)
from tests.support.waiting import wait_until

WEB = ("default", "web", "uid-1")
FORBIDDEN = status_answer(403, "Forbidden", "pods is forbidden")


def pod(version: int, value: object = None, *, uid: str = "uid-1", name: str = "web") -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "namespace": "default",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
    }
    if value is not None:
        metadata["annotations"] = {REFRESH_AT: value, "other": "x"}
    return {"metadata": metadata}


def page(*pods: dict[str, Any]) -> Any:
    return json_answer(200, {"metadata": {"resourceVersion": "7"}, "items": list(pods)})


def query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}


@pytest.fixture
def pods(server: FakeApiServer, make_api: MakeApi) -> Iterator[KubePodAnnotations]:
    made = KubePodAnnotations(make_api(server), "node-1", watch_seconds=600.0)
    yield made
    made.close()


def wait_for(pods: KubePodAnnotations, *values: str) -> None:
    expected = dict.fromkeys([WEB], values[0]) if values else {}
    wait_until(lambda: pods.asks({WEB}) == expected, f"the pod asks for {values}")


def test_only_metadata_of_the_nodes_pods_is_asked_for_from_the_cache(
    server: FakeApiServer, pods: KubePodAnnotations
) -> None:
    server.answers(page(pod(1, "1")), LiveWatch())
    assert pods.asks(set()) == {}
    assert server.requests == []
    wait_for(pods, "1")
    wait_until(lambda: len(server.requests) == 2, "it is watched")
    listed, watched = server.requests
    assert query(listed) == {"fieldSelector": "spec.nodeName=node-1", "resourceVersion": "0"}
    assert listed.headers["accept"] == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    assert watched.headers["accept"] == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    assert {name: query(watched)[name] for name in ("watch", "fieldSelector", "resourceVersion")} == {
        "watch": "1",
        "fieldSelector": "spec.nodeName=node-1",
        "resourceVersion": "7",
    }


def test_annotations_come_change_and_go(server: FakeApiServer, pods: KubePodAnnotations) -> None:
    live = LiveWatch()
    server.answers(page(pod(1), pod(2, "x", name="other")), live)
    wait_for(pods)
    for version, (value, told) in enumerate(
        [("1", ("1",)), ("2", ("2",)), ("", ()), (7, ()), ("3", ("3",))], start=8
    ):
        live.tell("MODIFIED", pod(version, value))
        wait_for(pods, *told)
    live.tell("DELETED", pod(20, "3"))
    wait_for(pods)
    live.tell("ADDED", pod(21, "4", uid="uid-of-the-next"))
    live.tell("ADDED", pod(22, "5", name="last"))
    last = ("default", "last", "uid-1")
    wait_until(lambda: pods.asks({WEB, last}) == {last: "5"}, "another pod of that name is another")


def test_what_was_known_stays_while_the_api_server_is_away(
    server: FakeApiServer, pods: KubePodAnnotations
) -> None:
    live = LiveWatch()
    server.answers(page(pod(1, "1")), live, hang_up)
    wait_for(pods, "1")
    live.end()
    wait_until(lambda: len(server.requests) >= 3, "it is asked anew")
    assert pods.asks({WEB}) == {WEB: "1"}


def test_a_missing_right_is_told_with_its_cure_and_not_in_the_log(
    server: FakeApiServer, pods: KubePodAnnotations, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers(FORBIDDEN, FORBIDDEN, page(pod(1, "1")), LiveWatch())
    pods.asks({WEB})

    def told() -> str:
        try:
            pods.asks({WEB})
        except ClusterUnavailableError as error:
            return str(error)
        return ""

    wait_until(told, "it is told")
    assert told().startswith(
        "GET /api/v1/pods: pods is forbidden; the service account may not list and watch"
    )
    assert "secretproviderclasses-role" in told()
    wait_until(lambda: not told() and pods.asks({WEB}) == {WEB: "1"}, "the right is there")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("terms", "seconds", "forbidden", "pause"),
    [
        (Terms(), 30.0, True, 30.0),
        (Terms(forbidden_seconds=300.0), 30.0, False, 30.0),
        (Terms(forbidden_seconds=300.0), 16.0, True, 16.0),
        (Terms(forbidden_seconds=300.0), 30.0, True, 300.0),
    ],
)
def test_a_right_that_is_missing_for_long_is_tried_every_few_minutes(
    terms: Terms, seconds: float, pause: float, *, forbidden: bool
) -> None:
    assert terms.pause(seconds, is_forbidden=forbidden) == pause


def test_after_the_last_volume_the_watch_ends_and_the_next_begins_with_a_list(
    server: FakeApiServer, pods: KubePodAnnotations
) -> None:
    live = LiveWatch()
    server.answers(page(pod(1, "1")), live, page(pod(1, "2")), LiveWatch())
    wait_for(pods, "1")
    wait_until(lambda: len(server.requests) == 2, "it is watched")
    assert pods.asks(set()) == {}
    wait_for(pods, "2")
    pods.close()
    assert pods.asks({WEB}) == {}
