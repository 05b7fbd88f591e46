"""No message of a watch says of more volumes that they are known than have been told of: what is known and not told
of, status-sync takes for gone.
"""

import contextlib
from collections.abc import Iterator
from typing import cast

import grpc

from sscsi.core.volume_record import VolumeRecord
from sscsi.node.volumes import Volumes
from sscsi.node.volumes_service import VolumesService
from sscsi.pb import sscsi_pb2
from tests.fakes.fake_records import FakeRecords
from tests.support.one_record import make_record
from tests.support.refresh_desk import make_desk


class Caller:
    """A watch's caller that is there."""

    def is_active(self) -> bool:
        return True


class AdoptingVolumes(Volumes):
    """One volume is adopted as soon as a snapshot was taken, before it could be sent."""

    def snapshot(self) -> tuple[int, list[VolumeRecord], int]:
        found = super().snapshot()
        self.put(make_record("/a"))
        return found


def watch(volumes: Volumes, *adopted_later: str) -> Iterator[sscsi_pb2.WatchResponse]:
    """A watch; with each wait of it one more volume is adopted, after what was pending was taken."""
    later = list(adopted_later)

    @contextlib.contextmanager
    def waiting() -> Iterator[None]:
        yield
        if later:
            volumes.put(make_record(later.pop(0)))

    service = VolumesService(volumes, make_desk(volumes), waiting)
    return service.Watch(sscsi_pb2.WatchRequest(), cast(grpc.ServicerContext, Caller()))


def known(message: sscsi_pb2.WatchResponse) -> tuple[list[str], int]:
    return [volume.target_path for volume in message.volumes], message.unknown_volumes


def test_a_snapshot_counts_a_volume_as_unknown_that_was_adopted_after_it() -> None:
    volumes = AdoptingVolumes(FakeRecords())
    volumes.note_unknown("/a")
    messages = watch(volumes)
    assert known(next(messages)) == ([], 1)
    assert known(next(messages)) == (["/a"], 0)


def test_a_change_counts_a_volume_as_unknown_that_was_adopted_after_it() -> None:
    volumes = Volumes(FakeRecords())
    volumes.note_unknown("/a")
    volumes.note_unknown("/b")
    messages = watch(volumes, "/b")
    assert known(next(messages)) == ([], 2)
    volumes.put(make_record("/a"))
    assert known(next(messages)) == (["/a"], 1)
    assert known(next(messages)) == (["/b"], 0)


def test_changes_that_go_together_count_what_is_unknown_after_the_last_of_them() -> None:
    volumes = Volumes(FakeRecords())
    for path in ("/a", "/b", "/c"):
        volumes.note_unknown(path)
    messages = watch(volumes)
    assert next(messages).unknown_volumes == 3
    volumes.remove("/c")
    volumes.put(make_record("/a"))
    message = next(messages)
    assert known(message) == (["/a"], 1)
    assert list(message.removed_target_paths) == ["/c"]


def test_to_remove_what_nobody_knows_is_news_only_when_it_was_counted() -> None:
    volumes = Volumes(FakeRecords())
    volumes.note_unknown("/a")
    with volumes.watching() as watcher:
        volumes.remove("/b")
        volumes.remove("/a")
        volumes.remove("/a")
        (change,) = watcher.take(0)
    assert (change.revision, change.target_path, change.record, change.unknown_count) == (1, "/a", None, 0)
