"""Kubeconfig files for servers that the tests play."""

import json
from typing import Any

from sidecars.statussync.kube.api import KubeApi
from sidecars.statussync.kube.connection import loader
from sidecars.statussync.kube.rate_limit import RateLimit
from sidecars.statussync.metrics import SyncMetrics

TOKEN = "the-token-of-the-tests"


def kubeconfig(cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


def write(path: str, document: object) -> str:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    return path


def api(
    path: str, *, per_second: float = 1000.0, burst: int = 100, metrics: SyncMetrics | None = None
) -> KubeApi:
    """The API by that kubeconfig."""
    return KubeApi(loader(path), RateLimit(per_second=per_second, burst=burst), metrics)
