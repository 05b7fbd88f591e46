"""The loops that bring news: of volumes, from the node room, and of classes, from the cluster."""

import logging
import threading
from collections.abc import Callable

from sscsi.core import log_keys
from sscsi.core.backoff import delays
from sscsi.core.published_volume import VolumeChange
from sscsi.errors import ClusterUnavailableError, RoomUnavailableError
from sscsi.ports import VolumeFeed

log = logging.getLogger(__name__)

CLASS_POLL_SECONDS = 2.0
_FIRST_DELAY_SECONDS = 0.1
_MAX_DELAY_SECONDS = 2.0


class VolumeWatch:
    """Holds a watch of the node room's volumes; connects again whenever it ends, and calls `on_loss` each time."""

    def __init__(
        self, feed: VolumeFeed, on_change: Callable[[VolumeChange], None], on_loss: Callable[[], None]
    ) -> None:
        self._feed = feed
        self._on_change = on_change
        self._on_loss = on_loss
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Whether the node room's news come through."""
        return self._connected

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set and the feed closed."""
        waits = delays(first_seconds=_FIRST_DELAY_SECONDS, factor=2.0, max_seconds=_MAX_DELAY_SECONDS)
        said = ""
        while not stop.is_set():
            try:
                for change in self._feed.watch():
                    if not self._connected:
                        log.info("hears of volumes", extra={log_keys.COUNT: len(change.volumes)})
                    self._connected, said = True, ""
                    self._on_change(change)
            except RoomUnavailableError as error:
                if self._connected:
                    waits = delays(
                        first_seconds=_FIRST_DELAY_SECONDS, factor=2.0, max_seconds=_MAX_DELAY_SECONDS
                    )
                self._connected = False
                self._on_loss()
                if str(error) != said:
                    said = str(error)
                    log.warning("hears nothing of volumes", extra={log_keys.REASON: said})
                stop.wait(next(waits))


def poll_classes(poll: Callable[[], None], stop: threading.Event) -> None:
    """Call `poll` every other second until `stop` is set."""
    said = ""
    while not stop.wait(CLASS_POLL_SECONDS):
        try:
            poll()
            said = ""
        except ClusterUnavailableError as error:
            if str(error) != said:
                said = str(error)
                log.warning("hears nothing of classes", extra={log_keys.REASON: said})
