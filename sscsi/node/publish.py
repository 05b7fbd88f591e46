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

from sscsi.core import log_keys
from sscsi.core.pod_event import FAILED_MOUNT, FAILED_REFRESH
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.volume_record import ContentFile, VolumeRecord
from sscsi.errors import (
    ClassInvalidError,
    ClassMissingInRequestError,
    ClassNotFoundError,
    ClusterUnavailableError,
    InvalidRequestError,
    SscsiError,
    TargetPathError,
)
from sscsi.node.admission import Admission
from sscsi.node.class_cache import ClassCache
from sscsi.node.content import Content, accept_written_by_provider, look_content, rewritten_files, write_files
from sscsi.node.deadline import Deadline
from sscsi.node.failed_publishes import make_failed
from sscsi.node.new_record import boottime, record_adoption, record_delivery
from sscsi.node.notices import make_notice
from sscsi.node.ownership import check_may_be_ours
from sscsi.node.provider_fetch import Fetched, ProviderFetch, Versions, failure_text
from sscsi.node.publish_request import PublishRequest
from sscsi.node.stages import Stages
from sscsi.node.volume_mounts import VolumeMounts
from sscsi.node.volumes import Volumes
from sscsi.ports import ClassSource, FileTrees, Mounter, PathState, VolumeTree

log = logging.getLogger(__name__)

_CLASS_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PublishSettings:
    """What the operator decides. Interval in seconds; zero or less refreshes at every republish (upstream)."""

    rotation: bool
    rotation_interval_seconds: float
    content_limit_bytes: int
    secret_wait_seconds: float


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
        trees: FileTrees,
        volumes: Volumes,
        classes: ClassCache,
        secrets: ClassSource,
        fetch: ProviderFetch,
        admission: Admission,
        settings: PublishSettings,
        boot_id: str,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._mounter = mounter
        self._mounts = VolumeMounts(mounter, content_limit_bytes=settings.content_limit_bytes)
        self._trees = trees
        self._volumes = volumes
        self._classes = classes
        self._secrets = secrets
        self._fetch = fetch
        self._admission = admission
        self._settings = settings
        self._boot_id = boot_id
        self._waiting = waiting

    def publish(self, request: PublishRequest, deadline: Deadline) -> None:
        """Make the volume of `request` be there, whole. Returns when it is; raises SscsiError otherwise."""
        stages = Stages()
        with self._volumes.locked(request.target_path):
            try:
                self._publish(request, deadline, stages)
            except SscsiError as error:
                self._volumes.note_failed(make_failed(request, error, time.time()))
                self._volumes.notify(request.target_path, make_notice(request, FAILED_MOUNT, error))
                raise
        log.debug(
            "publish stages", extra={log_keys.VOLUME_ID: request.volume_id, log_keys.STAGES: stages.seconds}
        )

    def _publish(self, request: PublishRequest, deadline: Deadline, stages: Stages) -> None:
        found = self._look(request)
        if found.content is None:
            self._publish_first(request, found, deadline, stages)
        else:
            record = found.record or self._adopt(request, found)
            if self._is_due(record):
                self._refresh(request, record, deadline, stages)

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

    def _is_due(self, record: VolumeRecord) -> bool:
        if not self._settings.rotation:
            return False
        # Nobody knows when an adopted volume was fetched. Its zero is no time to count from: the machine may be up
        # for less than the interval.
        return (
            record.adopted or boottime() >= record.success_boottime + self._settings.rotation_interval_seconds
        )

    def _adopt(self, request: PublishRequest, found: Found) -> VolumeRecord:
        """Take over a volume that is whole and has no record: upstream's, or our state was lost."""
        if found.content is None:
            raise AssertionError("only proven content is adopted")
        record = record_adoption(request, self._boot_id, found.state.device, found.content)
        self._volumes.put(record)
        log.info("adopted", extra=_about(request))
        return record

    def _publish_first(
        self, request: PublishRequest, found: Found, deadline: Deadline, stages: Stages
    ) -> None:
        with stages.stage("class"):
            provider_class = self._class(request, deadline)
        with self._place(provider_class.provider, deadline):
            made = None
            if not found.state.is_mount_point:
                with stages.stage("attach"):
                    made = self._mounts.attach(request.target_path, found.state, request.gid)
            try:
                record = self._deliver(request, provider_class, (), deadline, stages)
            except BaseException:
                if made is not None:
                    self._mounts.take_back(request.target_path, found.state, made)
                raise
        log.info("published", extra={**_about(request), log_keys.VERSIONS: len(record.object_versions)})
        if provider_class.secret_objects:
            with stages.stage("secrets"):
                self._await_secrets(request, record, deadline)

    def _refresh(
        self, request: PublishRequest, record: VolumeRecord, deadline: Deadline, stages: Stages
    ) -> None:
        """Fetch again and swap what changed. A failure is recorded and logged, and kubelet is told OK."""
        try:
            with stages.stage("class"):
                provider_class = self._class(request, deadline)
            with self._place(provider_class.provider, deadline):
                refreshed = self._deliver(
                    request, provider_class, _known_versions(record, provider_class), deadline, stages
                )
        except InvalidRequestError:
            raise
        except SscsiError as error:
            self._volumes.put(
                dataclasses.replace(
                    record,
                    attempt_time=time.time(),
                    last_error=str(error),
                    files=self._files_now(request, record),
                )
            )
            self._volumes.notify(request.target_path, make_notice(request, FAILED_REFRESH, error))
            log.error(
                "refresh failed, the content stays", extra={**_about(request), log_keys.ERROR: str(error)}
            )
            return
        if (refreshed.data_directory, refreshed.files) != (record.data_directory, record.files):
            log.info("refreshed", extra=_about(request))

    def _files_now(self, request: PublishRequest, record: VolumeRecord) -> tuple[ContentFile, ...]:
        """The files of the record as they are now: a provider that writes them itself may have replaced some
        before it failed, and the running pod keeps what is there.
        """
        if not record.files:
            return ()
        try:
            with self._trees.open(request.target_path) as tree:
                return rewritten_files(tree, record.files) or record.files
        except SscsiError:
            return record.files

    def _class(self, request: PublishRequest, deadline: Deadline) -> SecretProviderClass:
        """The class of the request, in upstream's order of checks (reference, 2.4, steps 10 to 15)."""
        if not request.class_name:
            raise ClassMissingInRequestError("secretProviderClass is not set")
        namespace, name = request.pod_namespace, request.class_name
        provider_class = self._classes.known_fresh(namespace, name)
        try:
            if provider_class is None:
                with self._waiting():
                    provider_class = self._classes.get(
                        namespace, name, timeout_seconds=deadline.for_others(_CLASS_SECONDS)
                    )
        except (ClassNotFoundError, ClassInvalidError, ClusterUnavailableError) as error:
            raise type(error)(
                f"failed to get secretproviderclass {namespace}/{name}, error: {error}"
            ) from error
        if not provider_class.provider:
            raise ClassInvalidError(f"provider not set in {namespace}/{name}")
        if not provider_class.parameters:
            raise ClassInvalidError(f"parameters not set in {namespace}/{name}")
        if not request.readonly:
            raise InvalidRequestError("Readonly is not true in request")
        return provider_class

    def _place(self, provider: str, deadline: Deadline) -> AbstractContextManager[None]:
        # Half of the time is for waiting: the provider needs the other half.
        return self._admission.place(
            provider, timeout_seconds=deadline.for_others(float("inf")) / 2, waiting=self._waiting
        )

    def _deliver(
        self,
        request: PublishRequest,
        provider_class: SecretProviderClass,
        current: Versions,
        deadline: Deadline,
        stages: Stages,
    ) -> VolumeRecord:
        """Provider, decide, do, prove, record."""
        with self._trees.open(request.target_path) as tree:
            with stages.stage("provider"):
                fetched = self._fetch.fetch(request, provider_class, current, deadline)
            with stages.stage("write"):
                content = _write(tree, request, provider_class, fetched)
            with stages.stage("prove"):
                self._mounts.check_shown(request.target_path, tree.device)
            with stages.stage("record"):
                record = record_delivery(
                    request,
                    self._boot_id,
                    tree.device,
                    content,
                    provider_class=provider_class,
                    object_versions=fetched.object_versions,
                )
                self._volumes.put(record)
        return record

    def _await_secrets(self, request: PublishRequest, record: VolumeRecord, deadline: Deadline) -> None:
        """Give status-sync a moment to make the class's Secrets, so that the containers' environment finds them."""
        if self._settings.secret_wait_seconds <= 0:
            return
        try:
            with self._waiting():
                problems = self._secrets.ensure_secrets(
                    record, timeout_seconds=deadline.for_others(self._settings.secret_wait_seconds)
                )
        except ClusterUnavailableError as error:
            problems = [str(error)]
        for problem in problems:
            log.warning(
                "a Secret of the class is not there yet", extra={**_about(request), log_keys.REASON: problem}
            )


def _write(
    tree: VolumeTree, request: PublishRequest, provider_class: SecretProviderClass, fetched: Fetched
) -> Content:
    try:
        if fetched.files:
            return write_files(tree, fetched.files, request.gid)
        return accept_written_by_provider(tree, provider_class.provider, request.gid)
    except SscsiError as error:
        raise type(error)(failure_text(request, error, fetched.files)) from error


def _known_versions(record: VolumeRecord, provider_class: SecretProviderClass) -> Versions:
    """What the provider may be told is in place: only what was fetched for this very class (design, section 3)."""
    same_class = (record.class_uid, record.class_generation) == (
        provider_class.uid,
        provider_class.generation,
    )
    return record.object_versions if same_class and not record.adopted else ()


def _about(request: PublishRequest) -> dict[str, object]:
    return {
        log_keys.VOLUME_ID: request.volume_id,
        log_keys.POD: request.pod,
        log_keys.CLASS: request.class_name,
        log_keys.TARGET_PATH: request.target_path,
    }
