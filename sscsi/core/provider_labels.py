"""Names of providers as values of a metric's label: not more than a few, whatever classes name."""

import re

PROVIDER_LIMIT = 32
# Of those, names that have no socket: any class may name any provider.
ABSENT_PROVIDER_LIMIT = 16
OTHER = "other"

# Upstream's rule for the name of a provider; one that breaks it has no socket.
_NAME = re.compile("[a-zA-Z0-9_-]{1,30}")


class ProviderLabels:
    """Who comes first keeps its name, the others are OTHER. Not safe for threads."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def label(self, provider: str, *, is_absent: bool = False) -> str:
        """The value for `provider`; an empty one stays so. `is_absent`: it has no socket on this node."""
        if not provider or provider in self._names:
            return provider
        limit = ABSENT_PROVIDER_LIMIT if is_absent else PROVIDER_LIMIT
        if len(self._names) >= limit or not _NAME.fullmatch(provider):
            return OTHER
        self._names.add(provider)
        return provider
