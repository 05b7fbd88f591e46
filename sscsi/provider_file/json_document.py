"""JSON documents whose top-level keys become files.

Messages name keys that the class names, and otherwise only places in the document, never what stands there.
"""

from collections.abc import Iterable
from typing import Any

from sscsi.core.json_object import parse_object, to_content
from sscsi.errors import ObjectError


def explode(name: str, document: bytes, keys: Iterable[str] | None) -> dict[str, bytes]:
    """The value of each of `keys` (None: of all keys) in the JSON object `document`, as file content.

    Strings are delivered as they are, other values as compact JSON. Raises ObjectError.
    """
    values = _parse(name, document)
    wanted = list(values) if keys is None else list(dict.fromkeys(keys))
    if not wanted:
        raise ObjectError(f"{name!r} is an empty JSON object: there is no key to deliver")
    for key in wanted:
        if key not in values:
            raise ObjectError(f"the JSON object {name!r} has no key {key!r}")
    return {key: _content(name, number, values[key]) for number, key in enumerate(wanted, 1)}


def _parse(name: str, document: bytes) -> dict[str, Any]:
    # The causes are beside the document, so they do not travel with the errors.
    try:
        return parse_object(document)
    except ValueError as error:
        raise ObjectError(f"{name!r} {error}, and jsonKeys needs a JSON object") from None


def _content(name: str, number: int, value: Any) -> bytes:
    try:
        return to_content(value)
    except ValueError as error:
        raise ObjectError(f"{name!r}: the value of key number {number} {error}") from None
