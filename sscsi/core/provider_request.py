"""The strings of a provider's MountRequest, byte for byte as upstream makes them (reference, 3.4)."""

import json
from collections.abc import Mapping

TOKENS_KEY = "csi.storage.k8s.io/serviceAccount.tokens"
# JSON of the default file mode 0644: a decimal number.
PERMISSION = "420"
# Made once: json.dumps makes one for each value that is not written its default way.
_ENCODER = json.JSONEncoder(ensure_ascii=False)
# Go's encoding/json escapes these inside strings, where they can only stand.
_GO_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def attributes_json(parameters: Mapping[str, str], volume_context: Mapping[str, str], tokens: str) -> str:
    """Class parameters, overlaid by the whole volume context, overlaid by the tokens.

    The volume's attributes win over the class's parameters, as upstream has it: whoever writes the pod may
    override a parameter. Kept for compatibility; docs/architecture.md says so.
    """
    attributes = {**parameters, **volume_context}
    if tokens:
        attributes[TOKENS_KEY] = tokens
    return go_json(attributes)


def secrets_json(secrets: Mapping[str, str]) -> str:
    """The nodePublishSecretRef data; `null` when there is none."""
    return go_json(secrets) if secrets else "null"


def find_tokens(volume_context: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    """Service account tokens: in the secrets since Kubernetes 1.35 (when asked for), else in the volume context."""
    return secrets.get(TOKENS_KEY) or volume_context.get(TOKENS_KEY, "")


def go_json(values: Mapping[str, str]) -> str:
    """JSON as Go's encoding/json writes a map: keys in byte order, no spaces, HTML characters escaped."""
    return "{" + ",".join(f"{go_string(key)}:{go_string(values[key])}" for key in sorted(values)) + "}"


def go_string(text: str) -> str:
    """One string as Go's encoding/json writes it, with its quotes."""
    return _ENCODER.encode(text).translate(_GO_ESCAPES)
