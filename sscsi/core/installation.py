"""Whether the cluster has what the driver needs: its CSIDriver object, and our kinds with all their fields. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from sscsi.core.api_questions import ApiQuestions, Reply
from sscsi.core.class_fields import CLASS_FIELDS, STATUS_FIELDS, schema_fields
from sscsi.core.cluster_rights import APPLY_RBAC
from sscsi.core.finding import Word, fail, ok, skip, warn
from sscsi.core.pod_status import KIND as STATUS_KIND
from sscsi.core.provider_class import GROUP, VERSIONS
from sscsi.core.provider_class import KIND as CLASS_KIND

_OK, _FORBIDDEN, _NOT_FOUND = 200, 403, 404
_STORAGE_VERSION = VERSIONS[0]
_PROXY = "ask again; when a proxy answers in the API server's place, see HTTPS_PROXY and NO_PROXY"
APPLY_CSIDRIVER = "kubectl apply -f deploy/csidriver.yaml"
APPLY_CRDS = "kubectl apply --server-side --force-conflicts -f deploy/crds"
KIND_FIELDS = {CLASS_KIND: CLASS_FIELDS, STATUS_KIND: STATUS_FIELDS}
"""The fields of each of our kinds."""


def csidriver_words(ask: ApiQuestions, name: str, providers: frozenset[str] = frozenset()) -> Iterator[Word]:
    """What is amiss with the CSIDriver object `name`; `providers` are on the node, as far as that is known."""
    reply = ask.get(f"/apis/storage.k8s.io/v1/csidrivers/{name}")
    if reply.code == _FORBIDDEN:
        cure = f"{APPLY_RBAC}; or look yourself: kubectl get csidriver {name} -o yaml"
        yield skip(f"the driver's account has no right to get csidrivers {name}", cure)
    elif reply.code == _NOT_FOUND:
        found = f"there is no CSIDriver {name}: kubelet refuses inline volumes of the driver"
        yield fail(found, APPLY_CSIDRIVER)
    elif why := _no_answer(reply, "CSIDriver"):
        yield skip(f"CSIDriver {name} can't be told: {why}", _PROXY)
    else:
        yield from csidriver_field_words(reply.body, providers)


def crd_words(ask: ApiQuestions) -> Iterator[Word]:
    """Whether our kinds are served, as we know them."""
    group = ask.get(f"/apis/{GROUP}")
    if why := _no_answer(group, "APIGroup"):
        yield skip(f"what is served of {GROUP} can't be told: {why}", _PROXY)
        return
    served = names_in(group.body.get("versions"), "version")
    if group.code != _OK or _STORAGE_VERSION not in served:
        seen = ", ".join(sorted(served)) or "nothing"
        yield fail(f"{GROUP}/{_STORAGE_VERSION} is not served; there is {seen}", APPLY_CRDS)
        return
    if newer := served - set(VERSIONS):
        yield warn(
            f"{GROUP} is served as {', '.join(sorted(newer))} too: the CRDs are newer than this driver",
            "update the driver",
        )
    resources = ask.get(f"/apis/{GROUP}/{_STORAGE_VERSION}")
    if why := _no_answer(resources, "APIResourceList"):
        yield skip(f"what is served of {GROUP} can't be told: {why}", _PROXY)
        return
    kinds = names_in(resources.body.get("resources"), "kind")
    for kind in sorted(KIND_FIELDS.keys() - kinds):
        yield fail(f"{kind} is not served", APPLY_CRDS)
    schemas = ask.get(f"/openapi/v3/apis/{GROUP}/{_STORAGE_VERSION}")
    if schemas.code != _OK:
        yield skip(f"their fields can't be told: {schemas.message}", "ask again")
        return
    for kind in sorted(KIND_FIELDS.keys() & kinds):
        yield from schema_words(kind, schemas.body)


def _no_answer(reply: Reply, kind: str) -> str:
    """Why that tells nothing; empty when it tells something, and be it that there is no such object."""
    if reply.code == _NOT_FOUND:
        return ""
    if reply.code != _OK:
        return reply.message
    return "" if reply.body.get("kind") == kind else f"the answer is no {kind}"


def csidriver_field_words(body: Mapping[str, Any], providers: frozenset[str]) -> Iterator[Word]:
    """What is amiss with a CSIDriver object; `providers` are on the node."""
    spec = body.get("spec")
    fields: Mapping[str, Any] = spec if isinstance(spec, dict) else {}
    apply = APPLY_CSIDRIVER
    metadata = body.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    anew = f"it can't be changed: kubectl delete csidriver {name}, then {apply}"
    modes = fields.get("volumeLifecycleModes")
    faults = False
    if not fields.get("podInfoOnMount"):
        faults = True
        yield fail("podInfoOnMount is not true: the driver is not told whose the volume is", apply)
    if not isinstance(modes, list) or "Ephemeral" not in modes:
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
    yield skip(f"the fields of {kind} can't be told", "ask again")


def names_in(value: object, field: str) -> set[str]:
    """What the entries of a list have in a field."""
    entries = value if isinstance(value, list) else []
    return {str(entry[field]) for entry in entries if isinstance(entry, dict) and field in entry}
