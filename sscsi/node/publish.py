"""NodePublishVolume: parse, look, class, attach, provider, decide, do, prove, record, tell, wait, answer.

The promises are the design's: a volume appears whole or not at all, whatever dies in between (P1); a failed
refresh keeps the content and answers kubelet OK, because an error would make some kubelets take the mount
directory away under the running pod (kubernetes issue 121271; P2); what is published is recorded before the
answer (P4).
"""

import dataclasses
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sscsi.core import log_keys, log_levels
from sscsi.core.pod_event import FAILED_MOUNT
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import (
    ClusterUnavailableError,
    SscsiError,
    TargetPathError,
    VolumeBusyError,
)
from sscsi.node.admission import Admission
from sscsi.node.class_cache import ClassCache
from sscsi.node.content import Content, look_content
from sscsi.node.deadline import Deadline
from sscsi.node.delivery import Delivery
from sscsi.node.failed_publishes import make_failed
from sscsi.node.metrics import NodeMetrics
from sscsi.node.new_record import record_adoption
from sscsi.node.notices import make_notice
from sscsi.node.ownership import check_may_be_ours
from sscsi.node.publish_request import PublishRequest
from sscsi.node.refresh import Refresher
from sscsi.node.shared_calls import Approach, Approaches
from sscsi.node.stages import Stages
from sscsi.node.volume_mounts import VolumeMounts
from sscsi.node.volumes import Volumes
from sscsi.ports import ClassSource, FileTrees, Mounter, PathState

log = logging.getLogger(__name__)

# For a refresh by our own clock that has the volume in hand: it swaps files, which takes milliseconds.
_LOCK_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The world before a publish: what is at the target path, and the content if it is proven."""

    state: PathState
    record: VolumeRecord | None
    content: Content | None


class Publisher:
    """Publishes volumes. `waiting` wraps every wait for somebody else (the pool's `blocked`)."""

    def __init__(
        self,
        *,
        mounter: Mounter,
        mounts: VolumeMounts,
        trees: FileTrees,
        volumes: Volumes,
        classes: ClassCache,
        secrets: ClassSource,
        delivery: Delivery,
        refresher: Refresher,
        admission: Admission,
        metrics: NodeMetrics,
        approaches: Approaches,
        secret_wait_seconds: float,
        boot_id: str,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._mounter = mounter
        self._mounts = mounts
        self._trees = trees
        self._volumes = volumes
        self._classes = classes
        self._secrets = secrets
        self._delivery = delivery
        self._refresher = refresher
        self._admission = admission
        self._metrics = metrics
        self._approaches = approaches
        self._secret_wait_seconds = secret_wait_seconds
        self._boot_id = boot_id
        self._waiting = waiting

    def publish(self, request: PublishRequest, deadline: Deadline) -> None:
        """Make the volume of `request` be there, whole. Returns when it is; raises SscsiError otherwise."""
        stages, approach = Stages(), self._approaches.begin()
        try:
            masked = self._publish(request, deadline, stages, approach)
        except SscsiError as error:
            if not isinstance(error, VolumeBusyError):
                self._volumes.note_failed(make_failed(request, error, time.time()))
                self._volumes.notify(request.target_path, make_notice(request, FAILED_MOUNT, error))
            self._metrics.publish_failed(self._provider_of(request), error, stages.total())
            raise
        finally:
            approach.end()
        if masked is None:
            self._metrics.publish_succeeded(self._provider_of(request), stages.total())
        else:
            # As upstream counts it.
            self._metrics.publish_failed(self._provider_of(request), masked, stages.total())
        if log.isEnabledFor(log_levels.DECISIONS):
            about = {**request.about(), log_keys.STAGES: stages.seconds}
            log.log(log_levels.DECISIONS, "publish stages", extra=about)

    def _publish(
        self, request: PublishRequest, deadline: Deadline, stages: Stages, approach: Approach
    ) -> SscsiError | None:
        """The failure of a refresh, of which kubelet is not told, or None."""
        if self._refresher.is_under_way(request.target_path) and self._look(request).content is not None:
            # Our own clock asks the provider for it just now: the pod has what it needs, and kubelet need not wait.
            self._refresher.keep(request)
            return None
        with self._volumes.locked(request.target_path, wait_seconds=_LOCK_SECONDS, waiting=self._waiting):
            found = self._look(request)
            if found.content is None:
                self._publish_first(request, found, deadline, stages, approach)
                return None
            record = found.record or self._adopt(request, found)
            self._refresher.keep(request)
            approach.end()
            return self._refresher.on_republish(request, record, deadline, stages)

    def _provider_of(self, request: PublishRequest) -> str:
        """The provider for a metric's label; empty while nobody knows the class (upstream's label, too)."""
        record = self._volumes.get(request.target_path)
        if record is not None:
            return record.provider
        # Not only of a class that is fresh: a provider that hangs takes longer than a class stays so.
        return self._classes.last_provider(request.pod_namespace, request.class_name)

    def _look(self, request: PublishRequest) -> Found:
        state = self._mounter.look(request.target_path)
        if not state.is_mount_point:
            return Found(state=state, record=None, content=None)
        if not state.is_tmpfs:
            raise TargetPathError(
                f"target path {request.target_path} is a mount point of another file system; unmount it"
            )
        record = self._volumes.get(request.target_path)
        if record is not None and (record.boot_id, record.device) != (self._boot_id, state.device):
            record = None
        with self._trees.open(request.target_path) as tree:
            content = look_content(tree, record)
            if content is None and record is None:
                check_may_be_ours(request.target_path, tree)
        if record is not None and content is not None and record.data_directory != content.data_directory:
            record = None
        return Found(state=state, record=record, content=content)

    def _adopt(self, request: PublishRequest, found: Found) -> VolumeRecord:
        """Take over a volume that is whole and has no record: upstream's, or our state was lost."""
        if found.content is None:
            raise AssertionError("only proven content is adopted")
        record = record_adoption(request, self._boot_id, found.state.device, found.content)
        self._volumes.put(record)
        self._refresher.found(record)
        log.info("adopted", extra=request.about())
        return record

    def _publish_first(
        self, request: PublishRequest, found: Found, deadline: Deadline, stages: Stages, approach: Approach
    ) -> None:
        with stages.stage("class"):
            provider_class = self._delivery.find_class(request, deadline)
        with self._place(provider_class.provider, deadline):
            made = None
            if not found.state.is_mount_point:
                with stages.stage("attach"):
                    made = self._mounts.attach(request.target_path, found.state, request.gid)
            try:
                with self._trees.open(request.target_path) as tree:
                    approach.end()
                    with stages.stage("provider"):
                        fetched = self._delivery.fetch(request, provider_class, (), deadline)
                    record = self._delivery.put(
                        tree, request, provider_class, fetched, before=None, stages=stages
                    )
            except BaseException:
                if made is not None:
                    self._mounts.take_back(request.target_path, found.state, made)
                raise
        self._refresher.delivered(request, record, fetched)
        log.info(
            "published",
            extra={
                **request.about(),
                log_keys.PROVIDER: record.provider,
                log_keys.VERSIONS: len(record.object_versions),
                log_keys.SHARED: fetched.is_shared,
                log_keys.SECONDS: stages.total(),
            },
        )
        if provider_class.secret_objects:
            with stages.stage("secrets"):
                self._await_secrets(request, record, deadline)
        self._metrics.observe_stages("publish", stages.seconds)

    def _place(self, provider: str, deadline: Deadline) -> AbstractContextManager[None]:
        # Half of the time is for waiting: the provider needs the other half.
        return self._admission.place(
            provider, timeout_seconds=deadline.for_others(float("inf")) / 2, waiting=self._waiting
        )

    def _await_secrets(self, request: PublishRequest, record: VolumeRecord, deadline: Deadline) -> None:
        """Give status-sync a moment to make the class's Secrets, so that the containers' environment finds them."""
        if self._secret_wait_seconds <= 0:
            return
        try:
            with self._waiting():
                problems = self._secrets.ensure_secrets(
                    record, timeout_seconds=deadline.for_others(self._secret_wait_seconds)
                )
        except ClusterUnavailableError as error:
            problems = [str(error)]
        for problem in problems:
            log.warning(
                "a Secret of the class is not there yet", extra={**request.about(), log_keys.REASON: problem}
            )
