"""How Events are written, and what becomes of them when they can't be: the API server's part is played here."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sidecars.statussync.kube.api_errors import UNREACHABLE, ApiError
from sidecars.statussync.kube.event_correlation import BURST
from sidecars.statussync.kube.events import MAX_WAITING, KubeEvents
from sidecars.statussync.metrics import SyncMetrics
from sscsi.core.prometheus import text
from sscsi.errors import ClusterUnavailableError
from tests.livenessprobe.metrics_text import named, parse
from tests.statussync.making import make_event
from tests.support.waiting import wait_until

EVENTS = "/api/v1/namespaces/default/events"
AWAY = ApiError("no answer", code=0, reason=UNREACHABLE)
FORBIDDEN = ApiError("forbidden", code=403, reason="Forbidden")
NOT_FOUND = ApiError("not found", code=404, reason="NotFound")
CONFLICT = ApiError("it is there", code=409, reason="AlreadyExists")
INVALID = ApiError("invalid", code=422, reason="Invalid")


class FakeApi:
    """Notes the calls; `errors` are raised by the next ones, the last of them for ever when `goes_on`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.errors: list[Exception] = []
        self.goes_on = False
        self.pauses: list[float] = []
        self.hold: threading.Event | None = None

    def call(
        self,
        method: str,
        path: str,
        *,
        body: object,
        content_type: str,
        timeout_seconds: float,
        gives_way: bool,
    ) -> dict[str, Any]:
        assert gives_way
        assert content_type
        assert timeout_seconds
        self.calls.append((method, path, body))
        if self.hold is not None:
            self.hold.wait(10.0)
        if self.errors:
            raise self.errors[0] if self.goes_on and len(self.errors) == 1 else self.errors.pop(0)
        return {}

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @property
    def verbs(self) -> list[str]:
        return [method for method, _, _ in self.calls]


class Place:
    def __init__(self) -> None:
        self.now = 0.0
        self.api = FakeApi()
        self.metrics = SyncMetrics()
        self.events = KubeEvents(
            self.api,
            "node-1",
            metrics=self.metrics,
            clock=lambda: self.now,
            wall_clock=lambda: 1_764_000_000.0 + self.now,
        )

    def write(self, **changes: Any) -> None:
        self.events.tell(make_event(**changes))
        assert self.events.write_next()

    @property
    def counted(self) -> tuple[float, float]:
        """Events that were written, and those that were dropped."""
        samples = parse(text(self.metrics.families(queue_depth=0, problems=0)))
        written, dropped = (named(samples, "sscsi_events_total", result=r) for r in ("written", "dropped"))
        return written, dropped


@pytest.fixture
def place() -> Place:
    return Place()


def test_an_event_is_a_warning_about_the_pod(place: Place) -> None:
    place.write()
    ((method, path, body),) = place.api.calls
    assert (method, path) == ("POST", EVENTS)
    assert body.pop("metadata")["namespace"] == "default"
    assert body == {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "default",
            "name": "web",
            "uid": "uid-1",
        },
        "type": "Warning",
        "reason": "FailedToMountSecrets",
        "message": "no",
        "count": 1,
        "firstTimestamp": "2025-11-24T16:00:00Z",
        "lastTimestamp": "2025-11-24T16:00:00Z",
        "source": {"component": "csi-secrets-store-controller", "host": "node-1"},
        "reportingComponent": "secrets-store.csi.k8s.io",
        "reportingInstance": "node-1",
    }


def test_an_equal_event_is_counted_up(place: Place) -> None:
    place.write()
    place.now = 90.0
    place.write()
    (_, _, made), (method, path, patch) = place.api.calls
    assert (method, path) == ("PATCH", f"{EVENTS}/{made['metadata']['name']}")
    assert patch == {"count": 2, "lastTimestamp": "2025-11-24T16:01:30Z", "message": "no"}


def test_an_event_that_the_api_has_forgotten_is_made_again_with_its_count(place: Place) -> None:
    place.write()
    place.api.errors = [NOT_FOUND]
    place.write()
    assert place.api.verbs == ["POST", "PATCH", "POST"]
    assert place.api.calls[-1][2]["count"] == 2


def test_an_event_that_was_made_by_a_try_without_an_answer_is_not_made_twice(place: Place) -> None:
    place.api.errors = [AWAY, CONFLICT]
    place.write()
    first, second = (body["metadata"]["name"] for _, _, body in place.api.calls)
    assert first == second
    place.write()
    assert place.api.verbs == ["POST", "POST", "PATCH"]


def test_an_api_that_is_away_is_tried_three_times_and_then_once_an_event(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.api.errors, place.api.goes_on = [AWAY], True
    place.write()
    assert place.api.verbs == ["POST"] * 3
    assert len(place.api.pauses) == 2
    for number in range(5):
        place.write(pod_uid=str(number))
    assert place.api.verbs == ["POST"] * 8
    assert len(caplog.records) == 1
    assert place.counted == (0, 6)
    place.api.errors = []
    place.write()
    assert place.api.calls[-1][2]["count"] == 2
    assert place.counted == (1, 6)


@pytest.mark.parametrize("error", [INVALID, NOT_FOUND])
def test_what_the_api_will_never_take_is_tried_once(place: Place, error: ApiError) -> None:
    place.api.errors = [error]
    place.write()
    assert place.api.verbs == ["POST"]
    assert not place.api.pauses
    assert place.counted == (0, 1)


def test_other_requests_go_first(place: Place) -> None:
    place.api.errors = [ClusterUnavailableError("other requests go first")]
    place.write()
    assert place.api.verbs == ["POST", "POST"]
    assert len(place.api.pauses) == 1


def test_without_the_right_a_namespace_is_left_alone_for_five_minutes(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.api.errors, place.api.goes_on = [FORBIDDEN], True
    for number in range(10):
        place.write(pod_uid=str(number))
    place.write(pod_namespace="other")
    assert [path for _, path, _ in place.api.calls] == [EVENTS] * 3 + ["/api/v1/namespaces/other/events"] * 3
    assert len(caplog.records) == 1
    assert "secretproviderclasses-role" in str(caplog.records[0].__dict__["reason"])
    # Those that nobody tried are dropped like the others.
    assert place.counted == (0, 11)
    place.now = 301.0
    place.api.errors = []
    place.write()
    assert place.api.verbs == ["POST"] * 7
    assert place.counted == (1, 11)


def test_an_api_that_does_not_know_the_roles_yet_is_asked_again(place: Place) -> None:
    place.api.errors = [AWAY, AWAY, AWAY, FORBIDDEN]
    place.write()
    place.write(pod_uid="2")
    assert place.api.verbs == ["POST"] * 5
    assert len(place.api.pauses) == 3


def test_a_message_is_one_line_of_a_kibibyte(place: Place) -> None:
    place.write(message="first\nsecond\x1b" + "ü" * 2000)
    message = place.api.calls[0][2]["message"]
    assert message.startswith("first second ")
    assert len(message.encode()) <= 1024


def test_a_name_from_the_pod_is_quoted_in_the_path(place: Place) -> None:
    place.write(pod_namespace="../../x")
    assert place.api.calls[0][1] == "/api/v1/namespaces/..%2F..%2Fx/events"


def test_an_event_beyond_the_pods_share_is_dropped(place: Place) -> None:
    for number in range(BURST + 3):
        place.write(reason=f"Reason{number}")
    assert len(place.api.calls) == BURST
    assert place.counted == (BURST, 3)


class TestThread:
    @pytest.fixture
    def running(self, place: Place) -> Iterator[Place]:
        place.events.start()
        yield place
        place.events.close()
        wait_until(
            lambda: "events" not in {thread.name for thread in threading.enumerate()}, "the thread has ended"
        )

    def test_telling_never_waits_and_what_waits_is_bounded(self, running: Place) -> None:
        running.api.hold = threading.Event()
        running.events.tell(make_event())
        wait_until(lambda: running.api.calls, "the first is being written")
        for number in range(1000):
            running.events.tell(make_event(pod_uid=str(number)))
        running.api.hold.set()
        wait_until(lambda: len(running.api.calls) == MAX_WAITING + 1, "the rest is written")
        assert running.api.calls[-1][2]["involvedObject"]["uid"] == "999"
        wait_until(
            lambda: running.counted == (MAX_WAITING + 1, 1000 - MAX_WAITING), "those without a place count"
        )

    def test_a_fault_costs_one_event(self, running: Place) -> None:
        running.api.errors = [ZeroDivisionError()]
        running.events.tell(make_event())
        running.events.tell(make_event(pod_uid="2"))
        wait_until(lambda: len(running.api.calls) == 2, "the second is written")
        wait_until(lambda: running.counted == (1, 1), "both are counted")
