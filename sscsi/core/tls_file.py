"""The parts of a TLS Secret, each from a file: PEM as it stands there; PKCS#12 and DER through a reader.

PEM keys come in every form there is (PKCS#1, PKCS#8, SEC1) and leave in the same: upstream rewrites them, and so
knows RSA and ECDSA only. Errors are ValueErrors, and quote nothing of a file.
"""

import dataclasses
from collections.abc import Callable, Sequence

from sscsi.core.pem import PemBlock, parse_pem

CERTIFICATE_KEY = "tls.crt"
PRIVATE_KEY_KEY = "tls.key"
CA_KEY = "ca.crt"
TLS_KEYS = (CERTIFICATE_KEY, PRIVATE_KEY_KEY, CA_KEY)

# Every PKCS#12 file, DER certificate and DER key is a SEQUENCE.
_DER_SEQUENCE = b"\x30"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KeyStore:
    """What a file that is no PEM holds, as PEM; a part that is not there is empty.

    `certificate` is that of the private key, `further_certificates` are all others, in the order of the file.
    """

    private_key: bytes = dataclasses.field(repr=False)
    certificate: bytes = dataclasses.field(repr=False)
    further_certificates: bytes = dataclasses.field(repr=False)


ReadKeyStore = Callable[[bytes], KeyStore]
"""Reads a PKCS#12 file or DER. Raises ValueError, which begins with a verb and quotes nothing of the file."""


def tls_part(key: str, content: bytes, read_key_store: ReadKeyStore) -> bytes:
    """The value of `key`, one of TLS_KEYS, from the file that the class names for it. Raises ValueError."""
    try:
        blocks = parse_pem(content)
    except ValueError as error:
        raise ValueError(f"the file for {key} can't be read as PEM: {error}") from error
    if blocks:
        return _private_key(blocks) if key == PRIVATE_KEY_KEY else _certificates(key, blocks)
    if not content.startswith(_DER_SEQUENCE):
        raise ValueError(f"the file for {key} is neither PEM nor PKCS#12 nor DER")
    try:
        return _stored_part(key, read_key_store(content))
    except ValueError as error:
        raise ValueError(f"the file for {key} {error}") from error


def _stored_part(key: str, store: KeyStore) -> bytes:
    if key == PRIVATE_KEY_KEY:
        if not store.private_key:
            raise ValueError("is not PEM, and has no private key")
        return store.private_key
    if key == CERTIFICATE_KEY:
        if not store.certificate + store.further_certificates:
            raise ValueError("is not PEM, and has no certificate")
        return store.certificate + store.further_certificates
    if not store.further_certificates:
        raise ValueError("is not PEM, and has no certificate but that of the key")
    return store.further_certificates


def _certificates(key: str, blocks: Sequence[PemBlock]) -> bytes:
    certificates = b"".join(block.text for block in blocks if block.label == "CERTIFICATE")
    if not certificates:
        raise ValueError(f"the PEM file for {key} has no CERTIFICATE")
    return certificates


def _private_key(blocks: Sequence[PemBlock]) -> bytes:
    keys = [block for block in blocks if block.label.endswith("PRIVATE KEY")]
    if not keys:
        raise ValueError(f"the PEM file for {PRIVATE_KEY_KEY} has no private key")
    # Of several the last, as upstream.
    if keys[-1].is_encrypted:
        raise ValueError(f"the private key for {PRIVATE_KEY_KEY} is encrypted; store it without password")
    return keys[-1].text
