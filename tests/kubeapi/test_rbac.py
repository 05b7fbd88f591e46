"""The RBAC of deploy/ on a real API server: the driver may do what its roles say, and nothing else."""

import itertools
from collections.abc import Iterable

import pytest

from tests.kubeapi import manifests
from tests.kubeapi.kube_api import GROUP, SERVICE_ACCOUNT, KubeApi
from tests.support.waiting import wait_until

DRIVER = "secrets-store.csi.k8s.io"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
# By API group: what the driver deals with, and what somebody who has taken it over would like to.
RESOURCES = {
    GROUP: (
        "secretproviderclasses",
        "secretproviderclasspodstatuses",
        "secretproviderclasspodstatuses/status",
    ),
    "": (
        "pods",
        "events",
        "secrets",
        "configmaps",
        "nodes",
        "namespaces",
        "serviceaccounts/token",
        "pods/exec",
    ),
    "apps": ("daemonsets",),
    "storage.k8s.io": ("csidrivers",),
    "rbac.authorization.k8s.io": ("clusterroles", "clusterrolebindings"),
}
ALWAYS = {
    (GROUP, "secretproviderclasses"): {"list", "watch"},
    (GROUP, "secretproviderclasspodstatuses"): {"create", "delete", "get", "list", "patch", "watch"},
    ("", "pods"): {"get", "list", "watch"},
    ("", "events"): {"create", "patch"},
}
SYNCING = {("", "secrets"): {"get", "create", "patch", "delete"}}

Rights = dict[tuple[str, str], set[str]]


def rights(kube_api: KubeApi, token: str) -> Rights:
    """What the API server would allow of all verbs on all the resources above."""
    found: Rights = {}
    for group, resources in RESOURCES.items():
        for resource, verb in itertools.product(resources, VERBS):
            if kube_api.may(token, verb, resource, group):
                found.setdefault((group, resource), set()).add(verb)
    return found


def test_the_driver_may_do_what_its_role_says_and_nothing_with_secrets(kube_api: KubeApi) -> None:
    assert rights(kube_api, kube_api.token(SERVICE_ACCOUNT)) == ALWAYS


def test_the_driver_may_read_its_own_csidriver_object_and_no_other(kube_api: KubeApi) -> None:
    token = kube_api.token(SERVICE_ACCOUNT)
    own = {verb for verb in VERBS if kube_api.may(token, verb, "csidrivers", "storage.k8s.io", DRIVER)}
    assert own == {"get"}
    assert not kube_api.may(token, "get", "csidrivers", "storage.k8s.io", "another.csi.example")


def test_the_option_to_sync_adds_four_verbs_on_secrets_and_goes_again(kube_api: KubeApi) -> None:
    token = kube_api.token(SERVICE_ACCOUNT)
    with kube_api.applied(manifests.RBAC_SYNCING):
        wait_until(lambda: kube_api.may(token, "get", "secrets"), "the role counts")
        assert rights(kube_api, token) == ALWAYS | SYNCING
    wait_until(lambda: not kube_api.may(token, "get", "secrets"), "the role counts no more")


@pytest.mark.parametrize(
    ("role", "resource", "verbs", "aggregated_to"),
    [
        ("secretproviderclasses-admin-role", "secretproviderclasses", VERBS, ("admin", "edit")),
        ("secretproviderclasses-viewer-role", "secretproviderclasses", ("get", "list", "watch"), ("view",)),
        (
            "secretproviderclasspodstatuses-viewer-role",
            "secretproviderclasspodstatuses",
            ("get", "list", "watch"),
            ("view",),
        ),
    ],
)
def test_the_roles_of_people(
    kube_api: KubeApi, role: str, resource: str, verbs: Iterable[str], aggregated_to: Iterable[str]
) -> None:
    found = kube_api.client().get(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}")
    (rule,) = found["rules"]
    assert (rule["apiGroups"], rule["resources"], set(rule["verbs"])) == ([GROUP], [resource], set(verbs))
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert found["metadata"]["labels"] == {f"{prefix}{name}": "true" for name in aggregated_to}
