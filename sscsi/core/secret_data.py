"""A Kubernetes Secret from one `secretObjects` entry of a class and the files of a volume.

Rules and texts are upstream's (upstream-driver reference, 6.3 and 6.4), mended: a TLS key stays as it is in
the file, `ca.crt` is allowed, and what cannot work is an error instead of an empty key. The errors name class
and field, never content.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence

from sscsi.core.kubernetes_names import is_secret_key, is_subdomain
from sscsi.core.pem import PemBlock, parse_pem
from sscsi.core.provider_class import SecretObject, SecretObjectData, SecretProviderClass
from sscsi.errors import SecretDataError

KIND = "Secret"
MANAGED_LABEL = "secrets-store.csi.k8s.io/managed"
# Which class made the Secret: upstream's have none, and two classes take turns in one Secret.
CLASS_ANNOTATION = "secrets-store.csi.k8s.io/secretproviderclass"
# The API server's limit on the sum of a Secret's values.
MAX_SECRET_BYTES = 1024 * 1024

_TLS = "kubernetes.io/tls"
_TLS_KEYS = ("tls.crt", "tls.key", "ca.crt")
# The API mints or honours credentials for whoever may write these (users reference, CVE-2026-42876).
_REFUSED_TYPES = ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")
# Of each group the API server asks for at least one key.
_REQUIRED_KEYS: Mapping[str, Sequence[Sequence[str]]] = {
    _TLS: (("tls.crt",), ("tls.key",)),
    "kubernetes.io/dockerconfigjson": ((".dockerconfigjson",),),
    "kubernetes.io/dockercfg": ((".dockercfg",),),
    "kubernetes.io/basic-auth": (("username", "password"),),
    "kubernetes.io/ssh-auth": (("ssh-privatekey",),),
}


def secret_name(secret_object: SecretObject) -> str:
    """Name of the Secret; blanks around it are dropped."""
    return secret_object.secret_name.strip()


def check_secret_object(spc: SecretProviderClass, index: int) -> None:
    """Raise SecretDataError when the entry can't become a Secret, whatever the files hold."""
    entry = spc.secret_objects[index]
    name, secret_type = secret_name(entry), entry.type.strip()
    if not name:
        raise _error(spc, index, ".secretName", "secret name is empty")
    if not is_subdomain(name):
        raise _error(spc, index, ".secretName", f"{name!r} can't name a Secret: letters a-z, digits, - and .")
    if not entry.type:
        raise _error(spc, index, ".type", "secret type is empty; for plain data write Opaque")
    if secret_type in _REFUSED_TYPES:
        raise _error(spc, index, ".type", f"{secret_type} is refused: the API gives such a Secret rights")
    if not entry.data:
        raise _error(spc, index, ".data", "data is empty")
    for position, item in enumerate(entry.data):
        problem = _problem_of(item, secret_type)
        if problem:
            raise _error(spc, index, f".data[{position}]{problem[0]}", problem[1])
    keys = {item.key.strip() for item in entry.data}
    for group in _REQUIRED_KEYS.get(secret_type, ()):
        if keys.isdisjoint(group):
            raise _error(
                spc, index, ".data", f"a Secret of type {secret_type} needs key {' or '.join(group)}"
            )


def _problem_of(item: SecretObjectData, secret_type: str) -> tuple[str, str] | None:
    """The field that is wrong, and how."""
    key = item.key.strip()
    if not item.object_name.strip():
        return ".objectName", "object name in secretObjects.data is empty"
    if not key:
        return ".key", "key in secretObjects.data is empty"
    if not is_secret_key(key):
        return ".key", f"{key!r} can't be a key: letters, digits, -, _ and . only"
    if secret_type == _TLS and key not in _TLS_KEYS:
        return (
            ".key",
            f"key '{key}' is not supported in a Secret of type {_TLS}. Only {', '.join(_TLS_KEYS)} are",
        )
    return None


def object_names(spc: SecretProviderClass, index: int) -> list[str]:
    """The files that the entry needs: paths in the volume, each once."""
    return sorted({item.object_name.strip() for item in spc.secret_objects[index].data})


def build_secret(
    spc: SecretProviderClass,
    index: int,
    files: Mapping[str, bytes],
    owners: Iterable[Mapping[str, str]],
) -> dict[str, object]:
    """The manifest of the Secret for entry `index`, from the content of `object_names`; deterministic.

    Raises SecretDataError.
    """
    check_secret_object(spc, index)
    entry = spc.secret_objects[index]
    secret_type = entry.type.strip() or "Opaque"
    metadata: dict[str, object] = {
        "name": secret_name(entry),
        "namespace": spc.namespace,
        "labels": dict(sorted({**entry.labels, MANAGED_LABEL: "true"}.items())),
    }
    metadata["annotations"] = dict(sorted({**entry.annotations, CLASS_ANNOTATION: spc.name}.items()))
    metadata["ownerReferences"] = _sorted_owners(owners)
    data = _data(spc, index, secret_type, files)
    return {
        "apiVersion": "v1",
        "kind": KIND,
        "metadata": metadata,
        "type": secret_type,
        "data": {key: base64.b64encode(value).decode("ascii") for key, value in sorted(data.items())},
    }


def _data(
    spc: SecretProviderClass, index: int, secret_type: str, files: Mapping[str, bytes]
) -> dict[str, bytes]:
    data: dict[str, bytes] = {}
    total = 0
    for position, item in enumerate(spc.secret_objects[index].data):
        object_name, key = item.object_name.strip(), item.key.strip()
        field = f".data[{position}].objectName"
        if object_name not in files:
            text = f"file matching objectName {object_name} not found in the pod"
            raise _error(spc, index, field, text)
        content = files[object_name]
        total += len(content)
        if total > MAX_SECRET_BYTES:
            text = (
                f"with {object_name} the Secret is over {MAX_SECRET_BYTES} bytes, which the API does not take"
            )
            raise _error(spc, index, field, text)
        if secret_type == _TLS:
            content = _tls_part(spc, index, field, key, content)
        # A key given twice: the last wins, as upstream.
        data[key] = content
    return data


def _tls_part(spc: SecretProviderClass, index: int, field: str, key: str, content: bytes) -> bytes:
    try:
        blocks = parse_pem(content)
    except ValueError as error:
        raise _error(spc, index, field, f"the file for {key} can't be read as PEM: {error}") from error
    if not blocks:
        text = f"the file for {key} is not PEM; convert it, as PKCS#12 and DER are not taken"
        raise _error(spc, index, field, text)
    if key != "tls.key":
        certificates = b"".join(block.text for block in blocks if block.label == "CERTIFICATE")
        if not certificates:
            raise _error(spc, index, field, f"the PEM file for {key} has no CERTIFICATE")
        return certificates
    return _private_key(spc, index, field, blocks)


def _private_key(spc: SecretProviderClass, index: int, field: str, blocks: Sequence[PemBlock]) -> bytes:
    keys = [block for block in blocks if block.label.endswith("PRIVATE KEY")]
    if not keys:
        raise _error(spc, index, field, "the PEM file for tls.key has no private key")
    # Of several the last, as upstream.
    if keys[-1].is_encrypted:
        raise _error(spc, index, field, "the private key for tls.key is encrypted; store it without password")
    return keys[-1].text


def _sorted_owners(owners: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    unique = {tuple(sorted(owner.items())): dict(owner) for owner in owners}
    return [unique[key] for key in sorted(unique)]


def _error(spc: SecretProviderClass, index: int, field: str, text: str) -> SecretDataError:
    return SecretDataError(
        f"SecretProviderClass {spc.namespace}/{spc.name}: spec.secretObjects[{index}]{field}: {text}"
    )
