"""JSON objects whose values become content: keys of a Secret, or files.

Numbers keep the digits they were written with: `1.10` is not `1.1`, and `1e999` is not infinity. Errors are
ValueErrors that begin with a verb, so that callers put the document's name in front; none quotes the document.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

_TOO_DEEP = "is nested too deeply"


class _Number(str):
    """A number's own text."""

    __slots__ = ()


def parse_object(document: bytes) -> dict[str, Any]:
    """The object's values by key, for `find_value` and `to_content`. Raises ValueError."""
    # The causes hold the document, so they do not travel with the errors.
    try:
        values = json.loads(document, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON (line {error.lineno}, column {error.colno})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not valid JSON (byte {error.start} is no text)") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if not isinstance(values, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - what is wrong is the text
    return values


def find_value(values: Mapping[str, Any], path: str) -> Any:
    """The value of the key `path`; without such a key, that at the dotted path through objects.

    Raises ValueError.
    """
    if path in values:
        return values[path]
    found: Any = values
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            raise ValueError(f"has no key {path!r}")
        found = found[key]
    return found


def to_content(value: Any) -> bytes:
    """A string as it is, any other value as compact JSON. Raises ValueError."""
    try:
        text = value if isinstance(value, str) else _compact(value)
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("has half a surrogate pair in it, which is no text") from None
    except RecursionError:
        # Writing nests deeper than reading did.
        raise ValueError(_TOO_DEEP) from None


def _no_constant(_text: str) -> NoReturn:
    raise ValueError("has NaN or Infinity in it, which JSON has not")


def _compact(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_compact(key)}:{_compact(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
