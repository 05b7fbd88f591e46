"""What status-sync takes of memory does not grow with the cluster: with 10,000 classes and 10,000 Secrets of other nodes.

Making so many objects takes most of a minute; SSCSI_FULL_SWEEP=1 (CI) has them all, and a tenth does otherwise.
"""

import os
import re
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import pytest

from sscsi.core.secret_data import CLASS_ANNOTATION, MANAGED_LABEL
from tests.kubeapi.adapter import put_class
from tests.kubeapi.kube_api import GROUP, KubeApi
from tests.kubeapi.kube_status_sync import SPEC, STATUS, KubeStatusSync, programs
from tests.support.waiting import wait_until

OBJECTS = 10_000 if os.environ.get("SSCSI_FULL_SWEEP") == "1" else 1_000
VOLUMES = 100
THREADS = 8
MIB = 1 << 20


def memory(room: KubeStatusSync) -> float:
    """MiB of its own: what it shares with others, files of libraries for one, is theirs to change from run to run."""
    assert room.process is not None
    rollup = Path(f"/proc/{room.process.pid}/smaps_rollup").read_text()
    found = re.search(r"^Anonymous: +(\d+) kB$", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / MIB


@contextmanager
def a_large_cluster(kube_api: KubeApi) -> Iterator[None]:
    """Classes and Secrets that other nodes made, in a namespace of their own, a kilobyte each."""
    client = kube_api.client()
    with kube_api.namespace() as elsewhere:
        classes = f"/apis/{GROUP}/v1/namespaces/{elsewhere}/secretproviderclasses"
        secrets = f"/api/v1/namespaces/{elsewhere}/secrets"

        def make(number: int) -> None:
            name = f"object-{number}"
            client.create(
                classes,
                {
                    "apiVersion": f"{GROUP}/v1",
                    "kind": "SecretProviderClass",
                    "metadata": {"name": name},
                    "spec": {"provider": "other", "parameters": {"objects": "x" * 1000}},
                },
            )
            client.create(
                secrets,
                {
                    "metadata": {
                        "name": name,
                        "labels": {MANAGED_LABEL: "true"},
                        "annotations": {CLASS_ANNOTATION: name},
                    },
                    "type": "Opaque",
                    "stringData": {"k": "x" * 1000},
                },
            )

        with futures.ThreadPoolExecutor(THREADS) as makers:
            for _ in makers.map(make, range(OBJECTS)):
                pass
        yield


def settled_memory(kube_api: KubeApi, namespace: str, root: Path) -> float:
    """Of a status-sync with volumes, when it has written what it has to."""
    root.mkdir()
    with programs() as started_by:
        room = KubeStatusSync(root, started_by, kube_api, namespace)
        try:
            for number in range(VOLUMES):
                room.node.put(room.publish(pod_name=f"pod-{number}", pod_uid=f"uid-{number}"))
            room.node.start()
            room.start("--kube-api-qps=1000")
            room.settle(VOLUMES)
            wait_until(
                lambda: any(request.verb == "watch" and request.name == "app" for request in room.requests()),
                "its class is watched",
            )
            assert set(room.writes()) == {f"create {STATUS}"}
            return memory(room)
        finally:
            room.close()


def test_memory_does_not_grow_with_the_cluster(kube_api: KubeApi, namespace: str, tmp_path: Path) -> None:
    put_class(kube_api, namespace, "app", SPEC)
    alone = settled_memory(kube_api, namespace, tmp_path / "alone")
    with a_large_cluster(kube_api), kube_api.namespace() as other:
        put_class(kube_api, other, "app", SPEC)
        among_many = settled_memory(kube_api, other, tmp_path / "many")
    print(f"status-sync with {VOLUMES} volumes: {alone:.1f} MiB alone, {among_many:.1f} MiB among {OBJECTS}")
    assert among_many == pytest.approx(alone, abs=2.0)
