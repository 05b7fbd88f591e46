"""JSON documents whose top-level keys become files.

Numbers are delivered with the digits they were written with: `1.10` is not `1.1`, and `1e999` is not infinity.
Messages name keys that the class names, and otherwise only places in the document, never what stands there.
"""

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from sscsi.errors import ObjectError


class _Number(str):
    """A number's own text."""

    __slots__ = ()


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
    # The causes hold the document, so they do not travel with the errors.
    try:
        values = json.loads(document, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ObjectError(
            f"{name!r} is not valid JSON (line {error.lineno}, column {error.colno}), and jsonKeys needs it"
        ) from None
    except UnicodeDecodeError as error:
        raise ObjectError(
            f"{name!r} is not valid JSON (byte {error.start} is no text), and jsonKeys needs it"
        ) from None
    except ValueError:
        raise ObjectError(f"{name!r} has NaN or Infinity in it, which JSON has not") from None
    except RecursionError:
        raise _too_deep(name) from None
    if not isinstance(values, dict):
        raise ObjectError(f"{name!r} is not a JSON object, and jsonKeys needs one")
    return values


def _too_deep(name: str) -> ObjectError:
    return ObjectError(f"{name!r} is JSON that is nested too deeply")


def _no_constant(_text: str) -> NoReturn:
    raise ValueError


def _content(name: str, number: int, value: Any) -> bytes:
    try:
        text = value if isinstance(value, str) else _compact(value)
        return text.encode()
    except UnicodeEncodeError:
        raise ObjectError(
            f"{name!r}: the value of key number {number} has half a surrogate pair in it, which is no text"
        ) from None
    except RecursionError:
        # Writing nests deeper than reading did.
        raise _too_deep(name) from None


def _compact(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_compact(key)}:{_compact(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
