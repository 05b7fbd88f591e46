"""The file provider's `objects` parameter: which files a class asks for, and where each goes in the volume.

An entry has `objectName` (a path below the provider's directory, or a glob), and perhaps `objectAlias`,
`fileMode` and `jsonKeys`. The YAML is read elsewhere (`sscsi.provider_file.objects_yaml`), with every scalar
as the text that was written; so `fileMode: 0400` and `fileMode: "0400"` are the same, and there is no way to
write a decimal number that silently means another mode. Messages name the entry and the field, never a mode's
or an unknown field's value: somebody may have put a secret there.
"""

import dataclasses
import posixpath
import re
from collections.abc import Mapping

from sscsi.core.file_plan import check_path
from sscsi.errors import InvalidRequestError, ProviderAnswerError

_ENTRY_FIELDS = frozenset({"objectName", "objectAlias", "fileMode", "jsonKeys"})
_KEY_FIELDS = frozenset({"key", "objectAlias", "fileMode"})
_WILDCARDS = frozenset("*?[")
# 0400 as YAML 1.1 writes it, 0o400 as YAML 1.2 does.
_MODE = re.compile(r"0o?([0-7]{3})")
_MAX_SHOWN = 200


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JsonKey:
    """One top-level key of a JSON document. `path` is relative to the entry's alias; None: the request's mode."""

    key: str
    path: str
    mode: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSpec:
    """One entry of `objects`. `object_alias` is empty when not given; None for `mode`: the request's mode.

    `json_keys` is empty when the file itself is delivered; `all_json_keys` stands for `jsonKeys: "*"`.
    """

    index: int
    object_name: str
    object_alias: str
    mode: int | None
    json_keys: tuple[JsonKey, ...]
    all_json_keys: bool

    @property
    def label(self) -> str:
        """How messages call this entry."""
        return f"objects[{self.index}]"

    @property
    def is_glob(self) -> bool:
        return is_glob(self.object_name)

    @property
    def explodes(self) -> bool:
        """Whether the object is a JSON document whose keys become the files."""
        return bool(self.json_keys) or self.all_json_keys


def is_glob(text: str) -> bool:
    """Whether `text` has a wildcard. The name `a*b` itself is the glob `a[*]b`."""
    return not _WILDCARDS.isdisjoint(text)


def parse_objects(value: object) -> tuple[ObjectSpec, ...]:
    """The entries of a loaded `objects` list. Raises InvalidRequestError for the first thing that is wrong."""
    if not isinstance(value, list):
        raise InvalidRequestError("objects: must be a YAML list of entries with an objectName each")
    if not value:
        raise InvalidRequestError("objects: the list is empty; name at least one object")
    return tuple(_entry(entry, index) for index, entry in enumerate(value))


def fixed_directory(name: str) -> str:
    """`app/tls/` of `app/tls/*.pem` and of `app/tls/key`; empty when the first part is all there is."""
    fixed = ""
    for part in name.split("/")[:-1]:
        if is_glob(part):
            break
        fixed += part + "/"
    return fixed


def volume_path(spec: ObjectSpec, object_name: str) -> str:
    """Where the object goes in the volume: for exploded JSON the directory of its keys, empty for the root.

    `object_name` is what `spec.object_name` resolved to. An alias that ends in `/` is a directory: what follows
    is the object's path below the last directory that the name spells without a wildcard (`app/*.pem` with
    alias `certs/` puts `app/a.pem` at `certs/a.pem`).
    """
    alias = spec.object_alias
    if spec.explodes and not (spec.is_glob and alias.endswith("/")):
        return alias.rstrip("/")
    if alias.endswith("/"):
        return alias + object_name.removeprefix(fixed_directory(spec.object_name))
    return alias or object_name


def check_volume_path(path: str, label: str) -> None:
    """Raise InvalidRequestError when the node room would refuse `path`."""
    try:
        check_path(path)
    except ProviderAnswerError as error:
        raise InvalidRequestError(f"{label}: {error}; set another objectAlias") from error


def _entry(value: object, index: int) -> ObjectSpec:
    label = f"objects[{index}]"
    fields = _fields(value, label, _ENTRY_FIELDS)
    name = _text(fields.get("objectName", ""), f"{label}.objectName")
    _check_object_name(name, f"{label}.objectName")
    alias = _text(fields.get("objectAlias", ""), f"{label}.objectAlias")
    if alias:
        check_volume_path(alias.removesuffix("/"), f"{label}.objectAlias")
    spec = ObjectSpec(
        index=index,
        object_name=name,
        object_alias=alias,
        mode=_mode(fields, label),
        json_keys=_json_keys(fields, f"{label}.jsonKeys"),
        all_json_keys=fields.get("jsonKeys") == "*",
    )
    if not spec.is_glob and not spec.explodes:
        check_volume_path(volume_path(spec, name), label)
    return spec


def _json_keys(fields: Mapping[str, object], label: str) -> tuple[JsonKey, ...]:
    value = fields.get("jsonKeys", "*")
    if value == "*":
        return ()
    if not isinstance(value, list) or not value:
        raise InvalidRequestError(f'{label}: must be "*" (all keys) or a list of keys')
    return tuple(_json_key(key, f"{label}[{number}]") for number, key in enumerate(value))


def _json_key(value: object, label: str) -> JsonKey:
    if isinstance(value, str):
        check_volume_path(value, label)
        return JsonKey(key=value, path=value, mode=None)
    fields = _fields(value, label, _KEY_FIELDS)
    if "key" not in fields:
        raise InvalidRequestError(f"{label}.key: is missing")
    key = _text(fields["key"], f"{label}.key")
    path = _text(fields.get("objectAlias", ""), f"{label}.objectAlias") or key
    check_volume_path(path, label)
    return JsonKey(key=key, path=path, mode=_mode(fields, label))


def _fields(value: object, label: str, known: frozenset[str]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{label}: must be a mapping with the fields {', '.join(sorted(known))}")
    for field in value:
        if field not in known:
            raise InvalidRequestError(
                f"{label}: unknown field {_shown(field)}; there are {', '.join(sorted(known))}"
            )
    return value


def _text(value: object, label: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(f"{label}: must be a string")
    return value


def _mode(fields: Mapping[str, object], label: str) -> int | None:
    if "fileMode" not in fields:
        return None
    match = _MODE.fullmatch(_text(fields["fileMode"], f"{label}.fileMode"))
    if match is None:
        raise InvalidRequestError(
            f'{label}.fileMode: must be four octal digits from "0000" to "0777", like "0400"'
        )
    return int(match[1], 8)


def _check_object_name(name: str, label: str) -> None:
    if not name:
        raise InvalidRequestError(f"{label}: is missing or empty")
    if "\0" in name:
        raise InvalidRequestError(f"{label}: must not contain NUL")
    if name.startswith("/"):
        raise InvalidRequestError(
            f"{label}: must be a path below the provider's directory, not {_shown(name)}"
        )
    if ".." in name.split("/"):
        raise InvalidRequestError(f"{label}: must not contain '..': {_shown(name)}")
    if name == "." or posixpath.normpath(name) != name:
        raise InvalidRequestError(
            f"{label}: must be written without '.', '//' and a slash at the end: {_shown(name)}"
        )


def _shown(name: object) -> str:
    """A name as messages show it: quoted, control characters escaped, cut."""
    text = repr(name)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
