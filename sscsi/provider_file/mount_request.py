"""A Mount request, parsed: whose objects, which, and with which mode."""

import dataclasses
import json
import re

from sscsi.core.object_spec import ObjectSpec, parse_objects
from sscsi.errors import InvalidRequestError
from sscsi.provider_file.objects_yaml import load_objects

NAMESPACE_KEY = "csi.storage.k8s.io/pod.namespace"
OBJECTS_KEY = "objects"
# A DNS-1123 label, as every Kubernetes namespace is: one path component that is neither `.` nor `..`.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MAX_MODE = 0o777


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """What is asked for. `namespace` is empty when objects are not divided by namespace."""

    namespace: str
    objects: tuple[ObjectSpec, ...]
    default_mode: int


def parse_request(attributes: str, permission: str, *, by_namespace: bool) -> ParsedRequest:
    """Parse the request's strings, which hold tokens: no message quotes them. Raises InvalidRequestError."""
    values = _attributes(attributes)
    return ParsedRequest(
        namespace=_namespace(values.get(NAMESPACE_KEY, "")) if by_namespace else "",
        objects=parse_objects(load_objects(_objects(values))),
        default_mode=_mode(permission),
    )


def _attributes(text: str) -> dict[str, object]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequestError("attributes: must be a JSON object of strings") from None
    if not isinstance(values, dict):
        raise InvalidRequestError("attributes: must be a JSON object of strings")
    return values


def _namespace(value: object) -> str:
    if not isinstance(value, str) or not _NAMESPACE.fullmatch(value):
        raise InvalidRequestError(
            f"attributes: {NAMESPACE_KEY} must be the pod's namespace, a DNS-1123 label "
            "(the CSIDriver object needs podInfoOnMount: true)"
        )
    return value


def _objects(values: dict[str, object]) -> str:
    text = values.get(OBJECTS_KEY)
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequestError(
            "objects is not set: spec.parameters.objects of the SecretProviderClass lists what to deliver"
        )
    return text


def _mode(permission: str) -> int:
    try:
        value = json.loads(permission)
    except (ValueError, RecursionError):
        value = None
    if type(value) is not int or not 0 <= value <= _MAX_MODE:
        raise InvalidRequestError(f"permission: must be a JSON number from 0 to {_MAX_MODE}")
    return value
