"""Foreign text made fit for logs, statuses and Events.

A provider's message is passed on (users need it), but it may quote a token, a secret or the content itself
(design P7). Values shorter than 6 bytes are left alone: replacing every `a` would make texts unreadable and
hide nothing.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence

from sscsi.core.provider_request import go_string

MAX_BYTES = 1024
MIN_SENSITIVE_BYTES = 6
MASK = "***"
# Text that every JSON writer writes as it is.
_PLAIN = re.compile(r"[A-Za-z0-9 ./:;=,_+-]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]+")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+")
# A longer value is in no URL; its lines are values of their own.
_MAX_QUOTED = 4096
# Control characters and line separators, one space for each, so that what had one keeps its length.
_SPACES = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")


def clean_message(text: str, sensitive: Iterable[str]) -> str:
    """`text` as of `masked_message`, cut at 1 KiB of UTF-8; masked before anything is cut, so that no half remains."""
    data = masked_message(text, sensitive).encode()
    if len(data) <= MAX_BYTES:
        return data.decode()
    return data[: MAX_BYTES - 3].decode(errors="ignore") + "..."


def masked_message(text: str, sensitive: Iterable[str]) -> str:
    """`text` with every sensitive value masked and control characters made spaces; for text that is masked again.

    A value is found as it is, as JSON writes it inside a string, in base64 of either alphabet, padded or not, and
    as a URL or a form has it; also where its control characters, or those of the text, were made spaces.
    """
    values = [value for value in sensitive if len(value.encode(errors="replace")) >= MIN_SENSITIVE_BYTES]
    masked = _mask_quoted(_mask(text, values), values)
    text = masked.translate(_SPACES)
    again = [
        value for value in values if len(value) <= len(text) and (text != masked or not value.isprintable())
    ]
    text = _mask(text, [value.translate(_SPACES) for value in again]).strip()
    return text.encode(errors="replace").decode()


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


def _mask(text: str, values: Sequence[str]) -> str:
    # An answer may have half a million lines and the text is short: only what can be in it is made and sought.
    needles = {value for value in values if value in text}
    for value in values:
        if not _PLAIN.fullmatch(value):
            needles |= {
                json.dumps(value)[1:-1],
                json.dumps(value, ensure_ascii=False)[1:-1],
                go_string(value)[1:-1],
            }
    longest = max(map(len, _BASE64.findall(text)), default=0)
    for value in values:
        if len(value) * 4 // 3 <= longest:
            needles.update(_base64_forms(value, text))
    for needle in sorted(needles, key=len, reverse=True):
        text = text.replace(needle, MASK)
    return text


def _base64_forms(value: str, text: str) -> Iterator[str]:
    """The value as it is in `text` in base64 of either alphabet (RFC 4648), padded or, as in a JSON Web Token, not."""
    data = value.encode(errors="replace")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        padded = encode(data).decode()
        bare = padded.rstrip("=")
        if bare in text:
            yield from (padded, bare)


def _mask_quoted(text: str, values: Sequence[str]) -> str:
    """`text` with every value masked that stands there in percent-encoding (RFC 3986), as in a URL or a form."""
    if "%" not in text and "+" not in text:
        return text
    for value in sorted({value for value in values if len(value) <= _MAX_QUOTED}, key=len, reverse=True):
        # Letters and digits are never encoded: what has not even these is not the value.
        if max(_ALPHANUMERIC.findall(value), key=len, default="") in text:
            text = re.sub("".join(map(_quoted, value)), MASK, text)
    return text


def _quoted(character: str) -> str:
    """A pattern for a character: as it is, or as the bytes of its UTF-8; which ones are encoded depends on the writer."""
    encoded = "".join(f"%{byte:02x}" for byte in character.encode(errors="replace"))
    space = r"|\+" if character == " " else ""
    return f"(?:{re.escape(character)}|(?i:{encoded}){space})"
