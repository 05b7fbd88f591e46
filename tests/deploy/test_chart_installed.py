"""Helm and a real API server: the chart from nothing, over upstream's chart and manifests, and back."""

import copy
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.chart import CHART, RELEASE, helm, helm_version, render
from tests.deploy.test_chart import EVERYTHING, FULL_NAME
from tests.deploy.test_chart_values import UPSTREAM_VALUES
from tests.deploy.test_manifests import DAEMON_SET
from tests.deploy.test_manifests_applied import kubectl
from tests.kubeapi.kube_api import KubeApi, running_kube_api
from tests.kubeapi.manifests import CRDS, DEPLOY, documents, path_of
from tests.kubeapi.rest import Object, RestError
from tests.kubeapi.upstream_crds import upstream_shape
from tests.support.require import require
from tests.support.waiting import wait_until

NAMESPACE = "kube-system"
CRD_PATHS = [
    f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}.secrets-store.csi.x-k8s.io"
    for name in ("secretproviderclasses", "secretproviderclasspodstatuses")
]
CSI_DRIVER_PATH = "/apis/storage.k8s.io/v1/csidrivers/secrets-store.csi.k8s.io"
OTHER_SHAPE = "in another shape than this chart"
CLASS = {
    "apiVersion": "secrets-store.csi.x-k8s.io/v1",
    "kind": "SecretProviderClass",
    "metadata": {"name": "from-the-chart", "namespace": "default"},
    "spec": {"provider": "file", "parameters": {"objects": ""}},
}


@pytest.fixture(scope="module")
def bare_api() -> Iterator[KubeApi]:
    """An API server that has nothing of ours: helm refuses what it did not make itself."""
    require("helm")
    with running_kube_api(os.path.dirname(require("kube-apiserver")), installed=False) as made:
        wait_until(lambda: _is_there(made, f"/api/v1/namespaces/{NAMESPACE}"), "the namespace is there")
        yield made


@pytest.fixture
def api(bare_api: KubeApi) -> Iterator[KubeApi]:
    """It has no release and no definitions, before and after."""
    yield bare_api
    for name in _helm(bare_api, "list", "--short", "--deployed", "--failed", "--pending").split():
        _helm(bare_api, "uninstall", name)
    for path in CRD_PATHS:
        if _is_there(bare_api, path):
            bare_api.client().delete(path)
        wait_until(functools.partial(_is_gone, bare_api, path), "the definition is gone")


def _is_there(api: KubeApi, path: str) -> bool:
    try:
        api.client().get(path)
    except RestError as error:
        if error.code == 404:
            return False
        raise
    return True


def _is_gone(api: KubeApi, path: str) -> bool:
    return not _is_there(api, path)


def _helm(api: KubeApi, *arguments: str, stdin: str = "") -> str:
    """What it prints; the test fails with what it complains of."""
    result = helm(*arguments, f"--namespace={NAMESPACE}", stdin=stdin, KUBECONFIG=api.admin_kubeconfig)
    assert result.returncode == 0, result.stderr
    return result.stdout


def daemon_set(api: KubeApi, name: str = FULL_NAME) -> Any:
    return api.client().get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{name}")


def containers(found: Any) -> list[str]:
    return [container["name"] for container in found["spec"]["template"]["spec"]["containers"]]


def upstreams(found: Object) -> Object:
    """The DaemonSet as upstream has it: three containers, and without what only ours has."""
    made = copy.deepcopy(found)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container |= {"image": "example.invalid/driver:v1.6.0", "env": container["env"][:2]}
    for name in ("startupProbe", "readinessProbe"):
        del container[name]
    pod["containers"] = [
        {"name": "node-driver-registrar", "image": "example.invalid/registrar:v1"},
        container,
        {"name": "liveness-probe", "image": "example.invalid/probe:v1"},
    ]
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "run-dir"]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "run-dir"]
    return made


def upstream_chart(directory: Path) -> str:
    """A chart whose release is upstream's: the same names and selector, other rights, no republishing."""
    chart = directory / "upstream"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: secrets-store-csi-driver, version: 1.6.0}\n")
    (chart / "values.yaml").write_text("enableSecretRotation: false\n")
    for number, thing in enumerate(render({"syncSecret": {"enabled": True}}).objects):
        made = upstreams(thing) if thing["kind"] == "DaemonSet" else thing
        if made["kind"] == "CSIDriver":
            made["spec"]["requiresRepublish"] = False
        if made["metadata"]["name"] == "secretprovidersyncing-role":
            made["rules"][0]["verbs"] = ["create", "delete", "get", "list", "patch", "update", "watch"]
        (chart / "templates" / f"{number}.yaml").write_text(json.dumps(made))
    return str(chart)


def test_it_is_installed_changed_and_removed(api: KubeApi) -> None:
    """With a class among the extra objects: the definitions are served before anything else is made."""
    values = {
        **EVERYTHING,
        "podMonitor": {"enabled": True, "renderMode": "skipIfMissing"},
        "prometheusRules": {"enabled": True, "renderMode": "skipIfMissing"},
        "extraObjects": [CLASS],
    }
    said = _helm(api, "install", RELEASE, CHART, "--values=-", stdin=json.dumps(values))
    assert OTHER_SHAPE not in said
    assert containers(daemon_set(api)) == ["secrets-store"]
    class_path = path_of(api.client(), CLASS)
    assert _is_there(api, class_path)
    before = daemon_set(api)

    said = _helm(api, "upgrade", RELEASE, CHART, "--set=enableSecretRotation=true,logVerbosity=2")
    assert OTHER_SHAPE not in said
    after = daemon_set(api)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert "--v=2" in after["spec"]["template"]["spec"]["containers"][0]["args"]
    assert api.client().get(CSI_DRIVER_PATH)["spec"]["requiresRepublish"] is True
    assert not _is_there(api, class_path)

    _helm(api, "uninstall", RELEASE)
    assert not _is_there(api, CSI_DRIVER_PATH)
    # With them all classes would go.
    assert all(_is_there(api, path) for path in CRD_PATHS)


def test_the_prometheus_operators_kinds_are_missed_clearly(api: KubeApi) -> None:
    result = helm(
        *("install", RELEASE, CHART, f"--namespace={NAMESPACE}", "--set=podMonitor.enabled=true"),
        KUBECONFIG=api.admin_kubeconfig,
    )
    assert result.returncode != 0
    assert 'no matches for kind "PodMonitor"' in result.stderr


def test_helm_upgrade_takes_the_place_of_upstreams_chart_and_gives_it_back(
    api: KubeApi, tmp_path: Path
) -> None:
    for crd in documents(CRDS):
        # As its job does.
        kubectl("apply", "--filename=-", kube_api=api, stdin=json.dumps(upstream_shape(crd)))
    _helm(api, "install", RELEASE, upstream_chart(tmp_path), "--set=logVerbosity=3")
    before = daemon_set(api)
    assert len(containers(before)) == 3

    said = _helm(
        *(api, "upgrade", RELEASE, CHART, "--reset-then-reuse-values", "--set=syncSecret.enabled=true")
    )
    taken = daemon_set(api)
    assert taken["metadata"]["uid"] == before["metadata"]["uid"]
    assert taken["spec"]["selector"] == before["spec"]["selector"]
    assert containers(taken) == ["secrets-store"]
    # What was set by hand goes on being so.
    assert "--v=3" in taken["spec"]["template"]["spec"]["containers"][0]["args"]
    assert api.client().get(CSI_DRIVER_PATH)["spec"]["requiresRepublish"] is True
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/secretprovidersyncing-role"
    assert "list" not in api.client().get(role)["rules"][0]["verbs"]

    # Its definitions are left alone, and the notes say how to have ours.
    assert OTHER_SHAPE in said
    assert said.count("* secretproviderclass") == 2
    assert "helm show crds CHART | kubectl apply --server-side --force-conflicts -f -" in said
    kubectl(
        *("apply", "--server-side", "--force-conflicts", "--filename=-"),
        kube_api=api,
        stdin=_helm(api, "show", "crds", CHART),
    )
    assert OTHER_SHAPE not in _helm(api, "upgrade", RELEASE, CHART)
    assert "jsonKey" in json.dumps(api.client().get(CRD_PATHS[0]))

    _helm(api, "rollback", RELEASE, "1")
    given_back = daemon_set(api)
    assert given_back["metadata"]["uid"] == before["metadata"]["uid"]
    assert containers(given_back) == containers(before)
    assert given_back["spec"]["template"]["spec"]["volumes"] == before["spec"]["template"]["spec"]["volumes"]


def test_who_leaves_the_definitions_alone_hears_nothing_of_them(api: KubeApi) -> None:
    for crd in documents(CRDS):
        kubectl("apply", "--filename=-", kube_api=api, stdin=json.dumps(upstream_shape(crd)))
    said = _helm(api, "install", RELEASE, CHART, "--skip-crds", "--set=linux.crds.enabled=false")
    assert OTHER_SHAPE not in said


def test_every_value_of_upstreams_is_taken_by_the_api_server(api: KubeApi) -> None:
    said = _helm(api, "install", RELEASE, CHART, f"--values={UPSTREAM_VALUES}")
    assert "* linux.registrarImage: no effect" in said
    assert containers(daemon_set(api, "secrets-on-nodes")) == ["secrets-store"]


def test_plain_manifests_of_upstream_become_a_release_by_way_of_ours(api: KubeApi) -> None:
    """Helm alone would leave upstream's other two containers, so that it is refused (docs/chart.md)."""
    (ours,) = documents(DAEMON_SET)
    name = ours["metadata"]["name"]
    kubectl("apply", "--filename=-", kube_api=api, stdin=json.dumps(upstreams(ours)))
    before = daemon_set(api, name)
    install = ["install", RELEASE, CHART, "--take-ownership"]
    install.append(f"--set=nameOverride={name},fullnameOverride={name}")
    result = helm(*install, f"--namespace={NAMESPACE}", KUBECONFIG=api.admin_kubeconfig)
    assert result.returncode != 0
    assert "container node-driver-registrar, which would stay: run `kubectl apply -k deploy`" in result.stderr
    assert daemon_set(api, name) == before

    kubectl("apply", f"--kustomize={DEPLOY}", kube_api=api)
    if helm_version() >= (4,):
        # It applies on the server's side, where kubectl is another manager.
        install.append("--force-conflicts")
    _helm(api, *install)
    after = daemon_set(api, name)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["selector"] == {"matchLabels": {"app": name}}
    assert containers(after) == ["secrets-store"]
    _helm(api, "uninstall", RELEASE)
    assert _is_gone(api, f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{name}")
