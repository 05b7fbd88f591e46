"""NodeUnpublishVolume where the driver's container is mounted wrongly: what can't be seen is not said to be gone."""

import contextlib

import pytest

from sscsi.errors import TargetPathError
from sscsi.node.unpublish import Unpublisher
from sscsi.node.volumes import Volumes
from sscsi.pb import csi_pb2
from tests.fakes.fake_disk import FakeDisk
from tests.fakes.fake_mounter import FakeMounter
from tests.fakes.fake_records import FakeRecords
from tests.fakes.fake_trees import FakeTrees
from tests.support.one_record import make_record

PATH = "/pods/u/volumes/kubernetes.io~csi/v/mount"
REQUEST = csi_pb2.NodeUnpublishVolumeRequest(volume_id="csi-1", target_path=PATH)


def test_it_is_refused_and_the_volume_kept_until_it_can_be_seen() -> None:
    disk = FakeDisk()
    mounter = FakeMounter(disk)
    volumes = Volumes(FakeRecords())
    volumes.put(make_record(PATH, files=()))
    forgotten: list[str] = []
    unpublisher = Unpublisher(
        mounter=mounter,
        trees=FakeTrees(disk),
        volumes=volumes,
        forget=forgotten.append,
        waiting=contextlib.nullcontext,
    )
    mounter.private = True
    with pytest.raises(TargetPathError, match=f"what is mounted at {PATH} can't be seen from here"):
        unpublisher.unpublish(REQUEST)
    assert [volume.target_path for volume in volumes.all()] == [PATH]
    assert forgotten == []
    mounter.private = False
    unpublisher.unpublish(REQUEST)
    assert volumes.all() == []
    assert forgotten == [PATH]
