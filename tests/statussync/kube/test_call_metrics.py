"""Every request to the API server is counted, each try of it, by what came back."""

import pytest

from sidecars.statussync.kube.api_errors import ApiError
from sidecars.statussync.metrics import SyncMetrics
from sscsi.core.prometheus import text
from tests.livenessprobe.metrics_text import parse
from tests.statussync.kube.conftest import MakeApi
from tests.statussync.kube.fake_api_server import FakeApiServer, hang_up, json_answer, status_answer

SECRETS = "/api/v1/namespaces/default/secrets"
SECONDS = 60.0
OK = json_answer(200, {})
UNAVAILABLE = status_answer(503, "ServiceUnavailable", "later")


@pytest.fixture
def metrics() -> SyncMetrics:
    return SyncMetrics()


def counted(metrics: SyncMetrics, name: str) -> dict[str, float]:
    samples = parse(text(metrics.families(queue_depth=0, problems=0)))
    return {
        " ".join(value for _, value in sorted(labels)): number
        for (own, labels), number in samples.items()
        if own == name and number
    }


def test_each_try_is_counted(server: FakeApiServer, make_api: MakeApi, metrics: SyncMetrics) -> None:
    server.answers(UNAVAILABLE, hang_up, OK)
    make_api(server, metrics=metrics).call("GET", SECRETS, timeout_seconds=SECONDS)
    assert counted(metrics, "sscsi_api_requests_total") == {"5xx get": 1, "none get": 1, "2xx get": 1}
    assert counted(metrics, "sscsi_api_writes_total") == {}


def test_a_write_is_counted_by_its_kind(
    server: FakeApiServer, make_api: MakeApi, metrics: SyncMetrics
) -> None:
    api = make_api(server, metrics=metrics)
    server.answers(OK)
    api.call("POST", SECRETS, body={}, timeout_seconds=SECONDS)
    api.call("PATCH", f"{SECRETS}/db", body={}, timeout_seconds=SECONDS)
    server.answers(status_answer(403, "Forbidden", "no"))
    with pytest.raises(ApiError):
        api.call("PATCH", f"{SECRETS}/db", body={}, timeout_seconds=SECONDS)
    assert counted(metrics, "sscsi_api_writes_total") == {
        "Secret ok create": 1,
        "Secret ok patch": 1,
        "Secret error patch": 1,
    }


def test_a_watch_is_counted_as_one(server: FakeApiServer, make_api: MakeApi, metrics: SyncMetrics) -> None:
    server.answers(status_answer(410, "Expired", "too old"))
    with pytest.raises(ApiError):
        make_api(server, metrics=metrics).watch(SECRETS, query={}, timeout_seconds=SECONDS)
    assert counted(metrics, "sscsi_api_requests_total") == {"4xx watch": 1}
