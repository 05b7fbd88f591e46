"""A Kubernetes Secret from one `secretObjects` entry of a class and the files of a volume.

Rules and texts are upstream's (upstream-driver reference, 6.3 and 6.4), mended: a TLS key stays as it is in
the file, `ca.crt` is allowed, and what cannot work is an error instead of an empty key. Beyond upstream, an entry
without `data` takes every file, and `jsonKey` one value of a file. The errors name class and field, never content.
"""

import base64
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from sscsi.core import secret_types
from sscsi.core.json_object import find_value, parse_object, to_content
from sscsi.core.kubernetes_names import is_secret_key, is_subdomain
from sscsi.core.provider_class import SecretObject, SecretObjectData, SecretProviderClass
from sscsi.core.tls_file import TLS_KEYS, ReadKeyStore, tls_part
from sscsi.errors import SecretDataError

KIND = "Secret"
MANAGED_LABEL = "secrets-store.csi.k8s.io/managed"
# Which class made the Secret: upstream's have none, and two classes take turns in one Secret.
CLASS_ANNOTATION = "secrets-store.csi.k8s.io/secretproviderclass"
# The API server's limit on the sum of a Secret's values.
MAX_SECRET_BYTES = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretRules:
    """What may become a Secret here, and by what means."""

    allow_privileged_types: bool
    """Make Secrets of the types by which the API gives rights to whoever may write them."""
    read_key_store: ReadKeyStore
    """Reads the files of a TLS Secret that are no PEM."""


def secret_name(secret_object: SecretObject) -> str:
    """Name of the Secret; blanks around it are dropped."""
    return secret_object.secret_name.strip()


def check_secret_object(spc: SecretProviderClass, index: int, rules: SecretRules) -> None:
    """Raise SecretDataError when the entry can't become a Secret, whatever the files hold."""
    entry = spc.secret_objects[index]
    name, secret_type = secret_name(entry), entry.type.strip()
    if not name:
        raise _error(spc, index, ".secretName", "secret name is empty")
    if not is_subdomain(name):
        raise _error(spc, index, ".secretName", f"{name!r} can't name a Secret: letters a-z, digits, - and .")
    if not entry.type:
        raise _error(spc, index, ".type", "secret type is empty; for plain data write Opaque")
    if secret_type in secret_types.PRIVILEGED and not rules.allow_privileged_types:
        text = f"{secret_type} is refused without --allow-privileged-secret-types: the API gives such a Secret rights"
        raise _error(spc, index, ".type", text)
    for position, item in enumerate(entry.data):
        problem = _problem_of(item, secret_type)
        if problem:
            raise _error(spc, index, f".data[{position}]{problem[0]}", problem[1])
    if entry.data:
        _check_keys(spc, index, {item.key.strip() for item in entry.data})


def _problem_of(item: SecretObjectData, secret_type: str) -> tuple[str, str] | None:
    """The field that is wrong, and how."""
    key = item.key.strip()
    if not item.object_name.strip():
        return ".objectName", "object name in secretObjects.data is empty"
    if not key:
        return ".key", "key in secretObjects.data is empty"
    problem = _problem_of_key(key, secret_type)
    return (".key", problem) if problem else None


def _problem_of_key(key: str, secret_type: str) -> str:
    if not is_secret_key(key):
        return f"{key!r} can't be a key: letters, digits, -, _ and . only, no two dots first, at most 253"
    if secret_type == secret_types.TLS and key not in TLS_KEYS:
        return (
            f"key '{key}' is not supported in a Secret of type {secret_type}. Only {', '.join(TLS_KEYS)} are"
        )
    return ""


def _check_keys(spc: SecretProviderClass, index: int, keys: AbstractSet[str]) -> None:
    secret_type = spc.secret_objects[index].type.strip()
    missing = secret_types.missing_key(secret_type, keys)
    if missing:
        raise _error(spc, index, ".data", f"a Secret of type {secret_type} needs key {missing}")


def object_names(spc: SecretProviderClass, index: int) -> Sequence[str] | None:
    """The files that the entry needs: paths in the volume, each once; None for every file there is."""
    data = spc.secret_objects[index].data
    return sorted({item.object_name.strip() for item in data}) if data else None


def keys_from(spc: SecretProviderClass, index: int, names: Iterable[str]) -> dict[str, str]:
    """Which key of the Secret for entry `index` comes from which file, when the volume has the files `names`.

    Raises SecretDataError.
    """
    files = dict.fromkeys(names, b"")
    return {item.key.strip(): item.object_name.strip() for _, item in _items(spc, index, files)}


def build_secret(
    spc: SecretProviderClass,
    index: int,
    files: Mapping[str, bytes],
    owners: Iterable[Mapping[str, str]],
    rules: SecretRules,
) -> dict[str, object]:
    """The manifest of the Secret for entry `index`, from the content of `object_names`; deterministic.

    Raises SecretDataError.
    """
    check_secret_object(spc, index, rules)
    entry = spc.secret_objects[index]
    data = _data(spc, index, files, rules)
    metadata: dict[str, object] = {
        "name": secret_name(entry),
        "namespace": spc.namespace,
        "labels": dict(sorted({**entry.labels, MANAGED_LABEL: "true"}.items())),
        "annotations": dict(sorted({**entry.annotations, CLASS_ANNOTATION: spc.name}.items())),
        "ownerReferences": _sorted_owners(owners),
    }
    return {
        "apiVersion": "v1",
        "kind": KIND,
        "metadata": metadata,
        "type": entry.type.strip() or secret_types.OPAQUE,
        "data": {key: base64.b64encode(value).decode("ascii") for key, value in sorted(data.items())},
    }


def _data(
    spc: SecretProviderClass, index: int, files: Mapping[str, bytes], rules: SecretRules
) -> dict[str, bytes]:
    is_tls = spc.secret_objects[index].type.strip() == secret_types.TLS
    data: dict[str, bytes] = {}
    total = 0
    for field, item in _items(spc, index, files):
        object_name, key = item.object_name.strip(), item.key.strip()
        content = _content(spc, index, field, item, files)
        total += len(content)
        if total > MAX_SECRET_BYTES:
            text = (
                f"with {object_name} the Secret is over {MAX_SECRET_BYTES} bytes, which the API does not take"
            )
            raise _error(spc, index, field, text)
        try:
            # A key given twice: the last wins, as upstream.
            data[key] = tls_part(key, content, rules.read_key_store) if is_tls else content
        except ValueError as error:
            raise _error(spc, index, field, str(error)) from error
    _check_keys(spc, index, data.keys())
    return data


def _items(
    spc: SecretProviderClass, index: int, files: Mapping[str, bytes]
) -> Iterable[tuple[str, SecretObjectData]]:
    """What goes into the Secret, each with the field that names its file."""
    entry = spc.secret_objects[index]
    if entry.data:
        return [(f".data[{position}].objectName", item) for position, item in enumerate(entry.data)]
    if not files:
        raise _error(spc, index, ".data", "data is empty, and so is the volume: there is no file to take")
    return [(".data", item) for item in _every_file(spc, index, sorted(files))]


def _every_file(spc: SecretProviderClass, index: int, names: Iterable[str]) -> Iterable[SecretObjectData]:
    """Each file under its own name, with dots for slashes."""
    items: dict[str, SecretObjectData] = {}
    for name in names:
        key = name.replace("/", ".")
        problem = _problem_of_key(key, spc.secret_objects[index].type.strip())
        if problem:
            raise _error(spc, index, ".data", f"data is empty, and file {name!r} has no key: {problem}")
        if key in items:
            text = f"data is empty, and files {items[key].object_name!r} and {name!r} have one key, {key!r}"
            raise _error(spc, index, ".data", text)
        items[key] = SecretObjectData(object_name=name, key=key)
    return items.values()


def _content(
    spc: SecretProviderClass, index: int, field: str, item: SecretObjectData, files: Mapping[str, bytes]
) -> bytes:
    """The file, or the value in it that the item asks for."""
    object_name = item.object_name.strip()
    if object_name not in files:
        raise _error(spc, index, field, f"file matching objectName {object_name} not found in the pod")
    content = files[object_name]
    if not item.json_key:
        return content
    if len(content) > MAX_SECRET_BYTES:
        raise _error(spc, index, field, f"file {object_name} is over {MAX_SECRET_BYTES} bytes")
    try:
        return to_content(find_value(parse_object(content), item.json_key))
    except ValueError as error:
        # The cause is beside the file's text, so it does not travel along.
        text = f"file {object_name} {error}"
        raise _error(spc, index, field.replace(".objectName", ".jsonKey"), text) from None


def _sorted_owners(owners: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    unique = {tuple(sorted(owner.items())): dict(owner) for owner in owners}
    return [unique[key] for key in sorted(unique)]


def _error(spc: SecretProviderClass, index: int, field: str, text: str) -> SecretDataError:
    return SecretDataError(
        f"SecretProviderClass {spc.namespace}/{spc.name}: spec.secretObjects[{index}]{field}: {text}"
    )
