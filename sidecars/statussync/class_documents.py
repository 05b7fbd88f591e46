"""SecretProviderClasses in the text of one file: each with its place, and what is wrong with those that are."""

import dataclasses
import hashlib
import json
import re
import uuid
from collections.abc import Iterator

import yaml

from sidecars.statussync import yaml_nodes
from sidecars.statussync.yaml_nodes import DocumentError
from sscsi.core.kubernetes_names import is_subdomain
from sscsi.core.provider_class import (
    GROUP,
    KIND,
    VERSIONS,
    FieldError,
    SecretProviderClass,
    from_manifest,
)
from sscsi.ports import ClassName

DEFAULT_NAMESPACE = "default"
_API_VERSIONS = tuple(f"{GROUP}/{version}" for version in VERSIONS)
_LIST_KINDS = frozenset({"List", f"{KIND}List"})
# Any fixed value will do: classes of one directory have no other identity than their names.
_UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, GROUP)
# Takes every escape in its turn, so that the second half of an escaped backslash begins none.
_JSON_ESCAPE = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|.)", re.IGNORECASE | re.DOTALL)
_BYTE_ORDER_MARK = "\ufeff"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One document that says it is a class. `problem` is empty and `spc` set, or the other way round.

    `class_name` is None when the document does not even tell its name. `place` is `file:line`.
    """

    class_name: ClassName | None
    place: str
    spc: SecretProviderClass | None
    problem: str


def object_uid(kind: str, namespace: str, name: str) -> str:
    """The uid of an object of a directory: a function of its name, so that a restart changes nothing."""
    return str(uuid.uuid5(_UID_NAMESPACE, f"{kind}/{namespace}/{name}"))


def read_definitions(file_name: str, content: bytes) -> list[Definition]:
    """All classes in a YAML or JSON file, in their order; documents of other kinds are passed over.

    A file that can't be read to its end yields one last definition, without a name, that says where and why.
    """
    return [definition for definition, _ in read_with_nodes(file_name, content)]


def read_with_nodes(file_name: str, content: bytes) -> Iterator[tuple[Definition, yaml.Node | None]]:
    """As `read_definitions`, each with its document, which knows the line of every field; None where there is none."""
    try:
        text = content.decode("utf-8").removeprefix(_BYTE_ORDER_MARK)
        if file_name.endswith(".json"):
            text = _json_as_yaml(text)
        for root in yaml_nodes.documents(text):
            for node in _class_nodes(root):
                yield _definition(file_name, node), node
    except UnicodeDecodeError as error:
        place = f"{file_name}:{content.count(bytes([10]), 0, error.start) + 1}"
        yield _broken(None, place, f"{place}: not UTF-8"), None
    except DocumentError as error:
        yield _broken(None, _place(file_name, error), _text(file_name, error)), None


def _json_as_yaml(text: str) -> str:
    """JSON but for two habits that YAML has not: tabs between values, and characters written as two escapes."""
    return _JSON_ESCAPE.sub(_unescape_pair, text.replace("\t", " "))


def _unescape_pair(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    return chr(0x10000 + ((int(match[1], 16) - 0xD800) << 10) + (int(match[2], 16) - 0xDC00))


def _class_nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    kind = yaml_nodes.scalar(yaml_nodes.child(root, "kind"))
    if kind in _LIST_KINDS:
        for item in yaml_nodes.items(yaml_nodes.child(root, "items")):
            if yaml_nodes.scalar(yaml_nodes.child(item, "kind")) == KIND:
                yield item
    elif kind == KIND:
        yield root


def _definition(file_name: str, node: yaml.Node) -> Definition:
    class_name = _class_name(node)
    place = f"{file_name}:{yaml_nodes.place(node)[0]}"
    try:
        spc = _read(node)
    except DocumentError as error:
        return _broken(class_name, place, _text(file_name, error))
    except FieldError as error:
        line = yaml_nodes.place(yaml_nodes.find(node, error.path))[0]
        return _broken(class_name, place, f"{file_name}:{line}: {error}")
    return Definition(class_name=(spc.namespace, spc.name), place=place, spc=spc, problem="")


def _read(node: yaml.Node) -> SecretProviderClass:
    manifest = yaml_nodes.construct(node)
    if yaml_nodes.scalar(yaml_nodes.child(node, "apiVersion")) not in _API_VERSIONS:
        raise FieldError(("apiVersion",), f"must be {' or '.join(_API_VERSIONS)}")
    spc = from_manifest(manifest, default_namespace=DEFAULT_NAMESPACE, uid="", generation=0)
    for field in ("name", "namespace"):
        if not is_subdomain(getattr(spc, field)):
            raise FieldError(("metadata", field), "must be lower case letters, digits, - and .")
    uid = object_uid(KIND, spc.namespace, spc.name)
    return dataclasses.replace(spc, uid=uid, generation=_generation(spc))


def _generation(spc: SecretProviderClass) -> int:
    """A positive int64 that is another for another spec: a directory has no server that counts."""
    spec = [spc.provider, dict(spc.parameters), [dataclasses.asdict(entry) for entry in spc.secret_objects]]
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 or 1


def _class_name(node: yaml.Node) -> ClassName | None:
    metadata = yaml_nodes.child(node, "metadata")
    if metadata is None:
        return None
    name = yaml_nodes.scalar(yaml_nodes.child(metadata, "name"))
    namespace = yaml_nodes.child(metadata, "namespace")
    return (yaml_nodes.scalar(namespace) or DEFAULT_NAMESPACE, name) if name else None


def _broken(class_name: ClassName | None, place: str, problem: str) -> Definition:
    return Definition(class_name=class_name, place=place, spc=None, problem=problem)


def _place(file_name: str, error: DocumentError) -> str:
    return f"{file_name}:{error.line}" if error.line else file_name


def _text(file_name: str, error: DocumentError) -> str:
    column = f":{error.column}" if error.column else ""
    return f"{_place(file_name, error)}{column}: {error}"
