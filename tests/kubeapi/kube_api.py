"""A real API server with the CRDs and the RBAC of deploy/, and what tests do with it."""

import contextlib
import functools
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator

import urllib3

from tests.kubeapi import manifests
from tests.kubeapi.audit import Request, read_requests
from tests.kubeapi.control_plane import ControlPlane
from tests.kubeapi.rest import Object, Rest, RestError
from tests.support.waiting import wait_until

SERVICE_ACCOUNT = "secrets-store-csi-driver"
DRIVER_NAMESPACE = "kube-system"
GROUP = "secrets-store.csi.x-k8s.io"
# What is removed from a test's namespace when the test is over.
_COLLECTIONS = (
    f"apis/{GROUP}/v1/namespaces/{{}}/secretproviderclasses",
    f"apis/{GROUP}/v1/namespaces/{{}}/secretproviderclasspodstatuses",
    "api/v1/namespaces/{}/secrets",
    "api/v1/namespaces/{}/pods",
    "api/v1/namespaces/{}/events",
)
_numbers = itertools.count(1)


class KubeApi:
    """The API server of the test run. There is no controller: nothing is garbage-collected, no pod starts."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self.url = control_plane.url
        self.ca_file = control_plane.ca_file
        self._pool = urllib3.PoolManager(
            ca_certs=control_plane.ca_file, retries=False, timeout=180.0, maxsize=8
        )
        self.admin_kubeconfig = self._write_kubeconfig(control_plane.admin_token)

    def client(self, token: str = "") -> Rest:
        """Requests as who has `token`; as the admin without one."""
        return Rest(self._pool, self.url, token or self._control_plane.admin_token)

    def token(self, service_account: str, namespace: str = DRIVER_NAMESPACE) -> str:
        """A new token of the service account, good for an hour."""
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        token: str = self.client().create(path, asked)["status"]["token"]
        return token

    def kubeconfig_for(self, service_account: str, namespace: str = DRIVER_NAMESPACE) -> str:
        """A kubeconfig file with a new token of the service account."""
        return self._write_kubeconfig(self.token(service_account, namespace))

    def may(self, token: str, verb: str, resource: str, group: str = "", name: str = "") -> bool:
        """Whether who has `token` may do that everywhere, with every object or that of `name`. A changed role counts a
        moment later.
        """
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {"verb": verb, "resource": resource, "group": group, "name": name}
            },
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self.client(token).create(path, asked)["status"]["allowed"])

    def apply(self, path: str) -> None:
        """Make what a manifest, or a directory of them, says; CRDs are served when this returns."""
        for document in manifests.documents(path):
            manifests.apply(self.client(), document)

    @contextlib.contextmanager
    def applied(self, path: str) -> Iterator[None]:
        """What the manifests say is there in here, and not any more afterwards."""
        self.apply(path)
        try:
            yield
        finally:
            for document in manifests.documents(path):
                self.client().delete(manifests.path_of(self.client(), document))

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """The name of a new namespace. It stays, for want of a controller; what the driver deals with is removed."""
        name = f"test-{next(_numbers)}"
        self.client().create("/api/v1/namespaces", {"metadata": {"name": name}})
        try:
            yield name
        finally:
            for collection in _COLLECTIONS:
                # No kubelet ends the pods.
                self.client().delete(f"/{collection.format(name)}", {"gracePeriodSeconds": 0})

    def requests(self, since: float = 0.0, *, user: str | None = None) -> list[Request]:
        """What the API server was asked from `since` (time.time()) on, by all or by one user; see `user_name`."""
        return [
            request
            for request in read_requests(self._control_plane.audit_log)
            if request.at >= since and user in {None, request.user}
        ]

    def stop(self) -> None:
        """Kill the API server; etcd stays."""
        self._control_plane.stop_api_server()

    def start(self) -> None:
        """Start it again, at the same port, with the same certificate, tokens and objects."""
        self._control_plane.start_api_server()
        for document in manifests.documents(manifests.CRDS):
            wait_until(
                functools.partial(manifests.is_served, self.client(), document), "it serves our kinds again"
            )

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """There is no API server in here; there is one afterwards, whatever happens."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def pause(self) -> None:
        """Let the API server stand still: it takes connections and does not answer."""
        self._control_plane.pause_api_server()

    def resume(self) -> None:
        self._control_plane.resume_api_server()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The API server stands still in here, and not afterwards, whatever happens."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def install(self) -> None:
        """Apply what every cluster with the driver has; return when the driver may use it."""
        wait_until(self._has_driver_namespace, f"the API server has made {DRIVER_NAMESPACE}")
        for path in (manifests.CRDS, manifests.RBAC, manifests.RBAC_VIEWERS):
            self.apply(path)
        token = self.token(SERVICE_ACCOUNT)
        wait_until(lambda: self.may(token, "get", "pods"), "the driver has its rights")

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def _has_driver_namespace(self) -> bool:
        try:
            self.client().get(f"/api/v1/namespaces/{DRIVER_NAMESPACE}")
        except RestError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _write_kubeconfig(self, token: str) -> str:
        path = self._control_plane.path(f"kubeconfig-{next(_numbers)}")
        cluster = {"server": self.url, "certificate-authority": self.ca_file}
        document: Object = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        with open(
            path, "x", encoding="ascii", opener=lambda file, flags: os.open(file, flags, 0o600)
        ) as file:
            # JSON is YAML.
            json.dump(document, file)
        return path


def user_name(service_account: str, namespace: str = DRIVER_NAMESPACE) -> str:
    """What a service account is called as a user."""
    return f"system:serviceaccount:{namespace}:{service_account}"


@contextlib.contextmanager
def running_kube_api(binaries: str, *, installed: bool = True) -> Iterator[KubeApi]:
    """An API server of its own in a directory of its own; nothing of it is left afterwards.

    Unless `installed`, it has nothing of ours yet.
    """
    directory = tempfile.mkdtemp(prefix="sscsi-kube-", dir="/tmp")
    control_plane = ControlPlane(directory, binaries=binaries)
    try:
        control_plane.start()
        kube_api = KubeApi(control_plane)
        try:
            if installed:
                kube_api.install()
            yield kube_api
        finally:
            kube_api.close()
    finally:
        control_plane.kill()
        shutil.rmtree(directory)
