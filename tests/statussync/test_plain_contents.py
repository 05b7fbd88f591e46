"""A refresh of plain files has Secrets looked at when the files are others, and costs the cluster nothing when they are not."""

import base64
import dataclasses
from typing import Any

import pytest

from sscsi.core.published_volume import PublishedVolume
from sscsi.core.secret_data import KIND as SECRET_KIND
from sscsi.core.secret_data import MAX_SECRET_BYTES
from sscsi.ports import ClusterObject, ObjectKey
from tests.fakes.fake_cluster import FakeCluster
from tests.fakes.fake_volume_files import FakeVolumeFiles
from tests.statussync.making import make_class, make_secret_object, make_volume
from tests.statussync.wired_room import WiredRoom

APP = ("default", "app")
SECRET = ObjectKey(SECRET_KIND, "default", "db")


class LookedAt(FakeCluster):
    """It counts how often it was looked at an object, written or not."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[ObjectKey] = []

    def apply(self, wanted: ClusterObject) -> bool:
        self.looks.append(wanted.key)
        return super().apply(wanted)


class Place(WiredRoom):
    """The room with one volume of plain files, whose class asks for a Secret of `password`."""

    def __init__(self) -> None:
        self.cluster = LookedAt()
        self.cluster.classes[APP] = make_class(make_secret_object("db", "Opaque", k="password"))
        self.files = FakeVolumeFiles()
        super().__init__(self.cluster, self.files)
        self.volume = make_volume(data_directory="")
        self.files.put(self.volume, password=b"1", other=b"x")

    def refresh(self, **changes: Any) -> list[ObjectKey]:
        """The provider was asked again; what was looked at for that."""
        self.cluster.looks.clear()
        self.volume = dataclasses.replace(
            self.volume,
            last_attempt_time=self.volume.last_attempt_time + 60.0,
            last_success_time=self.volume.last_attempt_time + 60.0,
            **changes,
        )
        self.put(self.volume)
        return self.cluster.looks

    def content(self) -> bytes:
        data: Any = self.cluster.objects[SECRET]["data"]
        return base64.b64decode(data["k"])


@pytest.fixture
def place() -> Place:
    place = Place()
    place.snapshot(place.volume)
    return place


def test_files_that_stay_as_they_are_cost_nothing(place: Place) -> None:
    assert place.content() == b"1"
    assert [place.refresh() for _ in range(3)] == [[], [], []]


def test_files_that_are_others_have_the_secret_follow_at_once(place: Place) -> None:
    place.files.put(place.volume, password=b"2")
    assert SECRET in place.refresh()
    assert place.content() == b"2"
    assert place.refresh() == []


def test_files_that_no_secret_is_made_of_do_not_count(place: Place) -> None:
    place.files.put(place.volume, password=b"1", other=b"y")
    assert place.refresh() == []
    place.cluster.classes[APP] = make_class(make_secret_object("db", "Opaque"))
    place.poll()
    place.refresh()
    place.files.put(place.volume, password=b"1", other=b"z")
    assert SECRET in place.refresh()


def test_a_class_without_secrets_has_no_file_read(place: Place) -> None:
    place.cluster.classes[APP] = make_class()
    place.poll()
    reads = place.files.reads
    assert place.refresh() == []
    assert place.files.reads == reads


@pytest.mark.parametrize("content", [{}, {"password": b"x" * (MAX_SECRET_BYTES + 1)}])
def test_what_cannot_be_read_as_a_whole_is_looked_at_and_told(
    place: Place, content: dict[str, bytes]
) -> None:
    if content:
        place.files.put(place.volume, **content)
    else:
        del place.files.contents[place.volume.target_path]
    place.refresh()
    assert any("db" in problem for problem in place.problems.present(10))
    place.files.put(place.volume, password=b"3")
    place.refresh()
    assert place.content() == b"3"
    assert place.problems.count == 0


def test_a_volume_that_is_gone_is_forgotten(place: Place) -> None:
    volume: PublishedVolume = place.volume
    place.remove(volume)
    assert SECRET not in place.cluster.objects
    place.put(volume)
    assert place.content() == b"1"
    assert place.refresh() == []
