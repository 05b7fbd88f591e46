"""How long NodeUnpublishVolume waits for a refresh that has the volume in hand: not for a provider, ever."""

import contextlib
from collections.abc import Iterator

import pytest

from sscsi.core.volume_record import ContentFile
from sscsi.errors import VolumeBusyError
from sscsi.node.unpublish import Unpublisher
from sscsi.node.volumes import Volumes
from sscsi.pb import csi_pb2
from tests.fakes.fake_disk import FakeDisk
from tests.fakes.fake_mounter import FakeMounter
from tests.fakes.fake_records import FakeRecords
from tests.fakes.fake_trees import FakeTrees
from tests.support.one_record import make_record

PATH = "/pods/u/mount"
REQUEST = csi_pb2.NodeUnpublishVolumeRequest(volume_id="csi-1", target_path=PATH)


class InHand:
    """A volume that a refresh has in hand until somebody begins to wait for it."""

    def __init__(self, files: tuple[ContentFile, ...]) -> None:
        disk = FakeDisk()
        self.volumes = Volumes(FakeRecords())
        self.volumes.put(make_record(PATH, files=files))
        self.refresh = contextlib.ExitStack()
        self.refresh.enter_context(self.volumes.locked(PATH))
        self.unpublisher = Unpublisher(
            mounter=FakeMounter(disk),
            trees=FakeTrees(disk),
            volumes=self.volumes,
            forget=lambda _: None,
            waiting=self._waiting,
        )

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self.refresh.close()
        yield


def test_a_swap_is_waited_for() -> None:
    in_hand = InHand(files=())
    in_hand.unpublisher.unpublish(REQUEST)
    assert in_hand.volumes.all() == []


def test_a_provider_that_writes_into_the_volume_is_not() -> None:
    """The four threads for what the kernel alone does would all wait, and the probe with them."""
    in_hand = InHand(files=(ContentFile(path="secret", size=1, inode=1),))
    with pytest.raises(VolumeBusyError):
        in_hand.unpublisher.unpublish(REQUEST)
    in_hand.unpublisher.unpublish(REQUEST)
    assert in_hand.volumes.all() == []
