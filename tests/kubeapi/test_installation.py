"""What status-sync says of an installation on a real API server, and that `sscsi doctor` says the same."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecars.statussync.kube.cluster import KubernetesCluster
from sscsi.core.finding import Outcome, Word
from tests.cli.test_cli_doctor import asked
from tests.kubeapi import kube_status_sync, manifests
from tests.kubeapi.adapter import USER, adapter
from tests.kubeapi.kube_api import GROUP, SERVICE_ACCOUNT, KubeApi
from tests.kubeapi.kube_status_sync import SPEC
from tests.kubeapi.rest import RestError
from tests.kubeapi.test_rights import DRIVER, without
from tests.kubeapi.upstream_crds import upstream_crds
from tests.registrar.tiny_driver import tiny_driver
from tests.support.waiting import wait_until

CSIDRIVER = os.path.join(manifests.DEPLOY, "csidriver.yaml")
_DRIVERS = "/apis/storage.k8s.io/v1/csidrivers"
_AMISS = frozenset({Outcome.WARN, Outcome.FAIL})
_CHECKS = ("csidriver", "crds", "rights")


def csidriver(**changes: Any) -> dict[str, Any]:
    (document,) = manifests.documents(CSIDRIVER)
    return {**document, "spec": {**document["spec"], **changes}}


class Installed:
    """The cluster as the driver's account sees it; `directory` is the doctor's."""

    def __init__(self, kube_api: KubeApi, cluster: KubernetesCluster, directory: str) -> None:
        self.kube_api = kube_api
        self.cluster = cluster
        self.directory = directory

    def said(self, subject: str) -> list[Word]:
        """All that status-sync finds about the subject."""
        return [word for about, word in self.cluster.check_installation(DRIVER) if about == subject]

    def amiss(self) -> list[Word]:
        return [word for _, word in self.cluster.check_installation(DRIVER) if word.outcome in _AMISS]

    def doctor(self) -> list[Word]:
        """What `sscsi doctor` finds amiss."""
        told = asked(self.directory, self.kube_api.kubeconfig_for(SERVICE_ACCOUNT))
        return [word for name in _CHECKS for word in told[name] if word.outcome in _AMISS]


@pytest.fixture
def installed(kube_api: KubeApi, tmp_path: Path) -> Iterator[Installed]:
    """Once the API server tells the fields of both kinds."""
    with adapter(kube_api) as cluster:
        made = Installed(kube_api, cluster, str(tmp_path))
        wait_until(lambda: {word.outcome for word in made.said("CRDs")} == {Outcome.OK}, "they are told")
        yield made


def test_ours_is_well_and_costs_few_requests(installed: Installed) -> None:
    kube_api = installed.kube_api
    with kube_api.applied(CSIDRIVER):
        begun = time.time()
        assert installed.amiss() == []
        asked_for = [
            f"{request.verb} {request.resource or request.uri}"
            for request in kube_api.requests(begun, user=USER)
            if request.verb != "watch" and not request.namespace
        ]
    once = {
        "create selfsubjectrulesreviews",
        "get /apis/secrets-store.csi.x-k8s.io",
        "get /apis/secrets-store.csi.x-k8s.io/v1",
        "get /openapi/v3/apis/secrets-store.csi.x-k8s.io/v1",
        "get csidrivers",
    }
    assert once <= set(asked_for)
    # No verb on Secrets is granted by the default, so that each is asked for by itself.
    assert asked_for.count("create selfsubjectaccessreviews") == 4
    assert all(asked_for.count(one) == 1 for one in once)


def test_a_csidriver_that_is_not_there(installed: Installed) -> None:
    (word,) = installed.amiss()
    assert word.found.startswith(f"there is no CSIDriver {DRIVER}")
    assert installed.doctor() == [word]


@pytest.mark.parametrize(
    ("changes", "field", "cure"),
    [
        ({"podInfoOnMount": False}, "podInfoOnMount", "kubectl apply -f deploy/csidriver.yaml"),
        ({"attachRequired": True}, "attachRequired", f"kubectl delete csidriver {DRIVER}"),
        ({"requiresRepublish": False}, "requiresRepublish", "kubectl apply -f deploy/csidriver.yaml"),
        ({"volumeLifecycleModes": ["Persistent"]}, "Ephemeral", f"kubectl delete csidriver {DRIVER}"),
    ],
)
def test_a_csidriver_of_another_shape(
    installed: Installed, changes: dict[str, Any], field: str, cure: str
) -> None:
    client = installed.kube_api.client()
    client.create(_DRIVERS, csidriver(**changes))
    try:
        (word,) = installed.amiss()
        assert field in word.found
        assert cure in word.cure
        assert installed.doctor() == [word]
    finally:
        client.delete(f"{_DRIVERS}/{DRIVER}")


def test_upstreams_crds(installed: Installed) -> None:
    with installed.kube_api.applied(CSIDRIVER), upstream_crds(installed.kube_api):
        wait_until(lambda: len(installed.amiss()) == 2, "both schemas are told")
        older = installed.amiss()
        assert "spec.secretObjects[].data[].jsonKey" in older[0].found
        assert "status.conditions" in older[1].found
        assert all(
            "kubectl apply --server-side --force-conflicts -f deploy/crds" in word.cure for word in older
        )
        assert installed.doctor() == older


@pytest.mark.parametrize(
    ("right", "outcome"),
    [
        (("secrets-store.csi.x-k8s.io", "secretproviderclasses", "list"), Outcome.FAIL),
        (("", "events", "create"), Outcome.WARN),
        (("", "pods", "watch"), Outcome.WARN),
        (("storage.k8s.io", "csidrivers", "get"), Outcome.WARN),
    ],
)
def test_a_right_that_is_missing(installed: Installed, right: tuple[str, str, str], outcome: Outcome) -> None:
    _, resource, verb = right
    with installed.kube_api.applied(CSIDRIVER), without(installed.kube_api, *right):
        (word,) = installed.amiss()
        assert (word.outcome, f"no right to {verb} {resource}" in word.found) == (outcome, True)
        assert "kubectl apply -f deploy/rbac.yaml" in word.cure
        assert installed.doctor() == [word]


def test_a_right_in_one_namespace_is_none_in_every_namespace(installed: Installed) -> None:
    client, roles = installed.kube_api.client(), "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    of_role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "some"}
    rule = {"apiGroups": [GROUP], "resources": ["secretproviderclasses"], "verbs": ["list"]}
    documents = {
        f"{roles}/roles": {"metadata": {"name": "some"}, "rules": [rule]},
        f"{roles}/rolebindings": {
            "metadata": {"name": "some"},
            "roleRef": of_role,
            "subjects": [{"kind": "User", "name": USER}],
        },
    }
    right = (GROUP, "secretproviderclasses", "list")
    with installed.kube_api.applied(CSIDRIVER), without(installed.kube_api, *right):
        try:
            for path, document in documents.items():
                client.create(path, document)
            wait_until(lambda: lists_in_default(installed.kube_api), "it may in one namespace")
            (word,) = installed.amiss()
        finally:
            for path in documents:
                client.delete(f"{path}/some")
    assert word.found == "no right to list secretproviderclasses in every namespace"


def lists_in_default(kube_api: KubeApi) -> bool:
    """Whether the driver may list classes there."""
    path = f"/apis/{GROUP}/v1/namespaces/default/secretproviderclasses"
    try:
        kube_api.client(kube_api.token(SERVICE_ACCOUNT)).list(path)
    except RestError:
        return False
    return True


def test_the_program_says_so_at_its_start(tmp_path: Path, kube_api: KubeApi, namespace: str) -> None:
    with (
        kube_status_sync.programs() as programs,
        kube_status_sync.unstarted(tmp_path, programs, kube_api, namespace, SPEC) as room,
        tiny_driver(str(room.run / "probe.sock")),
    ):
        room.start()
        expected = f"CSIDriver {DRIVER}: there is no CSIDriver {DRIVER}"
        wait_until(
            lambda: any(problem.startswith(expected) for problem in room.status().problems),
            "it is told",
            seconds=60.0,
        )
        lines = [line for line in room.log.read_text().splitlines() if "something does not work" in line]
    assert sum("kubectl apply -f deploy/csidriver.yaml" in line for line in lines) == 1
