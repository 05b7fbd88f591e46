"""An hour in which nothing happens, for a node with a hundred volumes: what the API server is asked.

The room's parts are the real ones, work queue included, on a clock that the test sets forward, as are classes and
Secrets of the adapter; the API server's audit log counts. The node room tells all its volumes every five minutes of that
clock. How long a watch lasts is for the API server's clock, which no test sets: the log says for how long each watch was
asked for, and how many an hour has follows from that.
"""

import collections
import math
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from sidecars.statussync.config import parse
from sscsi.core.published_volume import PublishedVolume
from sscsi.edges.volume_reader import VolumeReader
from sscsi.edges.volumes_grpc import WATCH_SECONDS
from tests.kubeapi.adapter import USER, adapter, make_pod, put_class, replica_set
from tests.kubeapi.audit import Request
from tests.kubeapi.kube_api import KubeApi
from tests.kubeapi.kube_status_sync import READS
from tests.statussync.making import VERSION, make_volume
from tests.statussync.wired_room import Time, WiredRoom
from tests.support.waiting import wait_until

HOUR = 3600.0
CLASSES = 10
PODS = 10
POLL_SECONDS = 10.0


def published(
    kube_api: KubeApi, namespace: str, directory: Path, class_number: int, number: int
) -> PublishedVolume:
    """A volume on disk, of a pod of a Deployment."""
    pod = f"pod-{class_number}-{number}"
    owner = replica_set(f"of-class-{class_number}", uid=f"00000000-0000-0000-0000-{class_number:012}")
    uid = make_pod(kube_api, namespace, pod, owners=(owner,))
    target = directory / "pods" / uid / "volumes/kubernetes.io~csi/secrets/mount"
    (target / VERSION).mkdir(parents=True)
    (target / VERSION / "password").write_bytes(b"s3cret")
    (target / "..data").symlink_to(VERSION)
    return make_volume(
        pod_name=pod,
        pod_namespace=namespace,
        pod_uid=uid,
        class_name=f"class-{class_number}",
        target_path=str(target),
    )


def longest_watches(requests: Sequence[Request]) -> dict[str, float]:
    """For how long each watched thing is watched without a request, at least."""
    return {
        request.uri.partition("?")[0]
        + str(parse_qs(urlsplit(request.uri).query).get("fieldSelector")): float(
            parse_qs(urlsplit(request.uri).query)["timeoutSeconds"][0]
        )
        for request in requests
        if request.verb == "watch"
    }


@pytest.mark.usefixtures("syncing")
def test_an_idle_hour_of_100_volumes_has_no_write_and_few_requests(
    kube_api: KubeApi, namespace: str, tmp_path: Path
) -> None:
    for number in range(CLASSES):
        entry = {
            "secretName": f"secret-{number}",
            "type": "Opaque",
            "data": [{"objectName": "password", "key": "k"}],
        }
        spec = {"provider": "one", "parameters": {"a": "b"}, "secretObjects": [entry]}
        put_class(kube_api, namespace, f"class-{number}", spec)
    volumes = [
        published(kube_api, namespace, tmp_path, class_number, number)
        for class_number in range(CLASSES)
        for number in range(PODS)
    ]
    watch_seconds = parse(["--nodeid=node-1"], {}).watch_seconds
    clock, began = Time(), time.time()
    with adapter(kube_api, watch_seconds=watch_seconds, clock=clock) as cluster:
        room = WiredRoom(cluster, VolumeReader(), time=clock)
        room.snapshot(*volumes)
        room.wait(HOUR)
        room.poll()

        def watches() -> int:
            return len(longest_watches(kube_api.requests(began, user=USER)))

        wait_until(
            lambda: watches() == CLASSES + 2, "each class, the status objects and the node's pods are watched"
        )
        room.poll()
        assert room.problems.count == 0
        at_start = kube_api.requests(began, user=USER)

        begun = time.time()
        for _ in range(round(HOUR / WATCH_SECONDS)):
            for _ in range(round(WATCH_SECONDS / POLL_SECONDS)):
                room.wait(POLL_SECONDS)
                room.poll()
            room.snapshot(*volumes)
        idle = kube_api.requests(begun, user=USER)

        changed = make_volume(
            pod_name=volumes[0].pod_name,
            pod_namespace=namespace,
            pod_uid=volumes[0].pod_uid,
            class_name=volumes[0].class_name,
            target_path=volumes[0].target_path,
            object_versions=(("password", "v2"),),
        )
        room.put(changed)
        room.snapshot(changed, *volumes[1:])
        written = [
            request.verb for request in kube_api.requests(begun, user=USER) if request.verb not in READS
        ]
    looks = collections.Counter(f"{request.verb} {request.resource}" for request in idle)
    watched = longest_watches(at_start)
    # A watch that was asked for at the hour's start, and those that follow it.
    again = sum(math.ceil(HOUR / seconds) for seconds in watched.values())
    print(
        f"at the start {len(at_start)} requests; in an idle hour {looks.total()} looks at Secrets and, of "
        f"{len(watched)} watches, {again} requests: {looks.total() + again}, a request in "
        f"{HOUR / (looks.total() + again):.0f} s; writes: 0"
    )
    assert looks == {"get secrets": CLASSES * round(HOUR / WATCH_SECONDS)}
    assert all(watch_seconds <= seconds <= 2 * watch_seconds for seconds in watched.values())
    assert again <= len(watched) * HOUR / watch_seconds
    assert written == ["patch"]
