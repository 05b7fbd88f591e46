"""When the certificates in a volume's content are to be renewed, read from their PEM and DER (RFC 7468, RFC 5280).

Only the validity is read, by a walk over the few elements before it: `cryptography` would cost the node room 11 MiB
for two dates (measured). Whatever is no certificate tells nothing, and is no error: files may hold anything.
"""

import base64
import binascii
import dataclasses
import datetime as dt
import math
import re
from collections.abc import Iterable, Iterator

from sscsi.core.refresh_due import RENEWAL_PART

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_MAX_CERTIFICATES = 100
_MAX_FILE_BYTES = 1024 * 1024
_RENEW_AFTER = 2 / 3
_SEQUENCE, _INTEGER, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x02, 0x17, 0x18, 0xA0
# X.690: a length of more bytes than this is of no certificate that fits a volume.
_MAX_LENGTH_BYTES = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CertificateLife:
    """When two thirds of a certificate's life are over, and all of it; seconds since the epoch."""

    renew_time: float
    expiry_time: float


def certificate_life(contents: Iterable[bytes], now: float) -> CertificateLife | None:
    """The life that matters first, of all PEM certificates in the files; None when there is none.

    That is the one to be renewed next, or sooner again to be looked after because its time is past. An old authority in
    the chain does not hide the certificate beside it, and one that has ended matters last: nobody may renew it at all.
    """
    lives = [
        CertificateLife(renew_time=begin + (end - begin) * _RENEW_AFTER, expiry_time=end)
        for begin, end in _validities(contents)
    ]
    return min(lives, key=lambda life: _next_look(life, now), default=None)


def _next_look(life: CertificateLife, now: float) -> float:
    if life.renew_time > now:
        return life.renew_time
    left = life.expiry_time - now
    return now + left / RENEWAL_PART if left > 0 else math.inf


def _validities(contents: Iterable[bytes]) -> Iterator[tuple[float, float]]:
    seen = 0
    for content in contents:
        if len(content) > _MAX_FILE_BYTES or b"-----BEGIN CERTIFICATE-----" not in content:
            continue
        for match in _PEM.finditer(content):
            if seen >= _MAX_CERTIFICATES:
                return
            seen += 1
            validity = read_validity(match[1])
            if validity is not None:
                yield validity


def read_validity(pem_body: bytes) -> tuple[float, float] | None:
    """Begin and end (notBefore, notAfter) of one certificate in base64, in seconds since the epoch; None when it is none."""
    try:
        der = base64.b64decode(pem_body)
        certificate = _element(der, 0, _SEQUENCE)
        to_be_signed = _element(der, certificate[0], _SEQUENCE)
        position = to_be_signed[0]
        if der[position] == _VERSION:
            position = _element(der, position, _VERSION)[1]
        position = _element(der, position, _INTEGER)[1]
        for _ in ("signature", "issuer"):
            position = _element(der, position, _SEQUENCE)[1]
        begin, _end = _element(der, position, _SEQUENCE)
        not_before, position = _time(der, begin)
        not_after, _ = _time(der, position)
    except (ValueError, IndexError, binascii.Error, OverflowError):
        return None
    return (not_before, not_after) if not_before < not_after else None


def _element(der: bytes, position: int, tag: int) -> tuple[int, int]:
    """Where the content of the element at `position` begins and ends. Raises ValueError, IndexError."""
    if der[position] != tag:
        raise ValueError("another element")
    length, begin = der[position + 1], position + 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _MAX_LENGTH_BYTES:
            raise ValueError("no such length")
        length = int.from_bytes(der[begin : begin + count], "big")
        begin += count
    if begin + length > len(der):
        raise ValueError("cut off")
    return begin, begin + length


def _time(der: bytes, position: int) -> tuple[float, int]:
    """A time (RFC 5280, 4.1.2.5), and where the element after it begins. Raises ValueError, IndexError."""
    tag = der[position]
    if tag not in {_UTC_TIME, _GENERALIZED_TIME}:
        raise ValueError("no time")
    begin, end = _element(der, position, tag)
    text = der[begin:end].decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year: from 50 on they are of the last century.
        text = ("19" if text >= "50" else "20") + text
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC).timestamp(), end
