"""kubectl and a real API server take the manifests: from nothing, over upstream's, and with each overlay."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy.test_manifests import DAEMON_SET
from tests.kubeapi.kube_api import KubeApi
from tests.kubeapi.manifests import DEPLOY, documents
from tests.support.checkout import ROOT
from tests.support.require import require

OVERLAYS = ("file-provider", "service-account-token-in-secrets")
DAEMON_SET_PATH = "/apis/apps/v1/namespaces/kube-system/daemonsets/csi-secrets-store"
_SIDECARS = ("node-driver-registrar", "liveness-probe")
# As docs/migrate.md has it.
_WITHOUT_SIDECARS = json.dumps(
    {
        "spec": {
            "template": {"spec": {"containers": [{"name": name, "$patch": "delete"} for name in _SIDECARS]}}
        }
    }
)
CSI_DRIVER_PATH = "/apis/storage.k8s.io/v1/csidrivers/secrets-store.csi.k8s.io"


def kubectl(*arguments: str, kube_api: KubeApi | None = None, stdin: str = "") -> str:
    """What it prints; the test fails with what it complains of."""
    path = os.path.join(os.path.dirname(require("kube-apiserver")), "kubectl")
    server = [f"--kubeconfig={kube_api.admin_kubeconfig}"] if kube_api else []
    result = subprocess.run(
        [path, *server, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def with_overlays(directory: str, *names: str) -> list[Any]:
    """The objects of a kustomization that somebody else keeps, as Kustomization tells to write it."""
    base = os.path.relpath(os.path.realpath(DEPLOY), os.path.realpath(directory))
    kustomization = {"resources": [base], "components": [f"{base}/overlays/{name}" for name in names]}
    with open(os.path.join(directory, "kustomization.yaml"), "w", encoding="utf-8") as file:
        json.dump(kustomization, file)
    return [found for found in yaml.safe_load_all(kubectl("kustomize", directory)) if found]


def dry_run(kube_api: KubeApi, objects: list[Any]) -> None:
    """Have the API server look at the objects, as `kubectl apply` would send them."""
    for found in objects:
        kubectl("apply", "--dry-run=server", "--filename=-", kube_api=kube_api, stdin=json.dumps(found))


def of_kind(objects: list[Any], kind: str) -> Any:
    (found,) = (found for found in objects if found["kind"] == kind)
    return found


def test_the_api_server_takes_the_file_provider(kube_api: KubeApi, tmp_path: Any) -> None:
    dry_run(kube_api, with_overlays(str(tmp_path), "file-provider"))


def test_the_api_server_takes_tokens_as_secrets_from_1_35_on(kube_api: KubeApi, tmp_path: Any) -> None:
    driver = of_kind(with_overlays(str(tmp_path), "service-account-token-in-secrets"), "CSIDriver")
    if int(kube_api.client().get("/version")["minor"]) >= 35:
        dry_run(kube_api, [driver])
    else:
        with pytest.raises(AssertionError, match="serviceAccountTokenInSecrets"):
            dry_run(kube_api, [driver])
    del driver["spec"]["serviceAccountTokenInSecrets"]
    dry_run(kube_api, [driver])


def test_tokens_come_as_secrets_with_the_overlay(tmp_path: Any) -> None:
    spec = of_kind(with_overlays(str(tmp_path), "service-account-token-in-secrets"), "CSIDriver")["spec"]
    assert spec["serviceAccountTokenInSecrets"] is True
    assert spec["tokenRequests"]
    assert spec["requiresRepublish"] is True


def test_the_file_provider_has_a_root_that_is_mounted_with_the_overlay(tmp_path: Any) -> None:
    (container,) = of_kind(with_overlays(str(tmp_path), "file-provider"), "DaemonSet")["spec"]["template"][
        "spec"
    ]["containers"]
    environ = {entry["name"]: entry.get("value") for entry in container["env"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts[environ["SSCSI_FILE_PROVIDER_ROOT"]]["readOnly"] is True
    # The rest is still there.
    assert environ["CSI_ENDPOINT"]
    assert mounts["/csi"]


def test_the_kustomization_that_migrate_md_tells_to_write(tmp_path: Any) -> None:
    with open(os.path.join(ROOT, "docs", "migrate.md"), encoding="utf-8") as file:
        (text,) = re.findall(r"```yaml\n(.*?)```", file.read(), re.DOTALL)
    # kustomize takes files from nowhere else.
    shutil.copy(os.path.join(DEPLOY, "rbac-secretprovidersyncing.yaml"), tmp_path)
    base = os.path.relpath(os.path.realpath(DEPLOY), os.path.realpath(tmp_path))
    text = text.replace("PATH/deploy", base).replace("REGISTRY", "registry.example").replace("TAG", "v2")
    (tmp_path / "kustomization.yaml").write_text(text)
    objects = list(yaml.safe_load_all(kubectl("kustomize", str(tmp_path))))
    (container,) = of_kind(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/sscsi:v2"
    assert "--enable-secret-rotation=true" in container["args"]
    assert "--enable-secret-rotation=false" not in container["args"]
    assert "secretprovidersyncing-role" in {found["metadata"]["name"] for found in objects}


def test_the_patch_of_migrate_md_is_the_one_that_is_tested() -> None:
    with open(os.path.join(ROOT, "docs", "migrate.md"), encoding="utf-8") as file:
        (text,) = re.findall(r"--patch \\\n  '(.*?)'", file.read())
    assert json.loads(text) == json.loads(_WITHOUT_SIDECARS)


def test_every_overlay_is_tested() -> None:
    assert sorted(os.listdir(os.path.join(DEPLOY, "overlays"))) == sorted(OVERLAYS)


def upstream_daemon_set() -> Any:
    """Ours with upstream's containers in the place of the one."""
    (upstream,) = documents(DAEMON_SET)
    (container,) = upstream["spec"]["template"]["spec"]["containers"]
    container |= {"image": "example.invalid/driver:v1", "env": container["env"][:2]}
    for name in ("startupProbe", "readinessProbe"):
        del container[name]
    upstream["spec"]["template"]["spec"]["containers"] = [
        {"name": "node-driver-registrar", "image": "example.invalid/registrar:v1"},
        container,
        {"name": "liveness-probe", "image": "example.invalid/probe:v1"},
    ]
    return upstream


def containers(kube_api: KubeApi) -> list[str]:
    spec = kube_api.client().get(DAEMON_SET_PATH)["spec"]["template"]["spec"]
    return [container["name"] for container in spec["containers"]]


def test_it_takes_the_place_of_upstreams_three_containers(kube_api: KubeApi) -> None:
    """As `kubectl apply` made both; the object stays the same one, since its selector does."""
    (ours,) = documents(DAEMON_SET)
    client = kube_api.client()
    kubectl("apply", "--filename=-", kube_api=kube_api, stdin=json.dumps(upstream_daemon_set()))
    try:
        before = client.get(DAEMON_SET_PATH)
        kubectl("apply", f"--kustomize={DEPLOY}", kube_api=kube_api)
        after = client.get(DAEMON_SET_PATH)
        (container,) = after["spec"]["template"]["spec"]["containers"]
        assert container["name"] == "secrets-store"
        assert container["image"] == ours["spec"]["template"]["spec"]["containers"][0]["image"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert client.get(CSI_DRIVER_PATH)["spec"]["requiresRepublish"] is True
    finally:
        client.delete(DAEMON_SET_PATH)
        client.delete(CSI_DRIVER_PATH)


class TestServerSideApply:
    """What docs/migrate.md says of it: it takes the place of what kubectl made, and adds to what another tool made."""

    @pytest.fixture(autouse=True)
    def _removed(self, kube_api: KubeApi) -> Iterator[None]:
        yield
        kube_api.client().delete(DAEMON_SET_PATH)

    @pytest.mark.parametrize("how", [[], ["--server-side"]])
    def test_over_what_kubectl_made_upstreams_sidecars_go(self, kube_api: KubeApi, how: list[str]) -> None:
        kubectl("apply", *how, "--filename=-", kube_api=kube_api, stdin=json.dumps(upstream_daemon_set()))
        self._apply_ours("--server-side", "--force-conflicts", kube_api=kube_api)
        assert containers(kube_api) == ["secrets-store"]

    def test_over_a_clients_apply_it_is_refused_without_force(self, kube_api: KubeApi) -> None:
        kubectl("apply", "--filename=-", kube_api=kube_api, stdin=json.dumps(upstream_daemon_set()))
        with pytest.raises(AssertionError, match="conflict"):
            self._apply_ours("--server-side", kube_api=kube_api)
        assert containers(kube_api) == ["node-driver-registrar", "secrets-store", "liveness-probe"]

    def test_over_what_another_tool_made_they_stay_until_they_are_taken_out(self, kube_api: KubeApi) -> None:
        helm = ("apply", "--server-side", "--field-manager=helm")
        kubectl(*helm, "--filename=-", kube_api=kube_api, stdin=json.dumps(upstream_daemon_set()))
        self._apply_ours("--server-side", "--force-conflicts", kube_api=kube_api)
        assert containers(kube_api) == ["node-driver-registrar", "secrets-store", "liveness-probe"]
        kubectl(
            "patch",
            "--namespace=kube-system",
            "daemonset/csi-secrets-store",
            f"--patch={_WITHOUT_SIDECARS}",
            kube_api=kube_api,
        )
        assert containers(kube_api) == ["secrets-store"]

    def _apply_ours(self, *how: str, kube_api: KubeApi) -> None:
        kubectl("apply", *how, f"--filename={DAEMON_SET}", kube_api=kube_api)
