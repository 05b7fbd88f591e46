"""What status-sync counts: Secrets, writes by kind and verb, requests by verb and code."""

import os
from pathlib import Path

import pytest

from sidecars.statussync.directory_cluster import DirectoryCluster
from sidecars.statussync.metrics import DROPPED, WRITTEN, SyncMetrics
from sidecars.statussync.object_files import ObjectFiles
from sscsi.core import pod_status, secret_data
from sscsi.core.prometheus import text
from sscsi.errors import ClusterUnavailableError
from sscsi.ports import ClusterObject, ObjectKey
from tests.fakes.fake_cluster import FakeCluster
from tests.fakes.fake_volume_files import FakeVolumeFiles
from tests.livenessprobe.metrics_text import Samples, named, parse
from tests.statussync.making import make_class, make_secret_object, make_volume
from tests.statussync.wired_room import WiredRoom

SECRET = ObjectKey(secret_data.KIND, "default", "db")
STATUS_PATH = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasspodstatuses"
PROVIDER = "file"
LINUX = frozenset({("os_type", "linux")})


def page(metrics: SyncMetrics) -> Samples:
    return parse(text(metrics.families(queue_depth=3, problems=2)))


def raised(metrics: SyncMetrics, name: str) -> dict[tuple[str, ...], float]:
    """The series of that name that are more than 0, by their label values in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(labels)): number
        for (own, labels), number in page(metrics).items()
        if own == name and number
    }


def test_everything_is_there_before_anything_happens() -> None:
    samples = page(SyncMetrics())
    assert samples["sync_k8s_secret_total", LINUX | {("provider", "")}] == 0
    assert samples["k8s_secret_duration_sec_count", LINUX] == 0
    for kind in (pod_status.KIND, secret_data.KIND, "Event"):
        for verb in ("create", "patch"):
            for result in ("ok", "error"):
                assert named(samples, "sscsi_api_writes_total", kind=kind, verb=verb, result=result) == 0
    assert named(samples, "sscsi_api_writes_total", kind="Secret", verb="delete", result="ok") == 0
    assert named(samples, "sscsi_events_total", result="dropped") == 0
    assert named(samples, "sscsi_queue_depth") == 3
    assert named(samples, "sscsi_sync_problems") == 2


def test_a_secret_is_counted_for_its_provider() -> None:
    metrics = SyncMetrics()
    metrics.secret_written("vault", 0.15)
    samples = page(metrics)
    assert samples["sync_k8s_secret_total", LINUX | {("provider", "vault")}] == 1
    assert samples["k8s_secret_duration_sec_sum", LINUX] == 0.15


def test_events_are_counted() -> None:
    metrics = SyncMetrics()
    metrics.event(WRITTEN)
    metrics.event(DROPPED)
    metrics.event(DROPPED)
    assert raised(metrics, "sscsi_events_total") == {("written",): 1, ("dropped",): 2}


@pytest.mark.parametrize(
    ("method", "target", "code", "request_labels", "write_labels"),
    [
        ("GET", f"{STATUS_PATH}?labelSelector=a/b", 200, ("2xx", "get"), None),
        ("GET", "/api/v1/namespaces/default/secrets/db", 404, ("4xx", "get"), None),
        ("POST", STATUS_PATH, 201, ("2xx", "create"), (pod_status.KIND, "ok", "create")),
        ("POST", STATUS_PATH, 409, ("4xx", "create"), (pod_status.KIND, "error", "create")),
        ("PATCH", f"{STATUS_PATH}/web", 0, ("none", "patch"), (pod_status.KIND, "error", "patch")),
        ("PATCH", "/api/v1/namespaces/n/secrets/db", 200, ("2xx", "patch"), ("Secret", "ok", "patch")),
        ("DELETE", "/api/v1/namespaces/n/secrets/db", 503, ("5xx", "delete"), ("Secret", "error", "delete")),
        ("POST", "/api/v1/namespaces/secrets/events", 201, ("2xx", "create"), ("Event", "ok", "create")),
        ("POST", "/api/v1/namespaces/n/pods", 201, ("2xx", "create"), None),
        ("POST", "/api/v1/namespaces", 999, ("none", "create"), None),
    ],
)
def test_a_request_is_counted_by_verb_and_code_and_a_write_by_kind(
    method: str,
    target: str,
    code: int,
    request_labels: tuple[str, str],
    write_labels: tuple[str, str, str] | None,
) -> None:
    metrics = SyncMetrics()
    metrics.api_request(method, target, code, is_watch=False)
    assert raised(metrics, "sscsi_api_requests_total") == {request_labels: 1}
    assert raised(metrics, "sscsi_api_writes_total") == ({write_labels: 1} if write_labels else {})


def test_a_watch_is_no_get() -> None:
    metrics = SyncMetrics()
    metrics.api_request("GET", STATUS_PATH, 200, is_watch=True)
    assert raised(metrics, "sscsi_api_requests_total") == {("2xx", "watch"): 1}


class TestFiles:
    def test_a_file_is_created_changed_and_removed(self, tmp_path: Path) -> None:
        metrics = SyncMetrics()
        files = ObjectFiles(str(tmp_path / "status"), metrics)
        for data in ("a", "a", "b", "c"):
            files.write(SECRET, {"data": {"k": data}})
        files.remove(SECRET)
        files.remove(SECRET)
        assert raised(metrics, "sscsi_api_writes_total") == {
            ("Secret", "ok", "create"): 1,
            ("Secret", "ok", "patch"): 2,
            ("Secret", "ok", "delete"): 1,
        }

    def test_a_write_that_can_not_be_done_is_an_error(self, tmp_path: Path) -> None:
        metrics = SyncMetrics()
        (tmp_path / "status").write_bytes(b"in the way")
        files = ObjectFiles(str(tmp_path / "status"), metrics)
        with pytest.raises(ClusterUnavailableError):
            files.write(SECRET, {})
        with pytest.raises(ClusterUnavailableError):
            files.remove(SECRET)
        assert raised(metrics, "sscsi_api_writes_total") == {
            ("Secret", "error", "create"): 1,
            ("Secret", "error", "delete"): 1,
        }

    def test_the_cluster_of_files_counts_what_it_writes(self, tmp_path: Path) -> None:
        metrics = SyncMetrics()
        cluster = DirectoryCluster(str(tmp_path), metrics)
        try:
            cluster.apply(ClusterObject(key=SECRET, manifest={"metadata": {"name": "db"}}))
        finally:
            cluster.close()
        assert raised(metrics, "sscsi_api_writes_total") == {("Secret", "ok", "create"): 1}
        assert os.listdir(tmp_path / "status") == ["secrets"]


class TestRoom:
    def test_a_secret_counts_when_it_is_written_and_not_when_it_is_right(self) -> None:
        cluster, files = FakeCluster(), FakeVolumeFiles()
        cluster.classes["default", "app"] = make_class(make_secret_object("db", "Opaque", k="password"))
        room = WiredRoom(cluster, files)
        volume = make_volume()
        files.put(volume, password=b"one")
        room.snapshot(volume)
        room.snapshot(volume)
        assert raised(room.metrics, "sync_k8s_secret_total") == {("linux", PROVIDER): 1}
        files.put(volume, password=b"two")
        room.put(make_volume(object_versions=(("password", "v2"),)))
        assert raised(room.metrics, "sync_k8s_secret_total") == {("linux", PROVIDER): 2}
        assert page(room.metrics)["k8s_secret_duration_sec_count", LINUX] == 2

    def test_a_secret_that_can_not_be_written_does_not_count(self) -> None:
        cluster, files = FakeCluster(), FakeVolumeFiles()
        cluster.classes["default", "app"] = make_class(make_secret_object("db", "Opaque", k="password"))
        room = WiredRoom(cluster, files)
        files.put(make_volume(), other=b"one")
        room.snapshot(make_volume())
        assert raised(room.metrics, "sync_k8s_secret_total") == {}
