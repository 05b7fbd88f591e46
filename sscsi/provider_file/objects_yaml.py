"""The text of the `objects` parameter, as plain strings, lists and dicts.

Every scalar stays the text that was written: no octal numbers, dates or booleans that nobody meant. Built from
parse events and not by a YAML loader, as libyaml's loader overruns the stack on text that is nested deeply
enough, and this text may come from a pod. Errors name line and column, never what stands there.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from sscsi.errors import InvalidRequestError

_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_MAX_BYTES = 256 * 1024
_MAX_DEPTH = 16
_QUOTED = re.compile(r"""['"].*['"]""", re.DOTALL)

Value = str | list[Any] | dict[str, Any]


def load_objects(text: str) -> Value:
    """The loaded parameter, the form `array: [TEXT, ...]` unwrapped into a list. Raises InvalidRequestError."""
    value = load(text, "objects")
    if not isinstance(value, dict):
        return value
    if set(value) != {"array"} or not isinstance(value["array"], list):
        raise InvalidRequestError(
            "objects: must be a YAML list of entries, or a mapping with such a list as array"
        )
    return [
        load(entry, f"objects.array[{index}]") if isinstance(entry, str) else entry
        for index, entry in enumerate(value["array"])
    ]


def load(text: str, label: str) -> Value:
    """One YAML document; `label` says in errors where it is from. Raises InvalidRequestError."""
    if len(text) > _MAX_BYTES:
        raise InvalidRequestError(f"{label}: has {len(text)} characters; at most {_MAX_BYTES} are read")
    try:
        return _document(yaml.parse(text, _LOADER), label)
    # The causes quote the text, so they do not travel with the error.
    except yaml.MarkedYAMLError as error:
        raise InvalidRequestError(_described(error, label)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidRequestError(f"{label}: line {line}: a character that YAML does not allow") from None
    except UnicodeError:
        raise InvalidRequestError(f"{label}: is not valid Unicode") from None


def _described(error: yaml.MarkedYAMLError, label: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{label}: {place}{_QUOTED.sub('...', error.problem or 'not valid YAML')}"


def _document(events: Iterator[Any], label: str) -> Value:
    value: Value = ""
    documents = 0
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            value = _value(events, event, label, 0)
            documents += 1
    if documents > 1:
        raise InvalidRequestError(f"{label}: has {documents} YAML documents; write one")
    return value


def _value(events: Iterator[Any], event: Any, label: str, depth: int) -> Value:
    if isinstance(event, yaml.AliasEvent):
        raise _refused(event, label, "aliases are not supported; write the value out")
    if event.tag not in {None, "!"}:
        raise _refused(event, label, "tags are not supported")
    if depth > _MAX_DEPTH:
        raise _refused(event, label, f"nested deeper than {_MAX_DEPTH} levels")
    if isinstance(event, yaml.SequenceStartEvent):
        return _sequence(events, label, depth)
    if isinstance(event, yaml.MappingStartEvent):
        return _mapping(events, label, depth)
    return str(event.value)


def _sequence(events: Iterator[Any], label: str, depth: int) -> list[Any]:
    values = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        values.append(_value(events, event, label, depth + 1))
    return values


def _mapping(events: Iterator[Any], label: str, depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _value(events, event, label, depth + 1)
        if not isinstance(key, str):
            raise _refused(event, label, "a key must be a string")
        if key in values:
            raise _refused(event, label, "this key occurs twice in its mapping")
        values[key] = _value(events, next(events), label, depth + 1)
    return values


def _refused(event: Any, label: str, reason: str) -> InvalidRequestError:
    mark = event.start_mark
    return InvalidRequestError(f"{label}: line {mark.line + 1}, column {mark.column + 1}: {reason}")
