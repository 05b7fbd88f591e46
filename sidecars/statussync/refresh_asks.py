"""What annotations of classes and pods ask for, told to the node room: all of it, whenever it changes, and to each new one."""

import logging
import threading
from collections.abc import Iterator

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.problems import ProblemBoard
from sidecars.statussync.volume_set import VolumeSet
from sscsi.core import log_keys
from sscsi.core.annotations import REFRESH_AT
from sscsi.core.backoff import delays
from sscsi.core.refresh_ask import RefreshAsk, ask_value
from sscsi.errors import ClusterUnavailableError, RoomUnavailableError
from sscsi.ports import Cluster, ObjectKey, VolumeFeed

log = logging.getLogger(__name__)

PODS = ObjectKey("Annotations of pods", "", "")
_FIRST_DELAY_SECONDS = 0.2
# Who asks expects it within seconds, also of a node room that was away for long.
_MAX_DELAY_SECONDS = 5.0


class RefreshAsks:
    """Keeps the node room told. The node room finds by its records what is not done yet: telling it twice is nothing.

    `wake` and `node_is_new` may be called from every thread, and wait for nobody; `run` has a thread of its own.
    """

    def __init__(
        self,
        *,
        volumes: VolumeSet,
        catalogue: ClassCatalogue,
        cluster: Cluster,
        feed: VolumeFeed,
        problems: ProblemBoard,
    ) -> None:
        self._volumes = volumes
        self._catalogue = catalogue
        self._cluster = cluster
        self._feed = feed
        self._problems = problems
        self._woken = threading.Event()
        self._is_new = threading.Event()
        self._told: frozenset[RefreshAsk] = frozenset()
        self._is_told = False
        self._unheard = ""

    def wake(self) -> None:
        """Have it looked soon whether something else is asked for."""
        self._woken.set()

    def node_is_new(self) -> None:
        """A snapshot came: the node room may have started anew, and knows of no wish then."""
        self._is_new.set()
        self._woken.set()

    def run(self, stop: threading.Event) -> None:
        """Look whenever woken, until `stop` is set and it is woken once more."""
        pauses = _pauses()
        while not stop.is_set():
            self._woken.wait()
            self._woken.clear()
            try:
                self.look()
                pauses = _pauses()
            except RoomUnavailableError:
                stop.wait(next(pauses))
                # What was not told is told when there is an answer again.
                self._woken.set()

    def look(self) -> None:
        """Tell the node room what is asked for, if it does not know. Raises RoomUnavailableError."""
        if not self._volumes.is_complete:
            # Nobody knows yet whose annotations count.
            return
        if self._is_new.is_set():
            self._is_new.clear()
            self._is_told = False
        asks = self._of_classes() | self._of_pods()
        if self._is_told and asks == self._told:
            return
        try:
            self._feed.ask_refresh(sorted(asks))
        except RoomUnavailableError as error:
            self._tell_unheard(str(error))
            raise
        if asks != self._told:
            log.info("told the node room what is asked for", extra={log_keys.COUNT: len(asks)})
        self._told, self._is_told = asks, True
        self._tell_unheard("")

    def _of_classes(self) -> frozenset[RefreshAsk]:
        found = set()
        for name in self._volumes.classes_in_use():
            spc = self._catalogue.seen(name)
            if spc and (value := ask_value(spc.annotations.get(REFRESH_AT))):
                found.add(RefreshAsk(namespace=name[0], class_name=name[1], value=value))
        return frozenset(found)

    def _of_pods(self) -> frozenset[RefreshAsk]:
        in_use = {(volume.pod_namespace, volume.pod_name, volume.pod_uid) for volume in self._volumes.all()}
        try:
            asks = self._cluster.pod_asks(in_use)
        except ClusterUnavailableError as error:
            self._problems.report(PODS, [str(error)])
            return frozenset()
        self._problems.report(PODS, [])
        return frozenset(
            RefreshAsk(namespace=namespace, pod_name=name, pod_uid=uid, value=value)
            for (namespace, name, uid), value in asks.items()
        )

    def _tell_unheard(self, problem: str) -> None:
        if problem and not self._unheard:
            log.warning("the node room does not hear what is asked for", extra={log_keys.REASON: problem})
        self._unheard = problem


def _pauses() -> Iterator[float]:
    return delays(first_seconds=_FIRST_DELAY_SECONDS, factor=2.0, max_seconds=_MAX_DELAY_SECONDS)
