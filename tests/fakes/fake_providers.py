"""The Providers port in memory: answers by name of the provider."""

import re
from collections.abc import Mapping
from typing import TypeVar

from sscsi.errors import ProviderCallError, ProviderNotFoundError
from sscsi.ports import ProviderAnswer, ProviderRequest, ProviderVersion

A = TypeVar("A")


class FakeProviders:
    """`answers` and `versions` are given, or raised, by name; who is in neither is not there. Keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, ProviderAnswer | ProviderCallError] = {}
        self.versions: dict[str, ProviderVersion | ProviderCallError] = {}
        self.requests: list[tuple[str, ProviderRequest, float]] = []

    def mount(self, provider: str, request: ProviderRequest, *, timeout_seconds: float) -> ProviderAnswer:
        answer = _find(provider, self.answers)
        self.requests.append((provider, request, timeout_seconds))
        if isinstance(answer, ProviderCallError):
            raise answer
        return answer

    def names(self) -> list[str]:
        return sorted({*self.answers, *self.versions})

    def version(self, provider: str, *, timeout_seconds: float) -> ProviderVersion:
        answer = _find(provider, self.versions)
        if isinstance(answer, ProviderCallError):
            raise answer
        return answer


def _find(provider: str, answers: Mapping[str, A]) -> A:
    if not re.fullmatch("[a-zA-Z0-9_-]{1,30}", provider):
        raise ProviderNotFoundError(
            f'error connecting to provider "{provider}": invalid provider: provider "{provider}"'
        )
    if provider not in answers:
        raise ProviderNotFoundError(
            f'error connecting to provider "{provider}": provider not found: provider "{provider}"'
        )
    return answers[provider]
