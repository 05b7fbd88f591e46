"""Whose content a provider is asked for: pods of equal identity may share one call (design, section 3).

A provider decides by what it is told. So two calls are alike only when everything that it is told is, but for what
names the one pod among its equals: the pod's name, its UID, the target path, and the tokens' values. The tokens of equal
identity are of one service account and for the same audiences: a store that trusts one of them trusts the other. What
may still tell pods apart, a provider that looks a pod up by its UID for instance, is why it takes the class's author, or
the operator, to allow it.
"""

import hashlib
import json
from collections.abc import Mapping

from sscsi.core.annotations import SHARED_CALLS
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.provider_request import TOKENS_KEY

# Of the volume context, what names a pod and not its identity.
_OF_THE_POD = frozenset({"csi.storage.k8s.io/pod.name", "csi.storage.k8s.io/pod.uid", TOKENS_KEY})


def may_share(provider_class: SecretProviderClass, providers: frozenset[str]) -> bool:
    """Whether the class asks for it, or its provider is one of `providers`, the operator's list; "false" forbids it."""
    wish = provider_class.annotations.get(SHARED_CALLS, "")
    return wish == "true" or (wish != "false" and provider_class.provider in providers)


def fetch_identity(
    provider_class: SecretProviderClass,
    *,
    service_account: str,
    volume_context: Mapping[str, str],
    tokens: str,
    secrets: Mapping[str, str],
) -> str:
    """A digest that is equal for calls that are alike; empty for a call that is like no other.

    That is one without a service account, and one whose tokens make no sense. No secret can be had from it (it is kept
    in memory only, all the same).
    """
    audiences = _audiences(tokens)
    if not service_account or audiences is None:
        return ""
    document = [
        provider_class.namespace,
        provider_class.name,
        provider_class.uid,
        provider_class.generation,
        provider_class.provider,
        service_account,
        sorted(provider_class.parameters.items()),
        sorted(item for item in volume_context.items() if item[0] not in _OF_THE_POD),
        audiences,
        sorted(item for item in secrets.items() if item[0] != TOKENS_KEY),
    ]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _audiences(tokens: str) -> list[str] | None:
    """The audiences of kubelet's tokens; None when they can't be told."""
    if not tokens:
        return []
    try:
        document = json.loads(tokens)
    except (ValueError, RecursionError):
        return None
    return sorted(document) if isinstance(document, dict) else None
