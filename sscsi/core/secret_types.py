"""Types of Secrets of which the API knows more than their name (Kubernetes docs, "Types of Secret")."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from sscsi.core.tls_file import CERTIFICATE_KEY, PRIVATE_KEY_KEY

OPAQUE = "Opaque"
TLS = "kubernetes.io/tls"
# The API mints or honours credentials for whoever may write these (users reference, CVE-2026-42876).
PRIVILEGED = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})

# Of each group the API server asks for at least one key.
_REQUIRED_KEYS: Mapping[str, Sequence[Sequence[str]]] = {
    TLS: ((CERTIFICATE_KEY,), (PRIVATE_KEY_KEY,)),
    "kubernetes.io/dockerconfigjson": ((".dockerconfigjson",),),
    "kubernetes.io/dockercfg": ((".dockercfg",),),
    "kubernetes.io/basic-auth": (("username", "password"),),
    "kubernetes.io/ssh-auth": (("ssh-privatekey",),),
}


def missing_key(secret_type: str, keys: AbstractSet[str]) -> str:
    """Which key a Secret of this type lacks, in words; empty when it lacks none."""
    for group in _REQUIRED_KEYS.get(secret_type, ()):
        if keys.isdisjoint(group):
            return " or ".join(group)
    return ""
