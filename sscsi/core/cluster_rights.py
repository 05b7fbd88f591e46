"""What the driver's account must be allowed in the cluster, and what is to be said of what it is not. Pure."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from sscsi.core.api_questions import ApiQuestions
from sscsi.core.finding import Word, fail, ok, skip, warn
from sscsi.core.provider_class import GROUP
from sscsi.errors import ReviewRefusedError

SUBJECT = "Rights"
"""What findings about rights are about, where findings are told by subject."""
APPLY_RBAC = "kubectl apply -f deploy/rbac.yaml (with the chart: rbac.install=true)"
_APPLY_SYNCING = (
    "kubectl apply -f deploy/rbac-secretprovidersyncing.yaml (with the chart: syncSecret.enabled=true)"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Verbs on a resource of an API group."""

    group: str
    resource: str
    verbs: tuple[str, ...]


NEEDED = (
    Rights(group=GROUP, resource="secretproviderclasses", verbs=("list", "watch")),
    Rights(
        group=GROUP,
        resource="secretproviderclasspodstatuses",
        verbs=("create", "delete", "get", "list", "patch", "watch"),
    ),
    Rights(group="", resource="pods", verbs=("get",)),
)
"""What status-sync can't do without (deploy/rbac.yaml; a test compares them)."""
EVENTS = Rights(group="", resource="events", verbs=("create", "patch"))
"""Only to tell on the pod what does not work."""
POD_WATCH = Rights(group="", resource="pods", verbs=("list", "watch"))
"""Only for the annotation by which a pod asks for a refresh."""
CSIDRIVER = Rights(group="storage.k8s.io", resource="csidrivers", verbs=("get",))
"""Of the driver's own object only, to tell what is amiss with it."""
SYNCING = Rights(group="", resource="secrets", verbs=("create", "delete", "get", "patch"))
"""Only for `secretObjects` (deploy/rbac-secretprovidersyncing.yaml)."""


def rights_words(ask: ApiQuestions, *, driver_name: str, pod_annotations: bool) -> Iterator[Word]:
    """What the account that asks may not do; `pod_annotations` is whether pods are to be watched."""
    try:
        words = list(_words(ask, driver_name, pod_annotations=pod_annotations))
    except ReviewRefusedError as error:
        cure = "grant create on selfsubjectaccessreviews, as the cluster role system:basic-user does"
        words = [skip(f"they can't be asked for: {error}", cure)]
    yield from words


def _words(ask: ApiQuestions, driver_name: str, *, pod_annotations: bool) -> Iterator[Word]:
    complete = True
    for rights in NEEDED:
        if missing := _missing(ask, rights):
            complete = False
            found = f"no right to {', '.join(missing)} {rights.resource} in every namespace"
            yield fail(
                found, f"{APPLY_RBAC}; where roles are limited to names or namespaces on purpose, that is why"
            )
    if missing := _missing(ask, EVENTS):
        complete = False
        yield warn(
            f"no right to {', '.join(missing)} events in every namespace: pods are not told", APPLY_RBAC
        )
    if pod_annotations and (missing := _missing(ask, POD_WATCH)):
        complete = False
        cure = f"{APPLY_RBAC}, or SSCSI_POD_ANNOTATIONS=false"
        yield warn(f"no right to {', '.join(missing)} pods: no pod can ask for a refresh", cure)
    if missing := _missing(ask, CSIDRIVER, driver_name):
        complete = False
        yield warn(
            f"no right to {', '.join(missing)} csidrivers {driver_name}: it is not looked at", APPLY_RBAC
        )
    if complete:
        yield ok("all of deploy/rbac.yaml")
    yield _syncing_word(ask)


def _syncing_word(ask: ApiQuestions) -> Word:
    missing = _missing(ask, SYNCING)
    if not missing:
        return ok("Secrets may be made of secretObjects")
    if len(missing) == len(SYNCING.verbs):
        return ok(f"no right on Secrets, which only classes with secretObjects need: {_APPLY_SYNCING}")
    return fail(f"no right to {', '.join(missing)} secrets, but some of the others", _APPLY_SYNCING)


def _missing(ask: ApiQuestions, rights: Rights, name: str = "") -> list[str]:
    return [verb for verb in rights.verbs if not ask.may(rights.group, rights.resource, verb, name)]


def is_granted(rules: Iterable[Any], group: str, resource: str, verb: str, name: str = "") -> bool:
    """Whether a rule of a SelfSubjectRulesReview grants that, with every object or with that of `name`."""
    wanted = {"apiGroups": group, "resources": resource, "verbs": verb}
    return any(
        isinstance(rule, dict)
        and all(_has(rule.get(field), {"*", value}) for field, value in wanted.items())
        and (not rule.get("resourceNames") or (name and _has(rule["resourceNames"], {name})))
        for rule in rules
    )


def _has(values: object, wanted: set[str]) -> bool:
    return isinstance(values, list) and any(isinstance(value, str) and value in wanted for value in values)
