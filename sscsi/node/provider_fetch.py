"""Asking a provider for a volume's content, and judging the answer."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from sscsi.core.failure_reason import CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
from sscsi.core.fetch_identity import fetch_identity, may_share
from sscsi.core.file_plan import PlannedFile, check_files
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.provider_request import PERMISSION, attributes_json, secrets_json
from sscsi.core.redaction import clean_message, masked_message, sensitive_lines
from sscsi.errors import (
    ContentTooLargeError,
    ProviderAnswerError,
    ProviderCallError,
    ProviderNotFoundError,
    SscsiError,
)
from sscsi.node.deadline import Deadline
from sscsi.node.publish_request import PublishRequest
from sscsi.node.shared_calls import Moment, SharedCalls
from sscsi.ports import ProviderAnswer, ProviderRequest, Providers

Versions = tuple[tuple[str, str], ...]

# A provider that ends a call so is away or asked too often; with any other code it has answered.
AWAY_CODES = frozenset({CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A provider's answer that passed every check. No files: the provider writes the target path itself.

    `identity`: whose calls the request may share, empty when none. `is_shared`: the call was made for another pod. `pod_ask`: what the pod's annotation asked for
    before the call.
    """

    files: tuple[PlannedFile, ...]
    object_versions: Versions
    identity: str = ""
    is_shared: bool = False
    pod_ask: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A provider's answer, and what is wrong with it."""

    answer: ProviderAnswer
    fault: SscsiError | None


class CallObserver(Protocol):
    """Who wants to know of each call to a provider."""

    def provider_called(
        self, provider: str, error: SscsiError | None, seconds: float, *, volume_id: str
    ) -> None:
        """A call for a volume ended, with `error` or an answer, after `seconds`."""

    def provider_call_shared(self, provider: str) -> None:
        """A call was spared."""

    def provider_call_repeated(self, provider: str) -> None:
        """A refresh is about to make its second call."""


class ProviderFetch:
    """Fetches content. `waiting` wraps every wait for a provider (the pool's `blocked`).

    `sharing_providers` are those whose classes share calls without asking for it.
    """

    def __init__(
        self,
        providers: Providers,
        *,
        timeout_seconds: float,
        content_limit_bytes: int,
        waiting: Callable[[], AbstractContextManager[None]],
        shared_calls: SharedCalls,
        sharing_providers: frozenset[str],
        observer: CallObserver,
    ) -> None:
        self._providers = providers
        self._timeout_seconds = timeout_seconds
        self._content_limit_bytes = content_limit_bytes
        self._waiting = waiting
        self._shared_calls = shared_calls
        self._sharing_providers = sharing_providers
        self._observer = observer

    def _identity(self, request: PublishRequest, provider_class: SecretProviderClass) -> str:
        """What other requests' must be equal to for a shared call; empty when the request shares none."""
        if not may_share(provider_class, self._sharing_providers):
            return ""
        return fetch_identity(
            provider_class,
            service_account=request.service_account,
            volume_context=request.volume_context,
            tokens=request.tokens,
            secrets=request.secrets,
        )

    def fetch(
        self,
        request: PublishRequest,
        provider_class: SecretProviderClass,
        current: Versions,
        deadline: Deadline,
        moment: Moment | None = None,
    ) -> Fetched:
        """Call the provider, or share a call: one of the `moment`, when there is one, else one that is under way.

        With `current` versions, which a shared call never has, once more without them when that fails, because some
        providers then read the files they believe to be in place (reference providers.md, AWS); not so of a provider that
        is away or asked too often: it would be asked twice as often.

        Raises ProviderNotFoundError, ProviderCallError, ProviderAnswerError, ContentTooLargeError, each in
        upstream's words and without anything secret.
        """
        identity = self._identity(request, provider_class)
        if identity:
            fetched = self._fetched(
                request, lambda: self._share(request, provider_class, identity, deadline, moment)
            )
            return dataclasses.replace(fetched, identity=identity)
        try:
            return self._fetched(
                request, lambda: (self._ask(request, provider_class, current, deadline), False)
            )
        except ProviderCallError as error:
            if not current or error.code in AWAY_CODES:
                raise
        except ProviderAnswerError:
            if not current:
                raise
        self._observer.provider_call_repeated(provider_class.provider)
        return self._fetched(request, lambda: (self._ask(request, provider_class, (), deadline), False))

    def _fetched(self, request: PublishRequest, call: Callable[[], tuple[_Judged, bool]]) -> Fetched:
        files: tuple[PlannedFile, ...] = ()
        try:
            judged, is_shared = call()
            files = judged.answer.files
            if judged.fault is not None:
                raise judged.fault
            return Fetched(
                files=files,
                object_versions=tuple(sorted(dict(judged.answer.object_versions).items())),
                is_shared=is_shared,
            )
        except ProviderCallError as error:
            raise ProviderCallError(failure_text(request, error, files), code=error.code) from error
        except ProviderAnswerError as error:
            raise ProviderAnswerError(
                failure_text(request, error, files), provider_code=error.provider_code
            ) from error
        except (ProviderNotFoundError, ContentTooLargeError) as error:
            raise type(error)(failure_text(request, error, files)) from error

    def _share(
        self,
        request: PublishRequest,
        provider_class: SecretProviderClass,
        identity: str,
        deadline: Deadline,
        moment: Moment | None,
    ) -> tuple[_Judged, bool]:
        """The answer to a call for this request or for an equal one, and whether it was for another."""
        own: list[_Judged] = []

        def ask() -> ProviderAnswer:
            own.append(self._ask(request, provider_class, (), deadline))
            return own[-1].answer

        if moment is not None:
            answer, is_shared = moment.call(identity, ask)
        else:
            answer, is_shared = self._shared_calls.call(
                identity, ask, timeout_seconds=deadline.for_others(self._timeout_seconds)
            )
        if not is_shared:
            return own[-1], False
        self._observer.provider_call_shared(provider_class.provider)
        return self._judge(answer), True

    def _ask(
        self,
        request: PublishRequest,
        provider_class: SecretProviderClass,
        current: Versions,
        deadline: Deadline,
    ) -> _Judged:
        """One call. What is secret in the request is in no text that comes back: others may share it."""
        provider, begun = provider_class.provider, time.monotonic()
        failure: SscsiError | None = None
        try:
            with self._waiting():
                answer = self._providers.mount(
                    provider,
                    ProviderRequest(
                        attributes=attributes_json(
                            provider_class.parameters, request.volume_context, request.tokens
                        ),
                        secrets=secrets_json(request.secrets),
                        permission=PERMISSION,
                        target_path=request.target_path,
                        current_object_versions=current,
                    ),
                    timeout_seconds=deadline.for_others(self._timeout_seconds),
                )
            if answer.error_code:
                # Not cut: the content that it may quote is masked later, and half of it would not be found.
                code = masked_message(answer.error_code, request.sensitive())
                answer = dataclasses.replace(answer, error_code=code)
            judged = self._judge(answer)
            failure = judged.fault
        except ProviderCallError as error:
            failure = ProviderCallError(clean_message(str(error), request.sensitive()), code=error.code)
            raise failure from error
        except SscsiError as error:
            failure = error
            raise
        finally:
            seconds = time.monotonic() - begun
            self._observer.provider_called(provider, failure, seconds, volume_id=request.volume_id)
        return judged

    def _judge(self, answer: ProviderAnswer) -> _Judged:
        try:
            self._check(answer)
        except SscsiError as error:
            return _Judged(answer=answer, fault=error)
        return _Judged(answer=answer, fault=None)

    def _check(self, answer: ProviderAnswer) -> None:
        if answer.error_code:
            raise ProviderAnswerError(
                f"mount request failed with provider error code {answer.error_code}",
                provider_code=answer.error_code,
            )
        if not answer.object_versions:
            raise ProviderAnswerError("missing object versions")
        check_files(answer.files, limit_bytes=self._content_limit_bytes)


def failure_text(request: PublishRequest, error: Exception, files: Iterable[PlannedFile]) -> str:
    """Upstream's words for a failed delivery; `files`, whose paths the error may name, and secrets are masked in it."""
    sensitive = request.sensitive()
    for file in files:
        sensitive += sensitive_lines(file.contents)
    return f"failed to mount secrets store objects for pod {request.pod}, err: {clean_message(str(error), sensitive)}"
