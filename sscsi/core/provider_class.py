"""SecretProviderClass: what a publish needs of it, read from a manifest and checked field by field."""

import dataclasses
from collections.abc import Mapping
from typing import Any

GROUP = "secrets-store.csi.x-k8s.io"
VERSIONS = ("v1", "v1alpha1")
KIND = "SecretProviderClass"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretObjectData:
    """One key of a synced Secret: `object_name` is a path in the volume, `key` a key of Secret.data.

    With a `json_key`, which upstream has not, the file is a JSON object, and that value of it is taken.
    """

    object_name: str
    key: str
    json_key: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretObject:
    """One Secret that the class asks for (upstream CRD, `spec.secretObjects[]`); values as written."""

    secret_name: str
    type: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    data: tuple[SecretObjectData, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretProviderClass:
    """A SecretProviderClass as both cluster adapters deliver it."""

    namespace: str
    name: str
    uid: str
    generation: int
    annotations: Mapping[str, str]
    provider: str
    parameters: Mapping[str, str]
    secret_objects: tuple[SecretObject, ...]


class FieldError(ValueError):
    """A field of a manifest has the wrong type. `path` is the field's place, as keys and indices."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        self.path = path
        super().__init__(f"{format_path(path)}: {message}")


def format_path(path: tuple[str | int, ...]) -> str:
    """The field path as Kubernetes writes it: `spec.secretObjects[0].data`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(document)"


def from_manifest(
    manifest: object, *, default_namespace: str, uid: str, generation: int
) -> SecretProviderClass:
    """Read one manifest of kind SecretProviderClass, v1 or v1alpha1 (the same shape for what is used here).

    The types are those of the CRD's schema: strings stay strings (an unquoted `true` is an error, as the
    API server has it), absent fields are empty.

    Raises FieldError for the first field whose type is wrong.
    """
    document = _mapping(manifest, ())
    metadata = _mapping(document.get("metadata"), ("metadata",))
    spec = _mapping(document.get("spec"), ("spec",))
    name = _string(metadata.get("name"), ("metadata", "name"))
    if not name:
        raise FieldError(("metadata", "name"), "must not be empty")
    return SecretProviderClass(
        namespace=_string(metadata.get("namespace"), ("metadata", "namespace")) or default_namespace,
        name=name,
        uid=uid,
        generation=generation,
        annotations=_string_map(metadata.get("annotations"), ("metadata", "annotations")),
        provider=_string(spec.get("provider"), ("spec", "provider")),
        parameters=_string_map(spec.get("parameters"), ("spec", "parameters")),
        secret_objects=tuple(
            _secret_object(value, ("spec", "secretObjects", index))
            for index, value in enumerate(_list(spec.get("secretObjects"), ("spec", "secretObjects")))
        ),
    )


def _secret_object(value: object, path: tuple[str | int, ...]) -> SecretObject:
    fields = _mapping(value, path)
    data_path = (*path, "data")
    return SecretObject(
        secret_name=_string(fields.get("secretName"), (*path, "secretName")),
        type=_string(fields.get("type"), (*path, "type")),
        labels=_string_map(fields.get("labels"), (*path, "labels")),
        annotations=_string_map(fields.get("annotations"), (*path, "annotations")),
        data=tuple(
            _secret_object_data(entry, (*data_path, index))
            for index, entry in enumerate(_list(fields.get("data"), data_path))
        ),
    )


def _secret_object_data(value: object, path: tuple[str | int, ...]) -> SecretObjectData:
    fields = _mapping(value, path)
    return SecretObjectData(
        object_name=_string(fields.get("objectName"), (*path, "objectName")),
        key=_string(fields.get("key"), (*path, "key")),
        json_key=_string(fields.get("jsonKey"), (*path, "jsonKey")),
    )


def _mapping(value: object, path: tuple[str | int, ...]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FieldError(path, f"must be a mapping, not {_kind(value)}")
    return value


def _list(value: object, path: tuple[str | int, ...]) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise FieldError(path, f"must be a list, not {_kind(value)}")
    return value


def _string(value: object, path: tuple[str | int, ...]) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FieldError(path, f"must be a string, not {_kind(value)}; put it in quotes")
    return value


def _string_map(value: object, path: tuple[str | int, ...]) -> dict[str, str]:
    result = {}
    for key, entry in _mapping(value, path).items():
        if not isinstance(key, str):
            raise FieldError(path, f"key {key!r} must be a string; put it in quotes")
        result[key] = _string(entry, (*path, key))
    return result


def _kind(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a mapping",
        str: "a string",
    }
    return names.get(type(value), f"a {type(value).__name__}")
