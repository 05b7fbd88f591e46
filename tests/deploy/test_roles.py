"""The document tells what our roles lack of upstream's, and they have nothing beyond them."""

import os
import re
from collections.abc import Iterable
from typing import Any

from tests.e2e import upstream_manifests
from tests.kubeapi.manifests import DEPLOY, RBAC, RBAC_SYNCING, documents

# - `secrets`: `list`, `update`, `watch`
_GONE = re.compile(r"^- `([a-z/]+)`: ((?:`[a-z]+`(?:, )?)+)$", re.MULTILINE)


def granted(objects: Iterable[Any]) -> dict[str, set[str]]:
    """The verbs by resource, of all cluster roles."""
    found: dict[str, set[str]] = {}
    for rule in (rule for role in objects if role["kind"] == "ClusterRole" for rule in role["rules"]):
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    return found


class TestVerbs:
    def test_the_document_names_those_that_are_gone(self) -> None:
        ours = granted([*documents(RBAC), *documents(RBAC_SYNCING)])
        upstreams = granted(upstream_manifests.manifests(program=""))
        gone = {
            resource: verbs - ours.get(resource, set())
            for resource, verbs in upstreams.items()
            if verbs - ours.get(resource, set())
        }
        with open(os.path.join(DEPLOY, "README.md"), encoding="utf-8") as file:
            rows = _GONE.findall(file.read())
        assert {resource: set(re.findall("[a-z]+", verbs)) for resource, verbs in rows} == gone

    def test_there_is_none_that_upstream_lacks(self) -> None:
        ours = granted([*documents(RBAC), *documents(RBAC_SYNCING)])
        upstreams = granted(upstream_manifests.manifests(program=""))
        assert {resource: verbs - upstreams[resource] for resource, verbs in ours.items()} == {
            resource: set() for resource in ours
        }
