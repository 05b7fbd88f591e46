"""One attempt to refresh one volume: fetch, see that the volume is still what it was, put in place."""

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import ContentNotProvenError, VolumeNotFoundError
from sscsi.node.content import look_content
from sscsi.node.deadline import Deadline
from sscsi.node.delivery import Delivery
from sscsi.node.provider_fetch import Fetched, Versions
from sscsi.node.publish_request import PublishRequest
from sscsi.node.shared_calls import Moment
from sscsi.node.stages import Stages
from sscsi.node.volumes import Volumes
from sscsi.ports import FileTrees

# For a volume that a call of kubelet's has in hand just now.
_LOCK_SECONDS = 2.0


Lock = Callable[[], AbstractContextManager[None]]
"""A volume's lock, to be entered; nothing, where the caller has it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """For whom, on what. `trigger` is one of `audit`; `lock` is the volume's, entered for as short as can be; `moment` is
    that of the group, None for a republish, whose caller has the lock and has just looked at the volume.
    """

    request: PublishRequest
    record: VolumeRecord
    deadline: Deadline
    stages: Stages
    trigger: str
    lock: Lock
    moment: Moment | None


class RefreshPass:
    """Makes attempts. `waiting` wraps every wait for somebody else.

    A pod may be deleted while our own clock asks its provider: unpublish must not wait for that. So the volume's lock is
    taken after the call, and the volume looked at then; not so where the provider writes into the volume itself.
    """

    def __init__(
        self,
        *,
        delivery: Delivery,
        volumes: Volumes,
        trees: FileTrees,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._delivery = delivery
        self._volumes = volumes
        self._trees = trees
        self._waiting = waiting

    def lock(self, target_path: str) -> AbstractContextManager[None]:
        """The volume's lock. Entering it raises VolumeBusyError when it can't be had in a moment."""
        return self._volumes.locked(target_path, wait_seconds=_LOCK_SECONDS, waiting=self._waiting)

    def fetch_and_put(self, attempt: Attempt) -> tuple[Fetched, VolumeRecord]:
        """What was fetched, and the record of what is in place now.

        Raises VolumeNotFoundError when the volume has gone or was published anew meanwhile, VolumeBusyError, and
        whatever Delivery raises.
        """
        request, record, stages = attempt.request, attempt.record, attempt.stages
        with contextlib.ExitStack() as held:
            if record.files:
                held.enter_context(attempt.lock())
                self._check_in_place(attempt)
            with stages.stage("class"):
                provider_class = self._delivery.find_class(request, attempt.deadline)
            with stages.stage("provider"):
                fetched = self._delivery.fetch(
                    request,
                    provider_class,
                    _known_versions(record, provider_class),
                    attempt.deadline,
                    attempt.moment,
                )
            if not record.files:
                held.enter_context(attempt.lock())
                self._check_in_place(attempt)
            with self._trees.open(request.target_path) as tree:
                put = self._delivery.put(tree, request, provider_class, fetched, before=record, stages=stages)
        return fetched, put

    def _check_in_place(self, attempt: Attempt) -> None:
        path, record = attempt.record.target_path, attempt.record
        if self._volumes.get(path) is not record:
            raise VolumeNotFoundError(f"the volume at {path} has gone, or was published anew")
        if attempt.moment is None:
            return
        with self._trees.open(path) as tree:
            if tree.device != record.device or look_content(tree, record) is None:
                raise ContentNotProvenError(
                    f"target path {path} no longer shows the volume; kubelet's next call heals it"
                )


def _known_versions(record: VolumeRecord, provider_class: SecretProviderClass) -> Versions:
    """What the provider may be told is in place: only what was fetched for this very class (design, section 3)."""
    same_class = (record.class_uid, record.class_generation) == (
        provider_class.uid,
        provider_class.generation,
    )
    return record.object_versions if same_class and not record.adopted else ()
