"""Names as the Kubernetes API allows them, and names derived from what it would refuse.

Sources: RFC 1123 as Kubernetes applies it (docs, "Object Names and IDs"), and the API's validation of label
values and Secret keys.
"""

import hashlib
import re

MAX_SUBDOMAIN = 253
MAX_LABEL_VALUE = 63
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_HASH_LENGTH = 16


def is_subdomain(name: str) -> bool:
    """Whether `name` can name an object: lower case letters, digits, `-` and `.`, at most 253."""
    return len(name) <= MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(name) is not None


def is_secret_key(key: str) -> bool:
    """Whether `key` can be a key of Secret.data."""
    return (
        len(key) <= MAX_SUBDOMAIN
        and _SECRET_KEY.fullmatch(key) is not None
        and key != "."
        and not key.startswith("..")
    )


def subdomain(name: str) -> str:
    """`name` if it can name an object, else what is left of it and a hash that keeps it apart from others."""
    if is_subdomain(name):
        return name
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower())[: MAX_SUBDOMAIN - _HASH_LENGTH - 1].strip("-")
    return f"{kept}-{_digest(name)}" if kept else _digest(name)


def label_value(text: str) -> str:
    """`text` if it can be a label's value, else what is left of it and a hash that keeps it apart."""
    if len(text) <= MAX_LABEL_VALUE and _LABEL_VALUE.fullmatch(text):
        return text
    kept = re.sub(r"[^A-Za-z0-9]+", "-", text)[: MAX_LABEL_VALUE - _HASH_LENGTH - 1].strip("-")
    return f"{kept}-{_digest(text)}" if kept else _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
