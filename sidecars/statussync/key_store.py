"""PKCS#12 files and DER, read by OpenSSL through `cryptography`.

Importing and using this takes 11 MiB, so only a file that is no PEM has it imported. Keys become what upstream makes of
them, PKCS#1 for RSA and SEC1 for ECDSA, so that consumers see no change; others, which upstream refuses, become
PKCS#8. Upstream writes the attributes of PKCS#12 as headers into PEM; here there are none.
"""

from collections.abc import Iterable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from cryptography.x509 import Certificate, load_der_x509_certificate

from sscsi.core.tls_file import KeyStore

# INTEGER 3, the version of every PKCS#12 file (RFC 7292, 4); keys begin with 0 or 1, certificates with no integer.
_PKCS12_VERSION = b"\x02\x01\x03"
# pbeWithSHA1And40BitRC2-CBC (RFC 7292, appendix C), as it stands in DER.
_RC2_40 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x06"


def read_key_store(content: bytes) -> KeyStore:
    """What a PKCS#12 file with an empty password holds, or a certificate or private key in DER.

    The ReadKeyStore of `tls_file`. Raises ValueError.
    """
    if _inside(content).startswith(_PKCS12_VERSION):
        return _read_pkcs12(content)
    return _read_certificate(content) or _read_private_key(content)


def _inside(content: bytes) -> bytes:
    """What follows the outermost tag and length (X.690, 8.1.3)."""
    length = content[1:2]
    more = length[0] & 0x7F if length and length[0] & 0x80 else 0
    return content[2 + more :]


def _read_pkcs12(content: bytes) -> KeyStore:
    try:
        store = load_pkcs12(content, None)
        return KeyStore(
            private_key=_key_as_pem(store.key) if store.key else b"",
            certificate=_as_pem([store.cert.certificate] if store.cert else []),
            further_certificates=_as_pem(entry.certificate for entry in store.additional_certs),
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        text = "is a PKCS#12 file that does not open with an empty password, or is damaged"
        if _RC2_40 in content:
            text += "; its encryption RC2-40 is read only where OpenSSL has its legacy provider"
        raise ValueError(text) from error


def _read_certificate(content: bytes) -> KeyStore | None:
    try:
        certificate = load_der_x509_certificate(content)
    except ValueError:
        return None
    return KeyStore(private_key=b"", certificate=b"", further_certificates=_as_pem([certificate]))


def _read_private_key(content: bytes) -> KeyStore:
    try:
        key = _key_as_pem(load_der_private_key(content, None))
    except TypeError as error:
        raise ValueError("is a private key that is encrypted; store it without password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("is neither PEM nor PKCS#12, nor a certificate or private key in DER") from error
    return KeyStore(private_key=key, certificate=b"", further_certificates=b"")


def _as_pem(certificates: Iterable[Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _key_as_pem(key: PrivateKeyTypes) -> bytes:
    is_old = isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey)
    form = PrivateFormat.TraditionalOpenSSL if is_old else PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, NoEncryption())
