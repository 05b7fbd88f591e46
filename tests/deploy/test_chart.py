"""The Helm chart: by default it is the plain manifests, and each value changes what it says and nothing else."""

import copy
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import sscsi
from sscsi.cli import environment
from sscsi.node.config import flags_for
from tests.deploy.chart import (
    CHART,
    RELEASE,
    Rendered,
    default_values,
    helm,
    leaves,
    no_effect_table,
    refused,
    render,
    schema,
    value_table,
    without_effect,
)
from tests.kubeapi.manifests import DEPLOY, RBAC_SYNCING, documents
from tests.support.checkout import ROOT

FULL_NAME = f"{RELEASE}-secrets-store-csi-driver"
APP = {"app": "secrets-store-csi-driver"}
OWN_LABELS = {
    **APP,
    "app.kubernetes.io/name": "secrets-store-csi-driver",
    "app.kubernetes.io/instance": RELEASE,
}
# Where the chart keeps what helm can't read outside of it.
COPIES = {
    "crds/secrets-store.csi.x-k8s.io_secretproviderclasses.yaml": "crds/secrets-store.csi.x-k8s.io_secretproviderclasses.yaml",
    "crds/secrets-store.csi.x-k8s.io_secretproviderclasspodstatuses.yaml": "crds/secrets-store.csi.x-k8s.io_secretproviderclasspodstatuses.yaml",
    "files/grafana-dashboard.json": "grafana-dashboard.json",
    "files/prometheus-rules.yaml": "prometheus-rules.yaml",
}
EVERYTHING: dict[str, Any] = {
    "syncSecret": {"enabled": True},
    "fileProvider": {"enabled": True},
    "tokenRequests": [{"audience": "vault", "expirationSeconds": 3600}],
    "podMonitor": {"enabled": True},
    "prometheusRules": {"enabled": True},
    "grafanaDashboard": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "extraObjects": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-x"}}],
}


def plain() -> list[Any]:
    """The objects of the kustomize base."""
    with open(os.path.join(DEPLOY, "Kustomization"), encoding="utf-8") as file:
        names = yaml.safe_load(file)["resources"]
    return [found for name in names for found in documents(os.path.join(DEPLOY, name))]


def comparable(objects: Any) -> dict[tuple[str, str], Any]:
    """By kind and name, without the names and labels that the chart has of its own."""
    found = {}
    for thing in copy.deepcopy(list(objects)):
        metadata = thing["metadata"]
        labels = metadata.pop("labels", {})
        if thing["kind"] == "DaemonSet":
            metadata["name"] = "driver"
            del thing["spec"]["selector"], thing["spec"]["template"]["metadata"]["labels"]
        # By these a role becomes part of another one.
        metadata["labels"] = {key: value for key, value in labels.items() if "aggregate-to" in key}
        found[thing["kind"], metadata["name"]] = thing
    return found


def arguments(rendered: Rendered) -> dict[str, str]:
    pairs = (argument.partition("=") for argument in rendered.container["args"])
    return {name: value for name, _, value in pairs}


def variables(rendered: Rendered) -> dict[str, Any]:
    entries = rendered.container["env"]
    found = {entry["name"]: entry.get("value", "worker-1") for entry in entries}
    assert len(found) == len(entries)
    return found


def completed(rendered: Rendered) -> environment.Environment:
    """What `sscsi run` makes of the container's arguments and variables; the test fails when it takes them not."""
    environ = variables(rendered)
    words = [
        argument.replace("$(CSI_ENDPOINT)", environ["CSI_ENDPOINT"]).replace("$(KUBE_NODE_NAME)", "worker-1")
        for argument in rendered.container["args"]
    ]
    assert {word.removeprefix("--").partition("=")[0] for word in words} <= {
        flag.name for flag in flags_for({})
    }
    return environment.complete(words, environ, host_name="pod")


def volume_paths(rendered: Rendered) -> dict[str, tuple[str, str]]:
    """By volume, where it is on the node and in the container."""
    mounts = {mount["name"]: mount["mountPath"] for mount in rendered.container["volumeMounts"]}
    assert len(mounts) == len(rendered.container["volumeMounts"])
    return {
        volume["name"]: (volume["hostPath"]["path"], mounts[volume["name"]])
        for volume in rendered.pod["volumes"]
        if "hostPath" in volume
    }


class TestDefaults:
    def test_they_are_the_plain_manifests(self) -> None:
        assert comparable(render(None, "--include-crds").objects) == comparable(plain())

    def test_secrets_may_be_made_as_with_the_plain_manifests(self) -> None:
        rendered = render({"syncSecret": {"enabled": True}}, "--include-crds")
        assert comparable(rendered.objects) == comparable([*plain(), *documents(RBAC_SYNCING)])

    def test_names_and_selector_are_those_of_upstreams_chart(self) -> None:
        daemon_set = render().of("DaemonSet")
        assert daemon_set["metadata"]["name"] == FULL_NAME
        assert daemon_set["spec"]["selector"] == {"matchLabels": APP}
        assert daemon_set["spec"]["template"]["metadata"]["labels"] == OWN_LABELS

    def test_every_object_has_the_standard_labels(self) -> None:
        wanted = {
            **OWN_LABELS,
            "app.kubernetes.io/managed-by": "Helm",
            "app.kubernetes.io/version": sscsi.__version__,
            "helm.sh/chart": f"secrets-store-csi-driver-{sscsi.__version__}",
        }
        for thing in render({**EVERYTHING, "extraObjects": []}).objects:
            assert wanted.items() <= thing["metadata"]["labels"].items(), thing["metadata"]["name"]

    def test_nothing_is_a_hook_or_a_job(self) -> None:
        for thing in render(EVERYTHING).objects:
            assert "helm.sh/hook" not in thing["metadata"].get("annotations", {})
            assert thing["kind"] != "Job"

    def test_sscsi_run_takes_them(self) -> None:
        assert completed(render()).variables["SSCSI_METRICS_ADDR"] == ":8095"

    def test_the_chart_has_the_version_of_this_checkout(self) -> None:
        (chart,) = documents(os.path.join(CHART, "Chart.yaml"))
        assert chart["version"] == chart["appVersion"] == sscsi.__version__
        assert default_values()["linux"]["image"]["tag"] == sscsi.__version__

    def test_helm_has_nothing_to_complain_of(self) -> None:
        done = helm("lint", "--strict", "--kube-version=1.34.0", CHART)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_a_packaged_chart_has_all_files(self, tmp_path: Path) -> None:
        done = helm("package", CHART, f"--destination={tmp_path}")
        assert done.returncode == 0, done.stderr
        archive = tmp_path / f"secrets-store-csi-driver-{sscsi.__version__}.tgz"
        with tarfile.open(archive) as packed:
            names = {os.path.relpath(member.name, "secrets-store-csi-driver") for member in packed}
        walked = {
            os.path.relpath(os.path.join(directory, name), CHART)
            for directory, _, files in os.walk(CHART)
            for name in files
        }
        assert names == walked

    def test_the_notes_say_how_to_look_at_it_and_where_the_image_is_from(self) -> None:
        notes = render().notes
        assert f"rollout status daemonset/{FULL_NAME}" in notes
        assert f"localhost/sscsi/sscsi:{sscsi.__version__}" in notes
        assert "no meaning" not in notes


class TestFiles:
    @pytest.mark.parametrize("name", COPIES)
    def test_copies_are_equal(self, name: str) -> None:
        original = os.path.join(DEPLOY, COPIES[name])
        with open(original, "rb") as ours, open(os.path.join(CHART, name), "rb") as theirs:
            same = ours.read() == theirs.read()
        assert same, f"cp {original} {os.path.join(CHART, name)}"

    def test_every_file_is_a_copy_or_tested_elsewhere(self) -> None:
        names = [
            f"{directory}/{name}"
            for directory in ("crds", "files")
            for name in os.listdir(os.path.join(CHART, directory))
        ]
        assert sorted(names) == sorted([*COPIES, "files/upstream-values.yaml"])
        assert sorted(os.listdir(os.path.join(DEPLOY, "crds"))) == sorted(
            os.listdir(os.path.join(CHART, "crds"))
        )

    def test_the_document_has_the_table_of_values(self) -> None:
        with open(os.path.join(ROOT, "docs", "chart.md"), encoding="utf-8") as file:
            text = file.read()
        assert value_table() in text
        assert no_effect_table() in text


class TestSchema:
    def test_every_default_has_a_description(self) -> None:
        for path, _, node in leaves(default_values(), schema()):
            assert node.get("description"), path

    def test_what_has_no_effect_is_in_no_template(self) -> None:
        """A value is either in values.yaml or accepted for upstream's sake, and not both."""
        known = {path for path, _, _ in leaves(default_values(), schema())} - {"windows.enabled"}
        for entry in without_effect():
            assert not any(f"{path}.".startswith(f"{entry['name']}.") for path in known)

    @pytest.mark.parametrize(
        ("values", "texts"),
        [
            (
                {
                    "unknown": 1,
                    "logVerbosity": "5",
                    "enableSecretRotation": "true",
                    "rotationPollInterval": "2 minutes",
                    "linux": {
                        "env": {"A": "b"},
                        "kubeletRootDir": "kubelet",
                        "tolerations": {},
                        "metricsAddr": ":65536",
                    },
                    "livenessProbe": {"port": 0},
                    "tokenRequests": ["vault"],
                    "serviceAccountTokenInSecrets": "yes",
                },
                [
                    "additional properties 'unknown' not allowed",
                    "'/logVerbosity': got string, want",
                    "'/enableSecretRotation': got string, want boolean",
                    "'/rotationPollInterval': '2 minutes' does not match",
                    "'/linux/env': got object, want",
                    "'/linux/kubeletRootDir': 'kubelet' does not match",
                    "'/linux/tolerations': got object, want",
                    "'/linux/metricsAddr': ':65536' does not match",
                    "'/livenessProbe/port': minimum: got 0, want 1",
                    "'/tokenRequests/0': got string, want object",
                    "'/serviceAccountTokenInSecrets': got string, want",
                ],
            ),
            (
                {
                    "linux": {
                        "image": {"digest": "sha256:12", "pullPolicy": "Sometimes"},
                        "driver": {
                            "resources": {
                                "limit": {},
                                "requests": {"memory": "128 Mi", "cpu": "-1"},
                                "limits": {"memory": "lots", "cpu": -1},
                            }
                        },
                        "metricsAddr": 8095,
                        "additionalProvidersDirs": ["a,b"],
                        "podLabels": {"a": 1},
                        "kubeletDir": "/x",
                    },
                    "podMonitor": {"renderMode": "maybe", "interval": "1 m"},
                    "commonLabels": [],
                    "imagePullSecrets": [1],
                },
                [
                    "'/linux/image/digest': 'sha256:12' does not match",
                    "'/linux/image/pullPolicy': value must be one of",
                    "'/linux/driver/resources': additional properties 'limit' not allowed",
                    "'/linux/driver/resources/requests/memory': '128 Mi' does not match",
                    "'/linux/driver/resources/requests/cpu': '-1' does not match",
                    "'/linux/driver/resources/limits/memory': 'lots' does not match",
                    "'/linux/driver/resources/limits/cpu': minimum: got -1, want 0",
                    "'/linux/metricsAddr': got number, want",
                    "'/linux/additionalProvidersDirs/0': 'a,b' does not match",
                    "'/linux/podLabels/a': got number, want string",
                    "'/linux': additional properties 'kubeletDir' not allowed",
                    "'/podMonitor/renderMode': value must be one of",
                    "'/podMonitor/interval': '1 m' does not match",
                    "'/commonLabels': got array, want",
                    "'/imagePullSecrets/0': got number, want",
                ],
            ),
            (
                {"linux": {"image": None}, "rbac": {"install": None}, "livenessProbe": None},
                [
                    "'/linux': missing property 'image'",
                    "'/rbac': missing property 'install'",
                    "'': missing property 'livenessProbe'",
                ],
            ),
        ],
    )
    def test_wrong_values_are_named_with_what_they_should_be(
        self, values: dict[str, Any], texts: list[str]
    ) -> None:
        error = refused(values)
        missing = [text for text in texts if text not in error]
        assert not missing, error

    @pytest.mark.parametrize(
        "quantity", ["1", "0.5", ".5", "5.", "100m", "64Ki", "1.5Gi", "128e6", "2E", "+1k"]
    )
    def test_every_form_of_a_quantity_is_taken(self, quantity: str) -> None:
        resources = {"requests": {"memory": quantity}, "limits": {"memory": quantity}}
        given = render({"linux": {"driver": {"resources": resources}}}).container["resources"]
        assert (given["requests"]["memory"], given["limits"]["memory"]) == (quantity, quantity)

    def test_null_is_taken_wherever_the_schema_says_so(self) -> None:
        """As in upstream's own values.yaml, where a name without a value stands for none."""
        node = schema()
        values: dict[str, Any] = {}
        for path, _, below in leaves(default_values(), node):
            if "null" in _resolved(below, node).get("type", []):
                _set(values, path, None)
        rendered = render(values)
        assert completed(rendered).variables["SSCSI_METRICS_ADDR"] == "off"
        assert not {"affinity", "tolerations", "priorityClassName"} & set(rendered.pod)


def _resolved(node: Any, root: Any) -> Any:
    return root["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _set(values: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value
