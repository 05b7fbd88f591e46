"""What follows from each call to a provider: a log line, figures, and whether its gate stays open."""

import logging

import grpc

from sscsi.core import log_keys, log_levels
from sscsi.edges.grpc_status import GO_NAMES, code_of
from sscsi.errors import (
    ContentTooLargeError,
    ProviderAnswerError,
    ProviderCallError,
    ProviderNotFoundError,
    SscsiError,
)
from sscsi.node.error_types import known_code
from sscsi.node.metrics import ANSWER_INVALID, NodeMetrics
from sscsi.node.provider_fetch import AWAY_CODES
from sscsi.node.provider_gates import ProviderGates

log = logging.getLogger(__name__)

# Of an answer that came, and is of no use.
_ANSWERED = (ProviderAnswerError, ContentTooLargeError)


class ProviderCallObserver:
    """The CallObserver of ProviderFetch."""

    def __init__(self, metrics: NodeMetrics, gates: ProviderGates) -> None:
        self._metrics = metrics
        self._gates = gates

    def provider_called(
        self, provider: str, error: SscsiError | None, seconds: float, *, volume_id: str
    ) -> None:
        """Count the call; a provider that was not found was not called."""
        if isinstance(error, ProviderNotFoundError):
            return
        result = _result(error)
        self._metrics.provider_called(provider, result, seconds)
        if log.isEnabledFor(log_levels.REQUESTS):
            # Without the error's text: the volume's line has it, with the content masked, which nobody knows here.
            about = {
                log_keys.METHOD: "Mount",
                log_keys.CODE: result,
                log_keys.SECONDS: round(seconds, 6),
                log_keys.VOLUME_ID: volume_id,
                log_keys.PROVIDER: provider,
            }
            log.log(log_levels.REQUESTS, "provider call", extra=about)
        if isinstance(error, ProviderCallError) and error.code in AWAY_CODES:
            self._gates.was_away(provider, str(error))
        elif error is None or isinstance(error, (ProviderCallError, *_ANSWERED)):
            self._gates.answered(provider)

    def provider_call_shared(self, provider: str) -> None:
        self._metrics.provider_call_shared(provider)

    def provider_call_repeated(self, provider: str) -> None:
        self._gates.charge(provider)


def _result(error: SscsiError | None) -> str:
    if error is None:
        return GO_NAMES[grpc.StatusCode.OK]
    if isinstance(error, ProviderCallError):
        return GO_NAMES[code_of(error.code)]
    if isinstance(error, ProviderAnswerError) and error.provider_code:
        return known_code(error.provider_code)
    return ANSWER_INVALID if isinstance(error, _ANSWERED) else GO_NAMES[grpc.StatusCode.UNKNOWN]
