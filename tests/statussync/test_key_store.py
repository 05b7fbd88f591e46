"""TLS files that are no PEM: PKCS#12 old and modern, and DER, as OpenSSL reads them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from sidecars.statussync.key_store import read_key_store
from sidecars.statussync.secret_rules import secret_rules
from sscsi.core.tls_file import TLS_KEYS, KeyStore, tls_part

PLACE = Path(__file__).parent / "key_stores"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE_KEYS = [rsa.generate_private_key(65537, 2048), EC_KEY, ed25519.Ed25519PrivateKey.generate()]


def stored(name: str) -> bytes:
    return (PLACE / f"{name}.p12").read_bytes()


def subjects(pem: bytes) -> list[str]:
    return [certificate.subject.rfc4514_string() for certificate in x509.load_pem_x509_certificates(pem)]


@pytest.mark.parametrize(
    ("name", "subject", "label"),
    [
        ("rc2-rsa", "CN=leaf", b"RSA PRIVATE KEY"),
        ("rc2-ec", "CN=ec", b"EC PRIVATE KEY"),
        ("3des-rsa", "CN=leaf", b"RSA PRIVATE KEY"),
        ("aes-rsa", "CN=leaf", b"RSA PRIVATE KEY"),
        ("aes-ec", "CN=ec", b"EC PRIVATE KEY"),
        ("aes-ed25519", "CN=ed", b"PRIVATE KEY"),
    ],
)
def test_a_pkcs12_file_gives_the_key_as_upstream_writes_it_its_certificate_and_the_others(
    name: str, subject: str, label: bytes
) -> None:
    content = stored(name)
    key, certificates, others = (
        tls_part(part, content, read_key_store) for part in ("tls.key", "tls.crt", "ca.crt")
    )
    assert key.startswith(b"-----BEGIN " + label + b"-----\n")
    assert subjects(certificates) == [subject, "CN=ca"]
    assert subjects(others) == ["CN=ca"]
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    of_key = load_pem_private_key(key, None).public_key().public_bytes(*form)
    assert x509.load_pem_x509_certificate(certificates).public_key().public_bytes(*form) == of_key


def test_a_pkcs12_file_without_encryption_is_read() -> None:
    assert subjects(read_key_store(stored("no-mac")).certificate) == ["CN=leaf"]


def test_a_pkcs12_file_of_certificates_alone_has_no_key() -> None:
    content = stored("no-key")
    assert subjects(tls_part("tls.crt", content, read_key_store)) == ["CN=ca"]
    with pytest.raises(ValueError, match=r"^the file for tls.key is not PEM, and has no private key$"):
        tls_part("tls.key", content, read_key_store)


def test_a_pkcs12_file_without_other_certificates_has_no_ca() -> None:
    with pytest.raises(ValueError, match=r"^the file for ca.crt is not PEM, and has no certificate but"):
        tls_part("ca.crt", stored("no-mac"), read_key_store)


DOES_NOT_OPEN = "is a PKCS#12 file that does not open with an empty password, or is damaged"
LEGACY = "; its encryption RC2-40 is read only where OpenSSL has its legacy provider"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (stored("password"), DOES_NOT_OPEN),
        (stored("rc2-password"), DOES_NOT_OPEN + LEGACY),
        (stored("aes-rsa")[:-1], DOES_NOT_OPEN),
        (stored("aes-rsa")[:-40] + bytes(40), DOES_NOT_OPEN),
        (b"\x30", "is neither PEM nor PKCS#12, nor a certificate or private key in DER"),
        (b"\x30\x82CANARY", "is neither PEM nor PKCS#12, nor a certificate or private key in DER"),
        (
            EC_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            "is a private key that is encrypted; store it without password",
        ),
    ],
)
def test_what_cannot_be_read_is_said(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=r"^is ") as caught:
        read_key_store(content)
    assert str(caught.value) == message


def test_without_the_legacy_provider_rc2_is_named() -> None:
    """The same process can't have OpenSSL twice."""
    program = (
        "import sys; from sidecars.statussync.key_store import read_key_store\n"
        "try: read_key_store(sys.stdin.buffer.read())\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=stored("rc2-rsa"),
        env={**os.environ, "CRYPTOGRAPHY_OPENSSL_NO_LEGACY": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.decode().strip() == DOES_NOT_OPEN + LEGACY


@pytest.mark.parametrize("key", PRIVATE_KEYS)
def test_a_private_key_in_der_becomes_pem(key: rsa.RSAPrivateKey) -> None:
    form = PrivateFormat.TraditionalOpenSSL
    if isinstance(key, ed25519.Ed25519PrivateKey):
        form = PrivateFormat.PKCS8
    wanted = key.private_bytes(Encoding.PEM, form, NoEncryption())
    for given_form in {form, PrivateFormat.PKCS8}:
        content = key.private_bytes(Encoding.DER, given_form, NoEncryption())
        assert tls_part("tls.key", content, read_key_store) == wanted


def test_a_certificate_in_der_becomes_pem() -> None:
    pem = read_key_store(stored("no-mac")).certificate
    content = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert tls_part("tls.crt", content, read_key_store) == pem
    assert tls_part("ca.crt", content, read_key_store) == pem


@pytest.mark.parametrize("key", PRIVATE_KEYS)
@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_a_private_key_in_pem_stays_as_it_is(key: rsa.RSAPrivateKey, form: PrivateFormat) -> None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        form = PrivateFormat.PKCS8
    pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
    assert tls_part("tls.key", b"of the web shop\n" + pem, read_key_store) == pem


def test_a_pem_file_needs_no_openssl() -> None:
    def refuse(_content: bytes) -> KeyStore:
        raise AssertionError("a PEM file was handed on")

    chain = read_key_store(stored("aes-rsa"))
    pem = chain.private_key + chain.certificate + chain.further_certificates
    assert tls_part("tls.crt", pem, refuse) == chain.certificate + chain.further_certificates
    assert tls_part("tls.key", pem, refuse) == chain.private_key


def test_the_room_imports_openssl_only_for_a_file_that_needs_it() -> None:
    program = "import sys, sidecars.statussync.__main__; sys.exit('cryptography' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], timeout=60, check=True)


def test_the_room_reads_key_stores() -> None:
    rules = secret_rules(allow_privileged_types=True)
    assert rules.allow_privileged_types
    assert rules.read_key_store(stored("aes-ec")) == read_key_store(stored("aes-ec"))


def test_a_key_store_shows_no_content_in_its_repr() -> None:
    assert "BEGIN" not in repr(read_key_store(stored("aes-rsa")))


@given(st.sampled_from(TLS_KEYS), st.binary(max_size=60))
def test_any_bytes_are_a_part_or_an_error(key: str, tail: bytes) -> None:
    for content in (tail, b"\x30" + tail, stored("aes-ec")[:40] + tail):
        try:
            tls_part(key, content, read_key_store)
        except ValueError as error:
            assert str(error).startswith("the file for ")  # noqa: PT017 - some input may well be read
