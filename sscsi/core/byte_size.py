"""Sizes as Kubernetes writes quantities of memory: `64Mi`, `1.5Gi`, `200M`, `4194304`.

Source: the documentation of Kubernetes' resource.Quantity, without its exponents and its fractions of a byte.
"""

import re

_UNIT_BYTES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))?([A-Za-z]*)", re.ASCII)
_SHOWN_UNITS = ("Gi", "Mi", "Ki")


def parse_size(text: str) -> int:
    """Bytes of a size. A part of a byte is rounded down. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None or match[3] not in _UNIT_BYTES:
        raise ValueError(f"{text!r} is not a size; write it like 64Mi, 1.5Gi or 4194304")
    whole, fraction, unit = match[1], match[2] or "", match[3]
    return int(whole + fraction) * _UNIT_BYTES[unit] // int("1".ljust(len(fraction) + 1, "0"))


def format_size(size: int) -> str:
    """A size for people: one decimal at most in the largest unit that it reaches (`96Mi`, `1.5Gi`, `512`)."""
    for unit in _SHOWN_UNITS:
        if size >= _UNIT_BYTES[unit]:
            return f"{size / _UNIT_BYTES[unit]:.1f}".removesuffix(".0") + unit
    return str(size)
