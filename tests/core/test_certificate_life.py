"""Certificates as stores deliver them, made with `cryptography`; and what only looks like one."""

import base64
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.certificate_life import CertificateLife, certificate_life, read_validity

BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NOW = BEGIN.timestamp()
KEY = ed25519.Ed25519PrivateKey.generate()


def certificate(begin: dt.datetime, end: dt.datetime, *, name: str = "web") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("n" * 60 + ".example")] * 5), critical=False)
        .sign(KEY, None)
    )
    return made.public_bytes(serialization.Encoding.PEM)


class TestLife:
    @pytest.mark.parametrize("days", [3, 90, 3650, 36500])
    def test_two_thirds_of_the_life(self, days: int) -> None:
        end = BEGIN + dt.timedelta(days=days)
        life = certificate_life([b"text before\n" + certificate(BEGIN, end) + b"after"], NOW)
        assert life is not None
        assert life.renew_time == pytest.approx((BEGIN + dt.timedelta(days=days * 2 / 3)).timestamp())
        assert life.expiry_time == end.timestamp()

    @pytest.mark.parametrize("year", [1950, 1999, 2000, 2049, 2050, 2051])
    def test_both_forms_of_time(self, year: int) -> None:
        begin = dt.datetime(year, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
        end = begin.replace(year=year + 1)
        life = certificate_life([certificate(begin, end)], NOW)
        assert life is not None
        assert life.expiry_time == end.timestamp()

    def test_of_several_in_several_files_the_first_to_be_renewed(self) -> None:
        long = certificate(BEGIN, BEGIN + dt.timedelta(days=3650), name="ca")
        short = certificate(BEGIN, BEGIN + dt.timedelta(days=3))
        life = certificate_life([b"nothing", long + short + long, long], NOW)
        assert life is not None
        assert life.expiry_time == (BEGIN + dt.timedelta(days=3)).timestamp()

    @pytest.mark.parametrize(
        ("age_days", "left_days"), [(100, -1), (100, 28), (1, 100)], ids=["ended", "past two thirds", "young"]
    )
    def test_an_authority_does_not_hide_the_certificate_beside_it(
        self, age_days: int, left_days: int
    ) -> None:
        authority = certificate(
            BEGIN - dt.timedelta(days=age_days), BEGIN + dt.timedelta(days=left_days), name="ca"
        )
        begin = BEGIN - dt.timedelta(days=1)
        end = begin + dt.timedelta(days=3)
        life = certificate_life([authority + certificate(begin, end) + authority], NOW)
        assert life == CertificateLife(renew_time=NOW + 86400, expiry_time=end.timestamp())

    def test_one_past_its_time_goes_before_one_that_has_longer(self) -> None:
        old = certificate(BEGIN - dt.timedelta(days=9), BEGIN + dt.timedelta(days=1))
        young = certificate(BEGIN, BEGIN + dt.timedelta(days=3))
        life = certificate_life([young + old], NOW)
        assert life is not None
        assert life.expiry_time == (BEGIN + dt.timedelta(days=1)).timestamp()

    def test_agrees_with_a_library_on_a_chain_of_every_length(self) -> None:
        for size in (1, 63, 64):
            pem = certificate(BEGIN, BEGIN + dt.timedelta(hours=size), name="n" * size)
            loaded = x509.load_pem_x509_certificate(pem)
            life = certificate_life([pem], NOW)
            assert life is not None
            assert life.expiry_time == loaded.not_valid_after_utc.timestamp()
            assert loaded.signature_hash_algorithm is None or isinstance(
                loaded.signature_hash_algorithm, hashes.HashAlgorithm
            )


class TestNone:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"password",
            b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            b"-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----",
            b"-----BEGIN CERTIFICATE-----\nMIIB",
            b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
            b"-----BEGIN CERTIFICATE-----" * 1000,
        ],
    )
    def test_whatever_is_no_certificate_tells_nothing(self, content: bytes) -> None:
        assert certificate_life([content], NOW) is None

    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_without_a_fault(self, data: bytes) -> None:
        read_validity(base64.b64encode(data))

    @given(st.integers(0, 400), st.integers(0, 255))
    def test_a_certificate_with_one_byte_wrong(self, position: int, value: int) -> None:
        der = bytearray(
            x509.load_pem_x509_certificate(certificate(BEGIN, BEGIN + dt.timedelta(days=1))).public_bytes(
                serialization.Encoding.DER
            )
        )
        der[position % len(der)] = value
        validity = read_validity(base64.b64encode(bytes(der)))
        assert validity is None or validity[0] < validity[1]

    def test_a_file_that_is_too_large_is_not_searched(self) -> None:
        pem = certificate(BEGIN, BEGIN + dt.timedelta(days=1))
        assert certificate_life([pem + b" " * 1024 * 1024], NOW) is None
        assert isinstance(certificate_life([pem], NOW), CertificateLife)
