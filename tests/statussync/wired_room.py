"""The room without its socket and threads: a test does what threads would, and tells the time."""

from collections.abc import Collection, Iterator

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.controller import Controller
from sidecars.statussync.metrics import SyncMetrics
from sidecars.statussync.pod_events import PodEvents
from sidecars.statussync.problems import ProblemBoard
from sidecars.statussync.reconcile import Reconciler
from sidecars.statussync.refresh_asks import RefreshAsks
from sidecars.statussync.volume_set import VolumeSet
from sidecars.statussync.work_queue import WorkQueue
from sscsi.core.published_volume import PublishedVolume, VolumeChange
from sscsi.core.refresh_ask import RefreshAsk
from sscsi.errors import RoomUnavailableError
from sscsi.ports import Cluster, ObjectKey, VolumeFiles
from tests.statussync.making import RULES


class Time:
    """Seconds, which go on when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class AskedNode:
    """The node room: `asked` lists every set of wishes that it was told. It hears nothing while it `is_away`."""

    def __init__(self) -> None:
        self.asked: list[list[RefreshAsk]] = []
        self.is_away = False

    def watch(self) -> Iterator[VolumeChange]:
        raise NotImplementedError("tests tell of changes themselves")

    def ask_refresh(self, asks: Collection[RefreshAsk]) -> None:
        if self.is_away:
            raise RoomUnavailableError("the node room is away")
        self.asked.append(list(asks))

    def close(self) -> None:
        self.is_away = True


class WiredRoom:
    """The parts of the room on one clock, as StatusSyncRoom puts them together."""

    def __init__(
        self, cluster: Cluster, files: VolumeFiles, *, node_id: str = "node-1", time: Time | None = None
    ) -> None:
        self.time = time or Time()
        self.volumes = VolumeSet(self.time)
        self.queue: WorkQueue[ObjectKey] = WorkQueue(clock=self.time)
        self.problems = ProblemBoard()
        self.catalogue = catalogue = ClassCatalogue(cluster)
        self.metrics = SyncMetrics()
        reconciler = Reconciler(
            volumes=self.volumes,
            catalogue=catalogue,
            cluster=cluster,
            files=files,
            rules=RULES,
            metrics=self.metrics,
            node_id=node_id,
        )
        self.node = AskedNode()
        self.asks = RefreshAsks(
            volumes=self.volumes,
            catalogue=catalogue,
            cluster=cluster,
            feed=self.node,
            problems=self.problems,
        )
        self.controller = Controller(
            volumes=self.volumes,
            catalogue=catalogue,
            reconciler=reconciler,
            queue=self.queue,
            problems=self.problems,
            events=PodEvents(volumes=self.volumes, catalogue=catalogue, tell=cluster.tell, clock=self.time),
            clock=self.time,
        )

    def work(self) -> None:
        """Work off what is due now."""
        for _ in range(1000):
            key = self.queue.take_due()
            if key is None:
                return
            self.controller.work(key)
        raise AssertionError("the queue never empties")

    def snapshot(self, *volumes: PublishedVolume) -> None:
        self._change(VolumeChange(snapshot=True, volumes=volumes, removed_target_paths=()))

    def put(self, *volumes: PublishedVolume) -> None:
        self._change(VolumeChange(snapshot=False, volumes=volumes, removed_target_paths=()))

    def remove(self, *volumes: PublishedVolume) -> None:
        paths = tuple(volume.target_path for volume in volumes)
        self._change(VolumeChange(snapshot=False, volumes=(), removed_target_paths=paths))

    def poll(self) -> None:
        self.controller.poll_classes()
        self.asks.look()
        self.work()

    def ensure(self, volume: PublishedVolume, seconds: float = 2.0) -> list[str]:
        return self.controller.ensure_secrets(volume, timeout_seconds=seconds)

    def wait(self, seconds: float) -> None:
        self.time.now += seconds
        self.work()

    def _change(self, change: VolumeChange) -> None:
        self.controller.on_change(change)
        if change.snapshot:
            self.asks.node_is_new()
        self.work()
