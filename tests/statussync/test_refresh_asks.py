"""The node room knows what annotations ask for: of classes in use and of pods with volumes here, and of nothing else."""

import threading
from collections.abc import Collection, Iterator

import pytest

from sidecars.statussync.refresh_asks import RefreshAsks
from sscsi.core.annotations import MAX_ASK, REFRESH_AT
from sscsi.core.published_volume import VolumeChange
from sscsi.core.refresh_ask import RefreshAsk
from sscsi.errors import RoomUnavailableError
from tests.fakes.fake_cluster import FakeCluster
from tests.fakes.fake_volume_files import FakeVolumeFiles
from tests.statussync.making import make_class, make_volume
from tests.statussync.wired_room import WiredRoom
from tests.support.waiting import wait_until

APP = ("default", "app")
WEB = ("default", "web", "uid-1")
CLASS_ASK = RefreshAsk(namespace="default", class_name="app", value="1")
POD_ASK = RefreshAsk(namespace="default", pod_name="web", pod_uid="uid-1", value="1")


class Place(WiredRoom):
    """The room with a class `app`, on volumes without files."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        super().__init__(self.cluster, FakeVolumeFiles())
        self.annotate_class()

    def annotate_class(self, value: str = "", *, name: str = "app") -> None:
        """Write the annotation of the class; take it away when empty."""
        annotations = {REFRESH_AT: value} if value else {}
        self.cluster.classes["default", name] = make_class(name=name, annotations=annotations)


@pytest.fixture
def place() -> Place:
    return Place()


def test_before_the_first_snapshot_nobody_is_told_anything(place: Place) -> None:
    place.annotate_class("1")
    place.put(make_volume())
    place.poll()
    assert place.node.asked == []
    place.snapshot(make_volume())
    place.poll()
    assert place.node.asked == [[CLASS_ASK]]


def test_an_annotation_of_a_class_is_told_once_and_again_when_it_changes_or_goes(place: Place) -> None:
    place.snapshot(make_volume())
    place.poll()
    place.annotate_class("1")
    for _ in range(3):
        place.poll()
    place.annotate_class("2")
    place.poll()
    place.annotate_class()
    place.poll()
    asked_anew = RefreshAsk(namespace="default", class_name="app", value="2")
    assert place.node.asked == [[], [CLASS_ASK], [asked_anew], []]


def test_an_annotation_of_a_pod_is_told_as_one_of_a_class_is(place: Place) -> None:
    place.snapshot(make_volume())
    place.poll()
    place.cluster.pod_annotations[WEB] = "1"
    place.poll()
    place.poll()
    del place.cluster.pod_annotations[WEB]
    place.poll()
    assert place.node.asked == [[], [POD_ASK], []]


def test_only_classes_in_use_and_pods_with_volumes_count(place: Place) -> None:
    place.annotate_class("1")
    place.annotate_class("1", name="unused")
    place.cluster.pod_annotations |= {WEB: "1", ("default", "web", "uid-of-another"): "1"}
    volume = make_volume()
    place.snapshot(volume)
    place.poll()
    place.remove(volume)
    place.poll()
    assert place.node.asked == [[POD_ASK, CLASS_ASK], []]


def test_a_value_is_cut_and_an_empty_one_asks_for_nothing(place: Place) -> None:
    place.annotate_class("x" * 1000)
    place.cluster.pod_annotations[WEB] = ""
    place.snapshot(make_volume())
    place.poll()
    assert [ask.value for ask in place.node.asked[0]] == ["x" * MAX_ASK]


def test_each_snapshot_has_everything_told_again_also_that_there_is_nothing(place: Place) -> None:
    volume = make_volume()
    for value in ("", "1"):
        place.annotate_class(value)
        place.snapshot(volume)
        place.poll()
        place.snapshot(volume)
        place.poll()
    assert place.node.asked == [[], [], [CLASS_ASK], [CLASS_ASK]]


def test_what_could_not_be_told_is_told_as_it_is_then(place: Place) -> None:
    place.annotate_class("0")
    place.snapshot(make_volume())
    place.node.is_away = True
    with pytest.raises(RoomUnavailableError):
        place.poll()
    place.annotate_class("1")
    place.node.is_away = False
    place.poll()
    assert place.node.asked == [[CLASS_ASK]]


def test_while_the_cluster_is_away_the_wishes_of_classes_stay(place: Place) -> None:
    place.annotate_class("1")
    place.snapshot(make_volume())
    place.poll()
    place.cluster.is_away = True
    place.asks.node_is_new()
    place.asks.look()
    assert place.node.asked == [[CLASS_ASK], [CLASS_ASK]]


def test_without_the_right_to_know_pods_classes_count_and_the_problem_is_shown_until_it_is_over(
    place: Place,
) -> None:
    place.annotate_class("1")
    place.cluster.pod_annotations[WEB] = "1"
    place.cluster.knows_pods = False
    place.snapshot(make_volume())
    place.poll()
    place.poll()
    assert place.node.asked == [[CLASS_ASK]]
    assert place.problems.present(10) == ["Annotations of pods: pods is forbidden; ask for the right"]
    # A sweep looks at every problem's object, of which this has none.
    place.snapshot(make_volume())
    assert place.problems.count == 1
    place.cluster.knows_pods = True
    place.poll()
    assert place.node.asked[-1] == [POD_ASK, CLASS_ASK]
    assert place.problems.count == 0


class HangingNode:
    """A node room whose answers to wishes a test lets through."""

    def __init__(self) -> None:
        self.calls = 0
        self.answers = threading.Event()
        self.is_away = False

    def watch(self) -> Iterator[VolumeChange]:
        raise NotImplementedError("tests tell of changes themselves")

    def ask_refresh(self, asks: Collection[RefreshAsk]) -> None:
        self.calls += 1
        self.answers.wait()
        if self.is_away:
            raise RoomUnavailableError("away")

    def close(self) -> None:
        self.answers.set()


def test_a_node_room_that_hangs_holds_up_nobody_but_the_thread_that_asks(place: Place) -> None:
    node = HangingNode()
    asks = RefreshAsks(
        volumes=place.volumes,
        catalogue=place.catalogue,
        cluster=place.cluster,
        feed=node,
        problems=place.problems,
    )
    place.annotate_class("1")
    place.snapshot(make_volume())
    stop = threading.Event()
    asking = threading.Thread(target=asks.run, args=(stop,))
    asking.start()
    try:
        asks.wake()
        wait_until(lambda: node.calls == 1, "it asks")
        # Would wait for ever if it waited for the answer.
        for _ in range(10):
            asks.wake()
            asks.node_is_new()
        node.is_away = True
        node.answers.set()
        wait_until(lambda: node.calls > 2, "it asks again by itself")
    finally:
        stop.set()
        node.close()
        asks.wake()
        asking.join(60)
    assert not asking.is_alive()
