"""The DaemonSet and the CSIDriver object are what upstream's installations, kubelet and our own programs expect."""

import os
from typing import Any

import pytest
import yaml

import sscsi
from sidecars.watchdog.memory_budgets import DEFAULT_BUDGETS
from sscsi.cli import environment
from sscsi.cli.settings import KUBELET_REGISTRATION_PATH, SETTINGS
from sscsi.core.byte_size import parse_size
from sscsi.node.config import flags_for
from tests.kubeapi.manifests import DEPLOY, RBAC, documents
from tests.support.checkout import ROOT

DAEMON_SET = os.path.join(DEPLOY, "daemonset.yaml")
CSI_DRIVER = os.path.join(DEPLOY, "csidriver.yaml")
# Mount path and host path by volume, as upstream's manifest has them.
HOST_PATHS = {
    "plugin-dir": ("/csi", "/var/lib/kubelet/plugins/csi-secrets-store/", "DirectoryOrCreate"),
    "mountpoint-dir": ("/var/lib/kubelet/pods", "/var/lib/kubelet/pods", "DirectoryOrCreate"),
    "registration-dir": ("/registration", "/var/lib/kubelet/plugins_registry/", "Directory"),
    "providers-dir": (
        "/var/run/secrets-store-csi-providers",
        "/var/run/secrets-store-csi-providers",
        "DirectoryOrCreate",
    ),
    "providers-dir-0": (
        "/etc/kubernetes/secrets-store-csi-providers",
        "/etc/kubernetes/secrets-store-csi-providers",
        "DirectoryOrCreate",
    ),
}
UPSTREAM_FLAGS = {
    "endpoint",
    "nodeid",
    "provider-volume",
    "additional-provider-volume-paths",
    "metrics-addr",
    "enable-secret-rotation",
    "rotation-poll-interval",
    "provider-health-check",
    "provider-health-check-interval",
}


@pytest.fixture(scope="module")
def daemon_set() -> Any:
    (document,) = documents(DAEMON_SET)
    return document


@pytest.fixture(scope="module")
def pod(daemon_set: Any) -> Any:
    return daemon_set["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:
    (only,) = pod["containers"]
    return only


def test_names_labels_and_selector_are_upstreams(daemon_set: Any, container: Any) -> None:
    assert daemon_set["metadata"] == {
        "name": "csi-secrets-store",
        "namespace": "kube-system",
        "labels": {"app": "csi-secrets-store"},
    }
    spec = daemon_set["spec"]
    assert spec["selector"] == {"matchLabels": {"app": "csi-secrets-store"}}
    assert spec["template"]["metadata"] == {
        "labels": {"app": "csi-secrets-store"},
        "annotations": {"kubectl.kubernetes.io/default-container": container["name"]},
    }
    assert container["name"] == "secrets-store"


def test_it_runs_on_every_linux_node_as_the_account_that_has_the_rights(pod: Any) -> None:
    accounts = [found for found in documents(RBAC) if found["kind"] == "ServiceAccount"]
    assert [found["metadata"]["name"] for found in accounts] == [pod["serviceAccountName"]]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["priorityClassName"] == "system-node-critical"
    assert not {"hostNetwork", "hostPID", "initContainers"} & set(pod)


def test_every_argument_is_a_flag_of_ours_and_all_of_upstreams_are_given(container: Any) -> None:
    given = {argument.removeprefix("--").partition("=")[0] for argument in container["args"]}
    assert given == UPSTREAM_FLAGS
    assert given <= {flag.name for flag in flags_for({})}


def test_every_variable_is_a_setting(container: Any) -> None:
    names = [entry["name"] for entry in container["env"]]
    assert set(names) <= {setting.variable for setting in SETTINGS}
    assert len(set(names)) == len(names)


def test_sscsi_run_takes_what_the_container_is_given(container: Any) -> None:
    """As kubelet expands it; with nothing that a program would refuse, and paths that the volumes have."""
    environ = {entry["name"]: entry.get("value", "worker-1") for entry in container["env"]}
    arguments = [
        argument.replace("$(CSI_ENDPOINT)", environ["CSI_ENDPOINT"]).replace("$(KUBE_NODE_NAME)", "worker-1")
        for argument in container["args"]
    ]
    assert not any("$(" in argument for argument in arguments)
    made = environment.complete(arguments, environ, host_name="pod")
    assert made.variables["KUBE_NODE_NAME"] == "worker-1"
    assert made.variables["SSCSI_KUBELET_REGISTRATION_PATH"] == KUBELET_REGISTRATION_PATH
    assert made.registration_directory == HOST_PATHS["registration-dir"][0]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert made.node.run_directory in mounted
    # Records outlive the pod: they are on the host, beside the socket.
    assert os.path.dirname(made.node.state_directory) == HOST_PATHS["plugin-dir"][0]
    assert {*made.node.provider_directories[1:]} <= mounted


def test_volumes_are_upstreams_and_a_run_directory_in_memory(pod: Any, container: Any) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(volumes) == set(mounts) == {*HOST_PATHS, "run-dir"}
    for name, (mount_path, host_path, kind) in HOST_PATHS.items():
        assert mounts[name]["mountPath"] == mount_path
        assert volumes[name]["hostPath"] == {"path": host_path, "type": kind}
    assert volumes["run-dir"]["emptyDir"]["medium"] == "Memory"
    assert [name for name, mount in mounts.items() if "mountPropagation" in mount] == ["mountpoint-dir"]
    assert mounts["mountpoint-dir"]["mountPropagation"] == "Bidirectional"
    # Kubelet's own directory must have one path, inside and outside.
    assert HOST_PATHS["mountpoint-dir"][0] == HOST_PATHS["mountpoint-dir"][1]


def test_the_container_is_privileged_and_cannot_change_its_image(container: Any) -> None:
    assert container["securityContext"] == {
        "privileged": True,
        "readOnlyRootFilesystem": True,
        "runAsUser": 0,
        "runAsGroup": 0,
    }


@pytest.mark.parametrize(
    ("probe", "page"),
    [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")],
)
def test_probes_ask_the_page_that_is_theirs(container: Any, probe: str, page: str) -> None:
    assert container[probe]["httpGet"] == {"path": page, "port": "healthz"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"healthz": 9808, "metrics": 8095}


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe"])
def test_kubelet_waits_for_longer_than_the_driver_may_take(container: Any, probe: str) -> None:
    """Three seconds is --probe-timeout: who hangs up before, piles up checks (docs/health.md)."""
    assert container[probe]["timeoutSeconds"] > 3


def test_the_programs_have_time_to_stop(pod: Any) -> None:
    with open(os.path.join(ROOT, "supervisord.conf"), encoding="utf-8") as file:
        waits = [int(line.partition("=")[2]) for line in file if line.startswith("stopwaitsecs=")]
    assert len(waits) == 6
    # supervisord looks once a second.
    assert pod["terminationGracePeriodSeconds"] >= sum(waits) + len(waits)


def test_memory_is_bounded_and_the_processor_is_not(container: Any) -> None:
    assert container["resources"] == {
        "requests": {"cpu": "50m", "memory": "128Mi"},
        "limits": {"memory": "512Mi"},
    }


def test_a_program_that_leaks_is_ended_before_the_kernel_ends_the_container(container: Any) -> None:
    limit = parse_size(container["resources"]["limits"]["memory"])
    # At rest all of them together have 96 MiB.
    assert all(budget and budget <= limit - 96 * 2**20 for budget in DEFAULT_BUDGETS.values())


def test_the_image_has_the_version_of_this_checkout(container: Any) -> None:
    assert container["image"] == f"localhost/sscsi/sscsi:{sscsi.__version__}"


def test_the_csidriver_object_is_upstreams_and_always_asks_for_republishes() -> None:
    (document,) = documents(CSI_DRIVER)
    assert document["metadata"] == {"name": "secrets-store.csi.k8s.io"}
    assert document["spec"] == {
        "podInfoOnMount": True,
        "attachRequired": False,
        "volumeLifecycleModes": ["Ephemeral"],
        "requiresRepublish": True,
    }


def test_of_csidrivers_the_driver_may_read_its_own() -> None:
    (driver,) = documents(CSI_DRIVER)
    rules = [rule for found in documents(RBAC) if found["kind"] == "ClusterRole" for rule in found["rules"]]
    (rule,) = (rule for rule in rules if "csidrivers" in rule["resources"])
    assert (rule["verbs"], rule["resourceNames"]) == (["get"], [driver["metadata"]["name"]])


def test_the_base_has_all_but_the_right_to_make_secrets() -> None:
    with open(os.path.join(DEPLOY, "Kustomization"), encoding="utf-8") as file:
        resources = yaml.safe_load(file)["resources"]
    kinds = [found["kind"] for name in resources for found in documents(os.path.join(DEPLOY, name))]
    assert {"DaemonSet", "CSIDriver", "ServiceAccount", "ClusterRole"} <= set(kinds)
    assert kinds.count("CustomResourceDefinition") == len(os.listdir(os.path.join(DEPLOY, "crds")))
    assert "rbac-secretprovidersyncing.yaml" not in resources
