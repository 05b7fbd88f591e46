"""What follows from each call to a provider: figures, and whether its gate stays open."""

import grpc

from sscsi.edges.grpc_status import GO_NAMES, code_of
from sscsi.errors import ProviderAnswerError, ProviderCallError, ProviderNotFoundError, SscsiError
from sscsi.node.metrics import ANSWER_INVALID, NodeMetrics
from sscsi.node.provider_fetch import AWAY_CODES
from sscsi.node.provider_gates import ProviderGates


class ProviderCallObserver:
    """The CallObserver of ProviderFetch."""

    def __init__(self, metrics: NodeMetrics, gates: ProviderGates) -> None:
        self._metrics = metrics
        self._gates = gates

    def provider_called(self, provider: str, error: SscsiError | None, seconds: float) -> None:
        """Count the call; a provider that was not found was not called."""
        if isinstance(error, ProviderNotFoundError):
            return
        self._metrics.provider_called(provider, _result(error), seconds)
        if isinstance(error, ProviderCallError) and error.code in AWAY_CODES:
            self._gates.was_away(provider, str(error))
        elif error is None or isinstance(error, (ProviderCallError, ProviderAnswerError)):
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
    return ANSWER_INVALID if isinstance(error, ProviderAnswerError) else GO_NAMES[grpc.StatusCode.UNKNOWN]
