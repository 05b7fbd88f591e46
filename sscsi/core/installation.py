"""What objects of the API tell: the CSIDriver, and the schemas of our kinds. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from sscsi.core.class_fields import CLASS_FIELDS, STATUS_FIELDS, schema_fields
from sscsi.core.finding import Word, fail, ok, warn
from sscsi.core.pod_status import KIND as STATUS_KIND
from sscsi.core.provider_class import KIND as CLASS_KIND

APPLY_CRDS = "kubectl apply --server-side -f deploy/crds"
KIND_FIELDS = {CLASS_KIND: CLASS_FIELDS, STATUS_KIND: STATUS_FIELDS}
"""The fields of each of our kinds."""


def csidriver_words(body: Mapping[str, Any], providers: frozenset[str]) -> Iterator[Word]:
    """What is amiss with a CSIDriver object; `providers` are on the node."""
    spec = body.get("spec")
    fields: Mapping[str, Any] = spec if isinstance(spec, dict) else {}
    apply = "kubectl apply -f deploy/csidriver.yaml"
    anew = f"it can't be changed: kubectl delete csidriver {body.get('metadata', {}).get('name', '')}, then {apply}"
    faults = False
    if not fields.get("podInfoOnMount"):
        faults = True
        yield fail("podInfoOnMount is not true: the driver is not told whose the volume is", apply)
    if "Ephemeral" not in (fields.get("volumeLifecycleModes") or ()):
        faults = True
        yield fail("volumeLifecycleModes is without Ephemeral: pods can't have inline volumes", anew)
    # The API's default is true.
    if fields.get("attachRequired", True):
        faults = True
        yield fail("attachRequired is not false: kubelet waits for an attachment that never comes", anew)
    if not fields.get("requiresRepublish"):
        faults = True
        yield warn(
            "requiresRepublish is not true: no fresh tokens, and what is amiss with a mount stays so", apply
        )
    audiences = sorted(names_in(fields.get("tokenRequests"), "audience"))
    if not audiences and "aws" in providers:
        faults = True
        yield warn(
            "tokenRequests is empty, and provider aws is here, which needs a token",
            f"fill it in, and {apply}",
        )
    if not faults:
        tokens = f"tokens for {', '.join(audiences)}" if audiences else "no tokens of pods"
        yield ok(f"as it should be, {tokens}")


def schema_words(kind: str, document: Mapping[str, Any]) -> Iterator[Word]:
    """How the fields of a kind differ from ours; `document` is the API server's OpenAPI v3."""
    components = document.get("components")
    schemas = components.get("schemas") if isinstance(components, dict) else None
    for schema in schemas.values() if isinstance(schemas, dict) else ():
        names = schema.get("x-kubernetes-group-version-kind") if isinstance(schema, dict) else None
        if isinstance(names, list) and any(
            isinstance(one, dict) and one.get("kind") == kind for one in names
        ):
            fields = schema_fields(schema)
            older, newer = sorted(KIND_FIELDS[kind] - fields), sorted(fields - KIND_FIELDS[kind])
            if older:
                found = f"the CRD of {kind} is older, or upstream's: without {', '.join(older)}"
                yield warn(found, f"{APPLY_CRDS}; until then the API server drops these fields")
            if newer:
                yield warn(f"the CRD of {kind} is newer: it has {', '.join(newer)}", "update the driver")
            if not older and not newer:
                yield ok(f"{kind} is served with all fields")
            return
    yield warn(f"the fields of {kind} can't be told", "ask again")


def names_in(value: object, field: str) -> set[str]:
    """What the entries of a list have in a field."""
    entries = value if isinstance(value, list) else []
    return {str(entry[field]) for entry in entries if isinstance(entry, dict) and field in entry}
