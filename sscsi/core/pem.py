"""PEM as RFC 7468 has it: the blocks of a text, each as it stands there.

No message here quotes the text, labels included: it is secret content.
"""

import base64
import binascii
import dataclasses
from collections.abc import Sequence

_BEGIN = b"-----BEGIN "
_END = b"-----END "
_DASHES = b"-----"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PemBlock:
    """One block. `text` runs from its BEGIN to its END line, unchanged, with a newline at its end."""

    label: str = dataclasses.field(repr=False)
    text: bytes = dataclasses.field(repr=False)
    is_encrypted: bool


def parse_pem(content: bytes) -> list[PemBlock]:
    """All blocks in their order; text between them is dropped. No block at all is an empty list.

    Raises ValueError, with a line number and no content, for a block that is not whole.
    """
    blocks: list[PemBlock] = []
    label, begun, lines = b"", 0, list[bytes]()
    for number, line in enumerate(content.removeprefix(_BYTE_ORDER_MARK).split(b"\n"), start=1):
        stripped = line.rstrip()
        if begun:
            lines.append(line)
            if stripped.startswith(_BEGIN):
                raise ValueError(f"the PEM block of line {begun} has no END line")
            if stripped.startswith(_END):
                if stripped != _END + label + _DASHES:
                    raise ValueError(f"the PEM block of line {begun} ends as another in line {number}")
                blocks.append(_block(label, lines, begun))
                begun = 0
        elif stripped.startswith(_BEGIN) and stripped.endswith(_DASHES):
            label, begun, lines = stripped[len(_BEGIN) : -len(_DASHES)], number, [line]
    if begun:
        raise ValueError(f"the PEM block of line {begun} has no END line")
    return blocks


def _block(label: bytes, lines: Sequence[bytes], begun: int) -> PemBlock:
    body = [line.strip() for line in lines[1:-1]]
    headers = [line for line in body if b":" in line]
    encoded = b"".join(line for line in body[len(headers) :] if line)
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the PEM block of line {begun} is not base64") from error
    if not decoded:
        raise ValueError(f"the PEM block of line {begun} is empty")
    return PemBlock(
        label=label.decode("utf-8", "replace"),
        text=b"\n".join(lines).rstrip() + b"\n",
        # PKCS#8 says so in its label, the older OpenSSL form in a header (RFC 1421).
        is_encrypted=label.startswith(b"ENCRYPTED ") or any(b"ENCRYPTED" in line for line in headers),
    )
