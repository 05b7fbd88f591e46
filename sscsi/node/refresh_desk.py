"""Where others come with what they want refreshed: operators by command, authors by annotation."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from contextlib import AbstractContextManager

from sscsi.core.refresh_ask import RefreshAsk
from sscsi.core.refresh_outcome import Outcome, RefreshResult
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import VolumeNotFoundError
from sscsi.node.audit import ASK, COMMAND
from sscsi.node.class_cache import ClassCache
from sscsi.node.refresh_asks import RefreshAsks
from sscsi.node.refresh_plan import NEVER
from sscsi.node.refresh_schedule import RefreshSchedule
from sscsi.node.volumes import Volumes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which volumes: all of a class, or of a pod, or, with neither, every one."""

    namespace: str = ""
    class_name: str = ""
    pod_name: str = ""
    pod_uid: str = ""

    def selects(self, record: VolumeRecord) -> bool:
        return all(
            not wanted or wanted == found
            for wanted, found in (
                (self.namespace, record.pod_namespace),
                (self.class_name, record.class_name),
                (self.pod_name, record.pod_name),
                (self.pod_uid, record.pod_uid),
            )
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTimes:
    """When a volume is refreshed. `interval_seconds` below 0: never; `due_time` is of the calendar, 0 for never."""

    interval_seconds: float
    due_time: float
    waits_for: str


class RefreshDesk:
    """Takes wishes and tells plans. `waiting` wraps the wait for refreshes (the pool's `blocked`)."""

    def __init__(
        self,
        *,
        volumes: Volumes,
        schedule: RefreshSchedule,
        asks: RefreshAsks,
        classes: ClassCache,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._volumes = volumes
        self._schedule = schedule
        self._asks = asks
        self._classes = classes
        self._waiting = waiting

    def refresh(
        self, selector: Selector, *, timeout_seconds: float
    ) -> Sequence[tuple[VolumeRecord, RefreshResult]]:
        """Refresh the selected volumes now; what became of each until the time is over.

        Raises VolumeNotFoundError when there are none.
        """
        selected = [record for record in self._volumes.all() if selector.selects(record)]
        if not selected:
            raise VolumeNotFoundError("no volume on this node is selected")
        # The class may have been edited a moment ago: that is often why somebody wants a refresh.
        for namespace, name in {(record.pod_namespace, record.class_name) for record in selected}:
            self._classes.look_again(namespace, name)
        asked = [(record, self._schedule.ask_and_tell(record.target_path, COMMAND)) for record in selected]
        with self._waiting():
            futures.wait([future for _, future in asked], timeout_seconds)
        return [(record, _result(future)) for record, future in asked]

    def ask(self, asks: Iterable[RefreshAsk]) -> None:
        """Take what annotations ask for, all of it: what is not honoured yet is refreshed soon."""
        new = self._asks.replace(asks)
        for namespace, name in new.classes:
            self._classes.look_again(namespace, name)
        for record in self._volumes.all():
            path = record.target_path
            if not self._asks.is_honoured(record) and (
                new.concerns(record) or not self._schedule.asked_by(path)
            ):
                self._schedule.ask(path, ASK)

    def times(self) -> Mapping[str, RefreshTimes]:
        """The plan of each volume, by target path."""
        ahead = time.time() - self._schedule.now
        return {
            path: RefreshTimes(
                interval_seconds=plan.interval,
                due_time=0.0 if plan.due_at == NEVER or plan.interval == 0 else plan.due_at + ahead,
                waits_for=plan.waits_for,
            )
            for path, plan in self._schedule.views().items()
        }


def _result(future: "futures.Future[RefreshResult]") -> RefreshResult:
    if future.cancel():
        return RefreshResult(outcome=Outcome.PENDING, message="not done in time; it goes on")
    return future.result()
