"""The Providers port in memory: answers by name of the provider."""

import re

from sscsi.errors import ProviderCallError, ProviderNotFoundError
from sscsi.ports import ProviderAnswer, ProviderRequest


class FakeProviders:
    """`answers` are given, or raised, by name; who is not in it is not there. Keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, ProviderAnswer | ProviderCallError] = {}
        self.requests: list[tuple[str, ProviderRequest, float]] = []

    def mount(self, provider: str, request: ProviderRequest, *, timeout_seconds: float) -> ProviderAnswer:
        if not re.fullmatch("[a-zA-Z0-9_-]{1,30}", provider):
            raise ProviderNotFoundError(
                f'error connecting to provider "{provider}": invalid provider: provider "{provider}"'
            )
        if provider not in self.answers:
            raise ProviderNotFoundError(
                f'error connecting to provider "{provider}": provider not found: provider "{provider}"'
            )
        self.requests.append((provider, request, timeout_seconds))
        answer = self.answers[provider]
        if isinstance(answer, ProviderCallError):
            raise answer
        return answer
