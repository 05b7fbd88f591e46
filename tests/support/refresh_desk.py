"""A desk for refreshes without a room: nothing is on its schedule."""

import contextlib

from sscsi.node.class_cache import ClassCache
from sscsi.node.refresh_asks import RefreshAsks
from sscsi.node.refresh_desk import RefreshDesk
from sscsi.node.refresh_schedule import RefreshSchedule
from sscsi.node.volumes import Volumes
from tests.fakes.fake_classes import FakeClasses


def make_desk(volumes: Volumes) -> RefreshDesk:
    """The desk of `volumes`, at which every volume is unplanned."""
    return RefreshDesk(
        volumes=volumes,
        schedule=RefreshSchedule(own_clock=False),
        asks=RefreshAsks(),
        classes=ClassCache(FakeClasses(), fresh_seconds=1.0),
        waiting=contextlib.nullcontext,
    )
