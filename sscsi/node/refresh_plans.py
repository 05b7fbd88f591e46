"""What a success plans: when the volume is due again, by its own wish, its class's and the node's."""

import dataclasses
import logging
import threading
import time

from sscsi.core import log_keys
from sscsi.core.pod_event import INVALID_INTERVAL, PodEvent
from sscsi.core.refresh_due import Renewal, due_at
from sscsi.core.refresh_interval import NodeInterval, choose_interval
from sscsi.core.volume_record import VolumeRecord
from sscsi.node.publish_request import PublishRequest
from sscsi.node.refresh_plan import NEVER
from sscsi.node.refresh_schedule import RefreshSchedule
from sscsi.node.volumes import Volumes

log = logging.getLogger(__name__)

_NEVER_INTERVAL = -1.0
_MAX_PODS = 3
_MAX_SUBJECTS = 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RefreshSettings:
    """`rotation`: whether content is fetched again by itself at all (upstream's --enable-secret-rotation)."""

    rotation: bool
    interval: NodeInterval


class RefreshPlans:
    """Puts volumes on the schedule. Of one volume never called by two threads at once."""

    def __init__(self, *, schedule: RefreshSchedule, volumes: Volumes, settings: RefreshSettings) -> None:
        self._schedule = schedule
        self._volumes = volumes
        self._settings = settings
        # What was told of an interval that makes no sense, by target path: once is enough.
        self._told: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()
        self._tellings: dict[tuple[str, str, str], int] = {}

    def fetched(
        self,
        request: PublishRequest,
        record: VolumeRecord,
        identity: str,
        *,
        is_first: bool,
    ) -> None:
        """Plan after a success, of a publish if it `is_first`; `identity` says whose calls the volume may share."""
        interval = self._interval(request, record.class_interval)
        self._schedule.succeeded(
            request.target_path,
            provider=record.provider,
            identity=identity,
            interval=interval,
            due_at=self._due_at(record, interval),
            is_first=is_first,
        )

    def found(self, record: VolumeRecord, request: PublishRequest | None) -> None:
        """Plan for a volume of before this room's start, or of another driver: kubelet's next call comes first.

        With that call's `request` once more: the volume's own wish is in it.
        """
        interval = _NEVER_INTERVAL
        if request is not None:
            interval = self._interval(request, record.class_interval)
        elif self._settings.rotation:
            interval = choose_interval(self._settings.interval, {}, record.class_interval).seconds
        self._schedule.found(
            record.target_path,
            provider=record.provider,
            interval=interval,
            due_at=self._due_at(record, interval),
        )

    def forget(self, target_path: str) -> None:
        """The volume is gone."""
        self._told.pop(target_path, None)

    def _interval(self, request: PublishRequest, annotation: str) -> float:
        if not self._settings.rotation:
            return _NEVER_INTERVAL
        chosen = choose_interval(self._settings.interval, request.volume_context, annotation)
        if chosen.problems != self._told.get(request.target_path, ()):
            self._told[request.target_path] = chosen.problems
            for problem in chosen.problems:
                self._tell(request, problem)
        return chosen.seconds

    def _tell(self, request: PublishRequest, problem: str) -> None:
        """Once, and on a few of the pods: a Deployment's hundred have one author, who looks at one of them."""
        subject = (request.pod_namespace, request.class_name, problem)
        with self._lock:
            if len(self._tellings) >= _MAX_SUBJECTS:
                self._tellings.clear()
            self._tellings[subject] = self._tellings.get(subject, 0) + 1
            if self._tellings[subject] > _MAX_PODS:
                return
        log.warning(
            "a refresh interval makes no sense",
            extra={log_keys.POD: request.pod, log_keys.CLASS: request.class_name, log_keys.REASON: problem},
        )
        self._volumes.notify(
            request.target_path,
            PodEvent(
                pod_namespace=request.pod_namespace,
                pod_name=request.pod_name,
                pod_uid=request.pod_uid,
                reason=INVALID_INTERVAL,
                message=problem,
            ),
        )

    def _due_at(self, record: VolumeRecord, interval: float) -> float:
        if interval < 0:
            return NEVER
        if record.adopted:
            # Nobody knows when it was fetched.
            return self._schedule.now
        if interval == 0:
            return record.success_boottime
        # The certificate's times are of the calendar, the schedule's are not.
        ahead = self._schedule.now - time.time()
        return due_at(
            record.success_boottime,
            interval=interval,
            floor=self._settings.interval.floor_seconds,
            renewal=Renewal(renew_at=record.renew_time + ahead, end_at=record.expiry_time + ahead)
            if record.renew_time
            else None,
        )
