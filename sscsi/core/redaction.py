"""Foreign text made fit for logs, statuses and Events.

A provider's message is passed on (users need it), but it may quote a token, a secret or the content itself
(design P7). Values shorter than 6 bytes are left alone: replacing every `a` would make texts unreadable and
hide nothing.
"""

import base64
import json
import re
from collections.abc import Iterable

MAX_BYTES = 1024
MIN_SENSITIVE_BYTES = 6
MASK = "***"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def clean_message(text: str, sensitive: Iterable[str]) -> str:
    """`text` with every sensitive value masked, control characters made spaces, cut at 1 KiB of UTF-8.

    A value is found as it is, as JSON writes it inside a string, and in base64; masked before anything is
    cut, so that no half of it remains.
    """
    for needle in sorted(_spellings(sensitive), key=len, reverse=True):
        text = text.replace(needle, MASK)
    text = _CONTROL.sub(" ", text).strip()
    data = text.encode(errors="replace")
    if len(data) <= MAX_BYTES:
        return data.decode()
    return data[: MAX_BYTES - 3].decode(errors="ignore") + "..."


def sensitive_lines(contents: bytes) -> list[str]:
    """What may be quoted of a file: the whole text and each of its lines."""
    text = contents.decode(errors="replace")
    return [text, text.strip(), *(line.strip() for line in text.splitlines())]


def token_values(tokens: str) -> list[str]:
    """The service account tokens inside kubelet's JSON (audience to {token, expirationTimestamp}), and the JSON itself."""
    try:
        document = json.loads(tokens)
    except ValueError:
        return [tokens]
    entries = document.values() if isinstance(document, dict) else ()
    return [
        tokens,
        *(str(entry["token"]) for entry in entries if isinstance(entry, dict) and "token" in entry),
    ]


def _spellings(sensitive: Iterable[str]) -> set[str]:
    found = set()
    for value in sensitive:
        data = value.encode(errors="replace")
        if len(data) >= MIN_SENSITIVE_BYTES:
            found |= {
                value,
                json.dumps(value)[1:-1],
                json.dumps(value, ensure_ascii=False)[1:-1],
                base64.b64encode(data).decode(),
            }
    return found
