"""Asking a provider for a volume's content, and judging the answer."""

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from sscsi.core.file_plan import PlannedFile, check_files
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.provider_request import PERMISSION, attributes_json, secrets_json
from sscsi.core.redaction import clean_message, sensitive_lines
from sscsi.errors import ContentTooLargeError, ProviderAnswerError, ProviderCallError, ProviderNotFoundError
from sscsi.node.deadline import Deadline
from sscsi.node.publish_request import PublishRequest
from sscsi.ports import ProviderAnswer, ProviderRequest, Providers

Versions = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A provider's answer that passed every check. No files: the provider writes the target path itself."""

    files: tuple[PlannedFile, ...]
    object_versions: Versions


class ProviderFetch:
    """Fetches content. `waiting` wraps every wait for a provider (the pool's `blocked`)."""

    def __init__(
        self,
        providers: Providers,
        *,
        timeout_seconds: float,
        content_limit_bytes: int,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._providers = providers
        self._timeout_seconds = timeout_seconds
        self._content_limit_bytes = content_limit_bytes
        self._waiting = waiting

    def fetch(
        self,
        request: PublishRequest,
        provider_class: SecretProviderClass,
        current: Versions,
        deadline: Deadline,
    ) -> Fetched:
        """Call the provider; with `current` versions once more without them when that fails, because some
        providers then read the files they believe to be in place (reference providers.md, AWS).

        Raises ProviderNotFoundError, ProviderCallError, ProviderAnswerError, ContentTooLargeError, each in
        upstream's words and without anything secret.
        """
        try:
            return self._fetch(request, provider_class, current, deadline)
        except (ProviderCallError, ProviderAnswerError):
            if not current:
                raise
        return self._fetch(request, provider_class, (), deadline)

    def _fetch(
        self,
        request: PublishRequest,
        provider_class: SecretProviderClass,
        current: Versions,
        deadline: Deadline,
    ) -> Fetched:
        files: tuple[PlannedFile, ...] = ()
        try:
            with self._waiting():
                answer = self._providers.mount(
                    provider_class.provider,
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
            files = answer.files
            return self._judge(answer)
        except ProviderCallError as error:
            raise ProviderCallError(failure_text(request, error, files), code=error.code) from error
        except (ProviderNotFoundError, ProviderAnswerError, ContentTooLargeError) as error:
            raise type(error)(failure_text(request, error, files)) from error

    def _judge(self, answer: ProviderAnswer) -> Fetched:
        if answer.error_code:
            raise ProviderAnswerError(f"mount request failed with provider error code {answer.error_code}")
        if not answer.object_versions:
            raise ProviderAnswerError("missing object versions")
        check_files(answer.files, limit_bytes=self._content_limit_bytes)
        return Fetched(
            files=answer.files, object_versions=tuple(sorted(dict(answer.object_versions).items()))
        )


def failure_text(request: PublishRequest, error: Exception, files: Iterable[PlannedFile]) -> str:
    """Upstream's words for a failed delivery; `files`, whose paths the error may name, and secrets are masked in it."""
    sensitive = request.sensitive()
    for file in files:
        sensitive += sensitive_lines(file.contents)
    return f"failed to mount secrets store objects for pod {request.pod}, err: {clean_message(str(error), sensitive)}"
