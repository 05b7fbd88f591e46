"""The CRDs of deploy/ on a real API server: what they keep, what they show, and what is left on upstream's."""

import os
import re
import subprocess
from typing import Any

import pytest

from tests.kubeapi import manifests
from tests.kubeapi.kube_api import GROUP, KubeApi
from tests.kubeapi.rest import TABLE, Object
from tests.kubeapi.upstream_crds import upstream_crds, upstream_shape
from tests.support.require import require

CLASSES = "secretproviderclasses"
STATUSES = "secretproviderclasspodstatuses"
KINDS = {CLASSES: "SecretProviderClass", STATUSES: "SecretProviderClassPodStatus"}
VERSIONS = ("v1", "v1alpha1")

CLASS_SPEC = {
    "provider": "file",
    "parameters": {"objects": "- a"},
    "secretObjects": [
        {
            "secretName": "s",
            "type": "Opaque",
            "labels": {"l": "1"},
            "annotations": {"a": "1"},
            "data": [{"objectName": "a", "key": "k", "jsonKey": "j"}],
        }
    ],
}
UPSTREAM_STATUS = {
    "podName": "pod",
    "secretProviderClassName": "class",
    "mounted": True,
    "targetPath": "/var/lib/kubelet/pods/uid/volumes/kubernetes.io~csi/v/mount",
    "objects": [{"id": "a", "version": "1"}],
}
CONDITIONS = [
    {
        "type": kind,
        "status": status,
        "reason": "Because",
        "message": "in words",
        "lastTransitionTime": "2024-05-06T07:08:09Z",
    }
    for kind, status in (("Ready", "True"), ("Refreshed", "Unknown"), ("Synced", "False"))
]
OUR_STATUS = {**UPSTREAM_STATUS, "conditions": CONDITIONS, "lastChangeTime": "2024-05-06T07:08:09Z"}


def path(plural: str, namespace: str, version: str = "v1") -> str:
    return f"/apis/{GROUP}/{version}/namespaces/{namespace}/{plural}"


def made(
    kube_api: KubeApi, plural: str, namespace: str, content: Object, *, version: str = "v1", **metadata: Any
) -> Object:
    document = {
        "apiVersion": f"{GROUP}/{version}",
        "kind": KINDS[plural],
        "metadata": {"name": "one", **metadata},
        **content,
    }
    return kube_api.client().create(path(plural, namespace, version), document)


def printed(kube_api: KubeApi, plural: str, namespace: str, version: str) -> dict[str, str]:
    """What `kubectl get` shows of the only object, by column."""
    table = kube_api.client().get(path(plural, namespace, version), accept=TABLE)
    (row,) = table["rows"]
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, row["cells"], strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_class_keeps_every_field_in_each_version(kube_api: KubeApi, namespace: str, version: str) -> None:
    assert made(kube_api, CLASSES, namespace, {"spec": CLASS_SPEC}, version=version)["spec"] == CLASS_SPEC
    for other in VERSIONS:
        read = kube_api.client().get(path(CLASSES, namespace, other) + "/one")
        assert read["apiVersion"] == f"{GROUP}/{other}"
        assert read["spec"] == CLASS_SPEC


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("status", [UPSTREAM_STATUS, OUR_STATUS], ids=["upstream's", "ours"])
def test_a_status_object_keeps_every_field_in_each_version(
    kube_api: KubeApi, namespace: str, version: str, status: Object
) -> None:
    assert made(kube_api, STATUSES, namespace, {"status": status}, version=version)["status"] == status
    for other in VERSIONS:
        assert kube_api.client().get(path(STATUSES, namespace, other) + "/one")["status"] == status


@pytest.mark.parametrize("plural", KINDS)
@pytest.mark.parametrize("content", [{}, {"spec": {}, "status": {}}], ids=["nothing", "empty parts"])
def test_nothing_is_required(kube_api: KubeApi, namespace: str, plural: str, content: Object) -> None:
    made(kube_api, plural, namespace, content)


def test_the_status_is_written_with_the_object(kube_api: KubeApi, namespace: str) -> None:
    made(kube_api, STATUSES, namespace, {"status": UPSTREAM_STATUS})
    changed = kube_api.client().patch(
        path(STATUSES, namespace) + "/one", {"status": {"lastChangeTime": OUR_STATUS["lastChangeTime"]}}
    )
    assert changed["status"] == {**UPSTREAM_STATUS, "lastChangeTime": OUR_STATUS["lastChangeTime"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_columns_of_a_status_object(kube_api: KubeApi, namespace: str, version: str) -> None:
    labels = {"internal.secrets-store.csi.k8s.io/node-name": "node-1"}
    made(kube_api, STATUSES, namespace, {"status": OUR_STATUS}, labels=labels)
    cells = printed(kube_api, STATUSES, namespace, version)
    assert list(cells) == ["Name", "Pod", "Class", "Node", "Synced", "Refreshed", "Changed", "Age"]
    assert list(cells.values())[:6] == ["one", "pod", "class", "node-1", "False", "Unknown"]
    # Years and days, of a date; a string would be shown as it is.
    assert re.fullmatch(r"\d+y(\d+d)?", cells["Changed"])
    assert cells["Age"].endswith("s")


def test_the_columns_of_a_status_object_of_upstream(kube_api: KubeApi, namespace: str) -> None:
    made(kube_api, STATUSES, namespace, {"status": UPSTREAM_STATUS})
    cells = printed(kube_api, STATUSES, namespace, "v1")
    assert (cells["Pod"], cells["Class"]) == ("pod", "class")
    assert not any((cells["Node"], cells["Synced"], cells["Refreshed"], cells["Changed"]))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_columns_of_a_class(kube_api: KubeApi, namespace: str, version: str) -> None:
    made(kube_api, CLASSES, namespace, {"spec": CLASS_SPEC})
    cells = printed(kube_api, CLASSES, namespace, version)
    assert list(cells) == ["Name", "Provider", "Age"]
    assert cells["Provider"] == "file"


def test_upstreams_crds_keep_their_own_fields_and_no_others(kube_api: KubeApi, namespace: str) -> None:
    with upstream_crds(kube_api):
        status = made(kube_api, STATUSES, namespace, {"status": OUR_STATUS})["status"]
        assert status == UPSTREAM_STATUS
        made_class = made(kube_api, CLASSES, namespace, {"spec": CLASS_SPEC})
        assert made_class["spec"]["secretObjects"][0]["data"] == [{"objectName": "a", "key": "k"}]
        assert list(printed(kube_api, STATUSES, namespace, "v1")) == ["Name", "Age"]
    kept = kube_api.client().patch(path(STATUSES, namespace) + "/one", {"status": OUR_STATUS})
    assert kept["status"] == OUR_STATUS


@pytest.mark.parametrize(
    "crd", manifests.documents(manifests.CRDS), ids=lambda crd: crd["spec"]["names"]["kind"]
)
def test_the_shape_is_upstreams(crd: Object) -> None:
    spec = upstream_shape(crd)["spec"]
    assert (spec["group"], spec["scope"]) == (GROUP, "Namespaced")
    assert [(version["name"], version["served"], version["storage"]) for version in spec["versions"]] == [
        ("v1", True, True),
        ("v1alpha1", True, False),
    ]
    assert [version.get("deprecated", False) for version in spec["versions"]] == [False, True]
    for version in spec["versions"]:
        assert "subresources" not in version
        assert not words_of(version["schema"]) & {"required", "enum", "pattern", "format", "default"}


def words_of(schema: Any) -> set[str]:
    """The keys of a schema, at whatever depth."""
    if isinstance(schema, dict):
        return set(schema).union(*(words_of(value) for value in schema.values()))
    return set()


@pytest.mark.parametrize(
    "arguments",
    [(f"--kustomize={manifests.DEPLOY}",), (f"--filename={manifests.RBAC_SYNCING}",)],
    ids=["base", "right to make Secrets"],
)
def test_kubectl_applies_what_deploy_has(kube_api: KubeApi, arguments: tuple[str, ...]) -> None:
    kubectl = os.path.join(os.path.dirname(require("kube-apiserver")), "kubectl")
    result = subprocess.run(
        [
            kubectl,
            f"--kubeconfig={kube_api.admin_kubeconfig}",
            "apply",
            "--dry-run=server",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
