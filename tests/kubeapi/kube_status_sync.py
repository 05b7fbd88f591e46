"""The real program on the test run's API server, with the rights of its service account, beside a fake node room."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sidecars.statussync.reconcile import status_key
from sscsi.core.published_volume import PublishedVolume
from sscsi.ports import ObjectKey
from tests.kubeapi.adapter import USER, Owner, make_pod, put_class, read
from tests.kubeapi.audit import Request
from tests.kubeapi.kube_api import SERVICE_ACCOUNT, KubeApi
from tests.statussync.status_sync_process import MODULE, StatusSync
from tests.support.preloaded import Preloaded, preloaded
from tests.support.waiting import wait_until

SPEC = {"provider": "file", "parameters": {"objects": "any"}}
STATUS = "secretproviderclasspodstatuses"
_DONE = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})
READS = frozenset({"get", "list", "watch"})
_SETTLE_SECONDS = 60.0


class KubeStatusSync(StatusSync):
    """One node's status-sync; volumes are of pods in `namespace`, unless a test says otherwise."""

    def __init__(self, root: Path, programs: Preloaded, kube_api: KubeApi, namespace: str) -> None:
        super().__init__(root, programs)
        self.kube_api = kube_api
        self.namespace = namespace
        # Its status objects are nobody else's, whatever other tests leave.
        self.node_name = f"node-of-{namespace}"
        self.kubeconfig = Path(kube_api.kubeconfig_for(SERVICE_ACCOUNT))

    def start(self, *arguments: str) -> None:
        super().start(
            "--cluster=kubernetes",
            f"--kubeconfig={self.kubeconfig}",
            f"--nodeid={self.node_name}",
            *arguments,
        )

    def publish(self, content: bytes = b"s3cret", **changes: Any) -> PublishedVolume:
        return super().publish(content, **{"pod_namespace": self.namespace, **changes})

    def publish_pod(
        self, name: str = "web", *, owners: tuple[Owner, ...] = (), **changes: Any
    ) -> PublishedVolume:
        """A volume of a pod that is made in the API."""
        uid = make_pod(self.kube_api, self.namespace, name, owners=owners, node=self.node_name)
        return self.publish(pod_name=name, pod_uid=uid, **changes)

    def hear(self) -> None:
        """Return when it knows what the node room has: what comes sooner is done, but may take a write more."""
        wait_until(
            lambda: self.status().facts["snapshot_seen"] == "true", "the node room has told what it has"
        )

    def settle(self, volumes: int) -> None:
        """Return when so many volumes are known, and nothing is left to do for them."""

        def is_settled() -> bool:
            facts = self.status().facts
            return facts["volumes"] == str(volumes) and facts["queue_depth"] == "0"

        # A volume is known a moment before its object is queued.
        wait_until(
            lambda: all(is_settled() for _ in range(3)),
            f"{volumes} volumes are dealt with",
            seconds=_SETTLE_SECONDS,
        )

    def requests(self, since: float = 0.0) -> Sequence[Request]:
        """What the service account asked for in the namespace."""
        return [
            request
            for request in self.kube_api.requests(since, user=USER)
            if request.namespace == self.namespace
        ]

    def writes(self, since: float = 0.0) -> list[str]:
        """Its writes to the namespace, as `create secrets`."""
        return [
            f"{request.verb} {request.resource}"
            for request in self.requests(since)
            if request.verb not in READS
        ]

    def successes(self, verb: str, resource: str) -> int:
        """How many such requests did something; one whose answer nobody lived to see may have been made anew in vain."""
        return sum(
            (request.verb, request.resource) == (verb, resource) and request.code in _DONE
            for request in self.requests()
        )

    def status_of(self, volume: PublishedVolume) -> dict[str, Any] | None:
        """The volume's status object."""
        return read(self.kube_api, status_key(volume))

    def secret(self, name: str) -> dict[str, Any] | None:
        return read(self.kube_api, ObjectKey("Secret", self.namespace, name))

    def is_right(self, volume: PublishedVolume) -> bool:
        """Whether the volume's status object names this very volume, and this node."""
        found = self.status_of(volume)
        return found is not None and found["status"]["targetPath"] == volume.target_path


@contextmanager
def unstarted(
    root: Path, programs: Preloaded, kube_api: KubeApi, namespace: str, spec: dict[str, Any]
) -> Iterator[KubeStatusSync]:
    """Status-sync, not started yet, beside a node room that is; the namespace has the class `app` of that `spec`."""
    put_class(kube_api, namespace, "app", spec)
    room = KubeStatusSync(root, programs, kube_api, namespace)
    room.node.start()
    yield room
    room.close()


@contextmanager
def programs() -> Iterator[Preloaded]:
    """What starts it, with the parts that it imports late, too."""
    with preloaded(MODULE, "sidecars.statussync.kube.cluster") as holder:
        yield holder
