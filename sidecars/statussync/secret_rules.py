"""What this program's settings make of the rules for Secrets."""

from sscsi.core.secret_data import SecretRules
from sscsi.core.tls_file import KeyStore


def secret_rules(*, allow_privileged_types: bool) -> SecretRules:
    """The rules, with OpenSSL for the TLS files that are no PEM."""
    return SecretRules(allow_privileged_types=allow_privileged_types, read_key_store=_read_key_store)


def _read_key_store(content: bytes) -> KeyStore:
    # OpenSSL is 11 MiB that only a file which needs it is worth.
    from sidecars.statussync.key_store import read_key_store  # noqa: PLC0415

    return read_key_store(content)
