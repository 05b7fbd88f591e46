"""Upstream's installation by plain manifests, v1.6.0: the same objects with the same names, selectors, rules and three containers.

Written from what is known of them (upstream-driver reference, 9). The driver is upstream's own; for its two sidecars, upstream_sidecars.py
stands in, in the appliance's image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.e2e.build_image import NAME as APPLIANCE_IMAGE
from tests.e2e.driver import CONTAINER, DAEMON_SET, NAMESPACE, PYTHON
from tests.kubeapi.manifests import CRDS, documents
from tests.kubeapi.upstream_crds import upstream_shape
from tests.support.appliance_place import DRIVER

IMAGE = "localhost/sscsi/upstream-driver:v1.6.0"
SIDECARS = "upstream-sidecars"
ACCOUNT = "secrets-store-csi-driver"
_GROUP = "secrets-store.csi.x-k8s.io"
_PLUGIN = "/var/lib/kubelet/plugins/csi-secrets-store"
_ALL = ("create", "delete", "get", "list", "patch", "update", "watch")
_READ = ("get", "list", "watch")
_ARGUMENTS = (
    "--endpoint=$(CSI_ENDPOINT)",
    "--nodeid=$(KUBE_NODE_NAME)",
    "--provider-volume=/var/run/secrets-store-csi-providers",
    "--additional-provider-volume-paths=/etc/kubernetes/secrets-store-csi-providers",
    "--metrics-addr=:8095",
    "--provider-health-check=false",
    "--provider-health-check-interval=2m",
)


def manifests(*arguments: str, program: str) -> list[Any]:
    """Every object; `arguments` are more of the driver's, `program` is the text of upstream_sidecars.py."""
    return [
        *(upstream_shape(crd) for crd in documents(CRDS)),
        *_rights(),
        _csi_driver(),
        *daemon_set(*arguments, program=program),
    ]


def daemon_set(*arguments: str, program: str, name: str = DAEMON_SET, app: str = DAEMON_SET) -> list[Any]:
    """The DaemonSet, whose pods have the label `app`, and the ConfigMap that it needs."""
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": SIDECARS, "namespace": NAMESPACE},
        "data": {"sidecars.py": program},
    }
    return [config_map, _daemon_set((*_ARGUMENTS, *arguments), name=name, labels={"app": app})]


def _csi_driver() -> object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": DRIVER},
        "spec": {
            "podInfoOnMount": True,
            "attachRequired": False,
            "volumeLifecycleModes": ["Ephemeral"],
            "requiresRepublish": True,
        },
    }


def _rights() -> list[object]:
    roles: dict[str, list[object]] = {
        "secretproviderclasses": [
            _rule("", "events", ("create", "patch")),
            _rule("", "pods", _READ),
            _rule(_GROUP, "secretproviderclasses", _READ),
            _rule(_GROUP, "secretproviderclasspodstatuses", _ALL),
            _rule(_GROUP, "secretproviderclasspodstatuses/status", ("get", "patch", "update")),
            _rule("storage.k8s.io", "csidrivers", _READ) | {"resourceNames": [DRIVER]},
        ],
        "secretprovidersyncing": [_rule("", "secrets", _ALL)],
    }
    account = {"name": ACCOUNT, "namespace": NAMESPACE}
    objects: list[object] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}]
    for name, rules in roles.items():
        objects += [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": f"{name}-role"},
                "rules": rules,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"{name}-rolebinding"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": f"{name}-role",
                },
                "subjects": [{"kind": "ServiceAccount", **account}],
            },
        ]
    return objects


def _rule(group: str, resource: str, verbs: Sequence[str]) -> dict[str, list[str]]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


def _daemon_set(arguments: Sequence[str], *, name: str, labels: Mapping[str, str]) -> object:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"kubectl.kubernetes.io/default-container": CONTAINER},
                },
                "spec": {
                    "serviceAccountName": ACCOUNT,
                    "tolerations": [{"operator": "Exists"}],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "containers": [_registrar(), _driver(arguments), _liveness_probe()],
                    "volumes": [
                        _host("mountpoint-dir", "/var/lib/kubelet/pods"),
                        _host("registration-dir", "/var/lib/kubelet/plugins_registry/", kind="Directory"),
                        _host("plugin-dir", f"{_PLUGIN}/"),
                        _host("providers-dir", "/etc/kubernetes/secrets-store-csi-providers"),
                        _host("providers-dir-0", "/var/run/secrets-store-csi-providers"),
                        {"name": "sidecars", "configMap": {"name": SIDECARS}},
                    ],
                },
            },
        },
    }


def _driver(arguments: Sequence[str]) -> Mapping[str, object]:
    return {
        "name": CONTAINER,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": list(arguments),
        "env": [
            {"name": "CSI_ENDPOINT", "value": "unix:///csi/csi.sock"},
            {"name": "KUBE_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "securityContext": {"privileged": True},
        "ports": [
            {"name": "healthz", "containerPort": 9808, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 8095, "protocol": "TCP"},
        ],
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "healthz"},
            "failureThreshold": 5,
            "initialDelaySeconds": 30,
            "timeoutSeconds": 10,
            "periodSeconds": 15,
        },
        "resources": _resources(requests=("50m", "100Mi"), limits=("200m", "200Mi")),
        "volumeMounts": [
            {"name": "plugin-dir", "mountPath": "/csi"},
            {
                "name": "mountpoint-dir",
                "mountPath": "/var/lib/kubelet/pods",
                "mountPropagation": "Bidirectional",
            },
            {"name": "providers-dir", "mountPath": "/etc/kubernetes/secrets-store-csi-providers"},
            {"name": "providers-dir-0", "mountPath": "/var/run/secrets-store-csi-providers"},
        ],
    }


def _registrar() -> object:
    arguments = (
        "registrar",
        "--v=5",
        "--csi-address=/csi/csi.sock",
        f"--kubelet-registration-path={_PLUGIN}/csi.sock",
    )
    return _sidecar(
        "node-driver-registrar", arguments, {"name": "registration-dir", "mountPath": "/registration"}
    )


def _liveness_probe() -> object:
    arguments = (
        "livenessprobe",
        "--csi-address=/csi/csi.sock",
        "--probe-timeout=3s",
        "--http-endpoint=0.0.0.0:9808",
        "-v=2",
    )
    return _sidecar("liveness-probe", arguments)


def _sidecar(name: str, arguments: Sequence[str], *mounts: object) -> object:
    return {
        "name": name,
        "image": APPLIANCE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": [PYTHON, "/sidecars/sidecars.py"],
        "args": list(arguments),
        "resources": _resources(requests=("10m", "20Mi"), limits=("100m", "100Mi")),
        "volumeMounts": [
            {"name": "plugin-dir", "mountPath": "/csi"},
            {"name": "sidecars", "mountPath": "/sidecars"},
            *mounts,
        ],
    }


def _resources(*, requests: tuple[str, str], limits: tuple[str, str]) -> object:
    return {
        "requests": dict(zip(("cpu", "memory"), requests, strict=True)),
        "limits": dict(zip(("cpu", "memory"), limits, strict=True)),
    }


def _host(name: str, path: str, *, kind: str = "DirectoryOrCreate") -> object:
    return {"name": name, "hostPath": {"path": path, "type": kind}}
