"""From a request to content in place: the class, the provider's answer, the files, the proof, the record."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sscsi.core.certificate_life import CertificateLife, certificate_life
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import (
    ClassInvalidError,
    ClassMissingInRequestError,
    ClassNotFoundError,
    ClusterUnavailableError,
    InvalidRequestError,
    ProviderAnswerError,
    SscsiError,
)
from sscsi.node.class_cache import ClassCache
from sscsi.node.content import Content, accept_written_by_provider, write_files
from sscsi.node.deadline import Deadline
from sscsi.node.new_record import record_delivery
from sscsi.node.provider_fetch import Fetched, ProviderFetch, Versions, failure_text
from sscsi.node.publish_request import PublishRequest
from sscsi.node.refresh_asks import RefreshAsks
from sscsi.node.shared_calls import Moment
from sscsi.node.stages import Stages
from sscsi.node.volume_mounts import VolumeMounts
from sscsi.node.volumes import Volumes
from sscsi.ports import FileTrees, VolumeTree

_CLASS_SECONDS = 10.0


class Delivery:
    """Fetches and puts in place. `waiting` wraps every wait for somebody else (the pool's `blocked`)."""

    def __init__(
        self,
        *,
        mounts: VolumeMounts,
        trees: FileTrees,
        volumes: Volumes,
        classes: ClassCache,
        provider_fetch: ProviderFetch,
        asks: RefreshAsks,
        boot_id: str,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._mounts = mounts
        self._trees = trees
        self._volumes = volumes
        self._classes = classes
        self._provider_fetch = provider_fetch
        self._asks = asks
        self._boot_id = boot_id
        self._waiting = waiting

    def find_class(self, request: PublishRequest, deadline: Deadline) -> SecretProviderClass:
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

    def fetch(
        self,
        request: PublishRequest,
        provider_class: SecretProviderClass,
        current: Versions,
        deadline: Deadline,
        moment: Moment | None = None,
    ) -> Fetched:
        """The provider's answer, judged. Raises as ProviderFetch.fetch."""
        # A wish that comes during the call means what is in the store then.
        pod_ask = self._asks.of_pod(request.pod_uid)
        fetched = self._provider_fetch.fetch(request, provider_class, current, deadline, moment)
        return dataclasses.replace(fetched, pod_ask=pod_ask)

    def last_provider(self, request: PublishRequest) -> str:
        """The provider of the request's class as it was last known; empty when it never was."""
        return self._classes.last_provider(request.pod_namespace, request.class_name)

    def put(
        self,
        tree: VolumeTree,
        request: PublishRequest,
        provider_class: SecretProviderClass,
        fetched: Fetched,
        *,
        before: VolumeRecord | None,
        stages: Stages,
    ) -> VolumeRecord:
        """Make the volume at `tree` hold what was fetched, prove it and record it; the record.

        `before` is the record of the content that is refreshed, None for a first delivery. Raises ProviderAnswerError,
        ContentTooLargeError, ContentNotProvenError, TargetPathError.
        """
        with stages.stage("write"):
            content = _write(tree, request, provider_class, fetched, before)
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
                life=_life(fetched, before),
                # Who has just started has been told of no wish yet: one that was honoured stays so.
                pod_ask=fetched.pod_ask or (before.pod_ask if before is not None else ""),
            )
            self._volumes.put(record)
        return record


def _write(
    tree: VolumeTree,
    request: PublishRequest,
    provider_class: SecretProviderClass,
    fetched: Fetched,
    before: VolumeRecord | None,
) -> Content:
    try:
        if fetched.files:
            return write_files(tree, fetched.files, request.gid)
        content = accept_written_by_provider(tree, provider_class.provider, request.gid)
        if content.data_directory and before is not None:
            _check_still_of(before, content, provider_class.provider, fetched.object_versions)
        return content
    except SscsiError as error:
        raise type(error)(failure_text(request, error, fetched.files)) from error


def _check_still_of(before: VolumeRecord, content: Content, provider: str, versions: Versions) -> None:
    """That an answer without files can mean the files in place. Raises ProviderAnswerError."""
    if versions != before.object_versions:
        raise ProviderAnswerError(f"provider {provider!r} answered with new versions and without their files")
    if content.data_directory != before.data_directory:
        raise ProviderAnswerError(
            f"provider {provider!r} answered without files, and those in place were replaced by somebody else; "
            "kubelet's next call has them fetched"
        )


def _life(fetched: Fetched, before: VolumeRecord | None) -> CertificateLife | None:
    """Of the certificates in the volume; the files of a provider that writes them itself are not read."""
    if fetched.files:
        return certificate_life((file.contents for file in fetched.files), time.time())
    if before is None or not before.renew_time:
        return None
    return CertificateLife(renew_time=before.renew_time, expiry_time=before.expiry_time)
