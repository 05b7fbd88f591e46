"""The room, put together from its parts, from its first socket to its last thread."""

import logging
import os
import threading
import time
from collections.abc import Sequence

import grpc

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.classes_service import ClassesService
from sidecars.statussync.controller import Controller
from sidecars.statussync.installation import InstallationCheck
from sidecars.statussync.metrics import SyncMetrics
from sidecars.statussync.pod_events import PodEvents
from sidecars.statussync.problems import ProblemBoard
from sidecars.statussync.reconcile import Reconciler
from sidecars.statussync.refresh_asks import RefreshAsks
from sidecars.statussync.volume_set import VolumeSet
from sidecars.statussync.watch import VolumeWatch, poll_classes
from sidecars.statussync.work_queue import WorkQueue
from sscsi.core import log_keys, run_files
from sscsi.core.prometheus import Family
from sscsi.core.published_volume import VolumeChange
from sscsi.core.room_status import RoomStatus
from sscsi.core.secret_data import SecretRules
from sscsi.edges.csi_identity import IdentityCalls
from sscsi.edges.grpc_status import CLASSES_CODES, StatusInterceptor
from sscsi.edges.room_status import state_server
from sscsi.edges.unix_socket import SocketServer
from sscsi.pb import sscsi_pb2_grpc
from sscsi.ports import Cluster, ObjectKey, VolumeFeed, VolumeFiles
from sscsi.process.thread_pool import BlockingAwarePool

log = logging.getLogger(__name__)

_SOCKET_MODE = 0o600
_RUNNING_LIMIT = 4
_WATCHDOG_SECONDS = 1.0
_SHOWN_PROBLEMS = 10
_NAME_SECONDS = 5.0
# For calls that are broken off to find out.
_CANCEL_SECONDS = 0.5


class StatusSyncRoom:
    """Everything between the ports and the socket."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        feed: VolumeFeed,
        files: VolumeFiles,
        rules: SecretRules,
        metrics: SyncMetrics,
        run_directory: str,
        node_id: str,
        stop_grace_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._feed = feed
        self._metrics = metrics
        self._stop_grace_seconds = stop_grace_seconds
        self._volumes = VolumeSet(time.monotonic)
        self._queue: WorkQueue[ObjectKey] = WorkQueue()
        self._problems = ProblemBoard()
        catalogue = ClassCatalogue(cluster)
        reconciler = Reconciler(
            volumes=self._volumes,
            catalogue=catalogue,
            cluster=cluster,
            files=files,
            rules=rules,
            metrics=metrics,
            node_id=node_id,
        )
        self._controller = Controller(
            volumes=self._volumes,
            catalogue=catalogue,
            reconciler=reconciler,
            queue=self._queue,
            problems=self._problems,
            events=PodEvents(volumes=self._volumes, catalogue=catalogue, tell=cluster.tell),
        )
        self._asks = RefreshAsks(
            volumes=self._volumes, catalogue=catalogue, cluster=cluster, feed=feed, problems=self._problems
        )
        self._identity = IdentityCalls(os.path.join(run_directory, run_files.PROBE))
        self._installation = InstallationCheck(
            cluster, self._problems, lambda: self._identity.driver_name(timeout_seconds=_NAME_SECONDS)
        )
        self._watch = VolumeWatch(feed, self._on_change, self._volumes.unheard)
        self._pool = BlockingAwarePool("rpc", running_limit=_RUNNING_LIMIT)
        self._classes_service = ClassesService(cluster, self._controller, self._pool.blocked)
        self._state_server = state_server(run_directory, "statussync", self._look, self._families)
        self._server = SocketServer(
            os.path.join(run_directory, run_files.STATUSSYNC),
            mode=_SOCKET_MODE,
            add_services=self._add_services,
            pool=self._pool,
            interceptors=[StatusInterceptor(CLASSES_CODES)],
        )

    def run(self, stop: threading.Event) -> int:
        """Serve until `stop` is set; the exit code. Raises ConfigError."""
        if not self._state_server.serve(stop) or not self._server.serve(stop):
            self._leave([], stop)
            return 0
        threads = [
            threading.Thread(target=self._watch.run, args=(stop,), name="volume-watch", daemon=True),
            threading.Thread(
                target=poll_classes,
                args=(self._poll, stop),
                name="class-poll",
                daemon=True,
            ),
            threading.Thread(target=self._asks.run, args=(stop,), name="refresh-asks", daemon=True),
            threading.Thread(target=self._installation.run, args=(stop,), name="installation", daemon=True),
            threading.Thread(target=self._controller.run_worker, name="worker", daemon=True),
        ]
        self._cluster.start(self._controller.object_changed, self._controller.cluster_returned)
        for thread in threads:
            thread.start()
        code = self._stay(threads, stop)
        self._leave(threads, stop)
        return code

    def _on_change(self, change: VolumeChange) -> None:
        self._controller.on_change(change)
        if change.snapshot:
            self._asks.node_is_new()

    def _poll(self) -> None:
        try:
            self._controller.poll_classes()
        finally:
            self._asks.wake()

    def _stay(self, threads: Sequence[threading.Thread], stop: threading.Event) -> int:
        """Until asked to stop, or until something that must not happen did."""
        while not stop.wait(_WATCHDOG_SECONDS):
            for server in (self._server, self._state_server):
                if not server.is_ours():
                    log.error("the socket was replaced", extra={log_keys.PATH: server.path})
                    return 1
            ended = [thread.name for thread in threads if not thread.is_alive()]
            if ended and not stop.is_set():
                log.error("a thread ended unasked", extra={log_keys.REASON: ended[0]})
                return 1
        return 0

    def _leave(self, threads: Sequence[threading.Thread], stop: threading.Event) -> None:
        deadline = time.monotonic() + self._stop_grace_seconds
        answered = self._server.stop_accepting(self._stop_grace_seconds)
        stop.set()
        self._feed.close()
        self._asks.wake()
        self._identity.close()
        self._queue.close()
        self._cluster.stop()
        for thread in threads:
            # One that waits for an API server which does not answer is not waited for; nor is a call, below.
            thread.join(max(deadline - time.monotonic(), 0.0))
        answered.wait(max(deadline - time.monotonic(), 0.0) + _CANCEL_SECONDS)
        self._state_server.stop_accepting(0).wait()
        for server in (self._server, self._state_server):
            server.close()
        self._pool.shutdown(wait=False)

    def _add_services(self, server: grpc.Server) -> None:
        sscsi_pb2_grpc.add_ClassesServicer_to_server(self._classes_service, server)

    def _families(self) -> list[Family]:
        return self._metrics.families(queue_depth=self._queue.depth, problems=self._problems.count)

    def _look(self) -> RoomStatus:
        return RoomStatus(
            state="serving",
            facts={
                "volumes": str(len(self._volumes.all())),
                "queue_depth": str(self._queue.depth),
                "node_connected": str(self._watch.is_connected).lower(),
                "snapshot_seen": str(self._volumes.is_complete).lower(),
                "problems": str(self._problems.count),
                "last_problem": self._problems.last,
            },
            problems=self._problems.present(_SHOWN_PROBLEMS),
        )
