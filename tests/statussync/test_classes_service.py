"""`sscsi.v1.Classes` over a real channel: what a caller that is gone leaves behind."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.classes_service import ClassesService
from sidecars.statussync.controller import Controller
from sidecars.statussync.metrics import SyncMetrics
from sidecars.statussync.pod_events import PodEvents
from sidecars.statussync.problems import ProblemBoard
from sidecars.statussync.reconcile import Reconciler
from sidecars.statussync.volume_set import VolumeSet
from sidecars.statussync.work_queue import WorkQueue
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc
from sscsi.ports import ObjectKey
from tests.fakes.fake_cluster import FakeCluster
from tests.fakes.fake_volume_files import FakeVolumeFiles
from tests.statussync.fake_node_room import to_message
from tests.statussync.making import RULES, make_class, make_volume

TIMEOUT_SECONDS = 60.0


class HeldCalls(ClassesService):
    """The service, held back before its work until the test sets `go_on` or the caller is gone."""

    def __init__(self) -> None:
        self.volumes = VolumeSet(lambda: 0.0)
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.answered = threading.Event()
        cluster = FakeCluster()
        cluster.classes["default", "app"] = make_class()
        catalogue = ClassCatalogue(cluster)
        reconciler = Reconciler(
            volumes=self.volumes,
            catalogue=catalogue,
            cluster=cluster,
            files=FakeVolumeFiles(),
            rules=RULES,
            metrics=SyncMetrics(),
            node_id="node-1",
        )
        queue: WorkQueue[ObjectKey] = WorkQueue()
        controller = Controller(
            volumes=self.volumes,
            catalogue=catalogue,
            reconciler=reconciler,
            queue=queue,
            problems=ProblemBoard(),
            events=PodEvents(volumes=self.volumes, catalogue=catalogue, tell=cluster.tell),
        )
        super().__init__(cluster, controller, self._held)

    def EnsureSecrets(
        self, request: sscsi_pb2.EnsureSecretsRequest, context: grpc.ServicerContext
    ) -> sscsi_pb2.EnsureSecretsResponse:
        context.add_callback(self.go_on.set)
        try:
            return super().EnsureSecrets(request, context)
        finally:
            self.answered.set()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        self.begun.set()
        assert self.go_on.wait(TIMEOUT_SECONDS)
        yield


@pytest.fixture
def held() -> HeldCalls:
    return HeldCalls()


@pytest.fixture
def classes(tmp_path: Path, held: HeldCalls) -> Iterator[sscsi_pb2_grpc.ClassesStub]:
    with futures.ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        sscsi_pb2_grpc.add_ClassesServicer_to_server(held, server)
        server.add_insecure_port(f"unix:{tmp_path}/s")
        server.start()
        with grpc.insecure_channel(f"unix:{tmp_path}/s") as channel:
            yield sscsi_pb2_grpc.ClassesStub(channel)
        server.stop(0).wait(TIMEOUT_SECONDS)


def test_a_volume_is_known_as_soon_as_its_secrets_are_asked_for(
    held: HeldCalls, classes: sscsi_pb2_grpc.ClassesStub
) -> None:
    held.go_on.set()
    volume = make_volume()
    request = sscsi_pb2.EnsureSecretsRequest(volume=to_message(volume))
    assert list(classes.EnsureSecrets(request, timeout=TIMEOUT_SECONDS).problems) == []
    assert held.volumes.all() == [volume]


def test_a_caller_that_is_gone_before_its_turn_leaves_no_volume_behind(
    held: HeldCalls, classes: sscsi_pb2_grpc.ClassesStub
) -> None:
    request = sscsi_pb2.EnsureSecretsRequest(volume=to_message(make_volume()))
    call = classes.EnsureSecrets.future(request, timeout=TIMEOUT_SECONDS)
    assert held.begun.wait(TIMEOUT_SECONDS)
    call.cancel()
    assert held.answered.wait(TIMEOUT_SECONDS)
    assert held.volumes.all() == []
