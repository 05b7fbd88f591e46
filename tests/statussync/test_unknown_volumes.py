"""While the node room has mounts that it does not know, nothing of the cluster's is taken for unwanted."""

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.controller import Controller
from sidecars.statussync.metrics import SyncMetrics
from sidecars.statussync.pod_events import PodEvents
from sidecars.statussync.problems import ProblemBoard
from sidecars.statussync.reconcile import Reconciler
from sidecars.statussync.volume_set import VolumeSet
from sidecars.statussync.work_queue import WorkQueue
from sscsi.core.pod_status import KIND as STATUS_KIND
from sscsi.core.pod_status import build_status
from sscsi.core.published_volume import PublishedVolume, VolumeChange
from sscsi.core.secret_data import KIND as SECRET_KIND
from sscsi.ports import ClusterObject, ObjectKey
from tests.fakes.fake_cluster import FakeCluster
from tests.fakes.fake_volume_files import FakeVolumeFiles
from tests.statussync.making import RULES, make_class, make_secret_object, make_volume

OURS = {ObjectKey(STATUS_KIND, "default", "web-default-app"), ObjectKey(SECRET_KIND, "default", "db")}
VOLUME = make_volume()
OTHER = make_volume(pod_name="other", pod_uid="uid-2", class_name="other")
OTHERS = {ObjectKey(STATUS_KIND, "default", "other-default-other")}


class Room:
    """Status-sync without its socket and threads, on a cluster that may outlive it."""

    def __init__(self, cluster: FakeCluster, files: FakeVolumeFiles) -> None:
        volumes, self.queue = VolumeSet(lambda: 0.0), WorkQueue[ObjectKey](clock=lambda: 0.0)
        self.volumes = volumes
        catalogue = ClassCatalogue(cluster)
        reconciler = Reconciler(
            volumes=volumes,
            catalogue=catalogue,
            cluster=cluster,
            files=files,
            rules=RULES,
            metrics=SyncMetrics(),
            node_id="node-1",
        )
        self.controller = Controller(
            volumes=volumes,
            catalogue=catalogue,
            reconciler=reconciler,
            queue=self.queue,
            problems=ProblemBoard(),
            events=PodEvents(volumes=volumes, catalogue=catalogue, tell=cluster.tell),
            clock=lambda: 0.0,
        )

    def hear(
        self, *volumes: PublishedVolume, snapshot: bool = False, unknown: int = 0, removed: str = ""
    ) -> None:
        """One message of the node room, and all work that it makes."""
        paths = (removed,) if removed else ()
        self.controller.on_change(
            VolumeChange(
                snapshot=snapshot, volumes=volumes, removed_target_paths=paths, unknown_volumes=unknown
            )
        )
        self.work()

    def work(self) -> None:
        while (key := self.queue.take_due()) is not None:
            self.controller.work(key)


class Place:
    """A cluster with a volume's objects in it, and the room that made them."""

    def __init__(self) -> None:
        self.cluster, self.files = FakeCluster(), FakeVolumeFiles()
        self.cluster.classes["default", "app"] = make_class(make_secret_object("db", "Opaque", k="password"))
        self.cluster.classes["default", "other"] = make_class(name="other")
        for volume in (VOLUME, OTHER):
            self.files.put(volume, password=b"s3cret")
        self.room = Room(self.cluster, self.files)
        self.room.hear(VOLUME, OTHER, snapshot=True)
        assert self.objects() == OURS | OTHERS

    def objects(self) -> set[ObjectKey]:
        return set(self.cluster.objects)

    def restart(self) -> None:
        """Status-sync starts anew, which happens when the whole appliance does."""
        self.room = Room(self.cluster, self.files)


def test_a_node_room_that_lost_its_records_costs_no_object_though_status_sync_knew_the_volumes() -> None:
    place = Place()
    place.room.hear(snapshot=True, unknown=2)
    assert place.objects() == OURS | OTHERS
    place.room.controller.poll_classes()
    place.room.work()
    assert place.objects() == OURS | OTHERS


def test_while_the_node_room_is_not_heard_what_another_driver_writes_stays() -> None:
    """Upstream's, beside ours by mistake: it has taken the CSI socket, and mounts what the node room can't know."""
    place = Place()
    third = make_volume(pod_name="third", pod_uid="uid-3", class_name="other")
    key = ObjectKey(STATUS_KIND, "default", "third-default-other")
    place.room.volumes.unheard()
    place.cluster.apply(ClusterObject(key=key, manifest=build_status([third], node_id="node-1", synced=None)))
    place.room.controller.object_changed(key)
    place.room.work()
    assert place.objects() == OURS | OTHERS | {key}
    place.room.hear(VOLUME, OTHER, snapshot=True)
    assert place.objects() == OURS | OTHERS


def test_nor_when_both_rooms_start_anew() -> None:
    place = Place()
    place.restart()
    place.room.hear(snapshot=True, unknown=2)
    assert place.objects() == OURS | OTHERS


def test_when_the_last_unknown_volume_is_adopted_what_nobody_wants_goes() -> None:
    place = Place()
    place.room.hear(OTHER, snapshot=True, unknown=1)
    assert place.objects() == OURS | OTHERS
    # What was counted is one more volume of the same kind: the objects of VOLUME are nobody's now.
    place.room.hear(make_volume(pod_name="third", pod_uid="uid-3", class_name="other"))
    assert place.objects() == OTHERS | {ObjectKey(STATUS_KIND, "default", "third-default-other")}


def test_when_the_last_unknown_volume_is_unpublished_its_objects_go() -> None:
    place = Place()
    place.room.hear(OTHER, snapshot=True, unknown=1)
    place.room.hear(removed=VOLUME.target_path)
    assert place.objects() == OTHERS


def test_adopting_one_of_two_frees_nothing_yet() -> None:
    place = Place()
    place.restart()
    place.room.hear(snapshot=True, unknown=2)
    place.room.hear(OTHER, unknown=1)
    assert place.objects() == OURS | OTHERS
    place.room.hear(VOLUME)
    assert place.objects() == OURS | OTHERS, "both are published"


def test_a_volume_that_is_unpublished_meanwhile_has_its_objects_until_all_are_known() -> None:
    # They may be another volume's too: of the same pod and class, or with the same Secret.
    place = Place()
    place.room.hear(VOLUME, OTHER, snapshot=True, unknown=1)
    place.room.hear(removed=VOLUME.target_path, unknown=1)
    assert place.objects() == OURS | OTHERS
    place.room.hear(OTHER)
    assert place.objects() == OTHERS


def test_what_was_written_goes_on_being_written_while_not_all_are_known() -> None:
    place = Place()
    place.room.hear(snapshot=True, unknown=1)
    new = make_volume(pod_name="new", pod_uid="uid-9")
    place.files.put(new, password=b"newer")
    place.room.hear(new, unknown=1)
    assert ObjectKey(STATUS_KIND, "default", "new-default-app") in place.objects()
