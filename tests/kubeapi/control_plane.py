"""etcd and kube-apiserver as children of the tests: real storage, admission, authorization and audit, and no controller.

The API server makes its serving certificate itself, and signs the tokens of service accounts with the same key, so that
nothing else has to make keys. etcd listens on Unix sockets in the directory, which need no free port.
"""

import json
import os
import random
import secrets
import socket

import urllib3

from tests.kubeapi.child import Child
from tests.support.waiting import wait_until

START_SECONDS = 60.0
_MORE_STARTS = 2
_ETCD_CLIENTS = "unix://clients:1"
_ETCD_PEERS = "unix://peers:1"
# The server tells of a request before it looks at it, so what has an answer is in the log for certain; what came of it
# is told later. Its own loops are none of the tests' business.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [{"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"}],
}


class ControlPlane:
    """Everything is in `directory`; `binaries` is where etcd and kube-apiserver are."""

    def __init__(self, directory: str, *, binaries: str) -> None:
        self._directory = directory
        self._port = _free_port()
        self.url = f"https://127.0.0.1:{self._port}"
        self.ca_file = self.path("certificates", "apiserver.crt")
        self.audit_log = self.path("audit.log")
        self.admin_token = secrets.token_hex(16)
        with open(self.path("tokens.csv"), "x", encoding="ascii") as file:
            file.write(f"{self.admin_token},admin,admin,system:masters\n")
        with open(self.path("audit-policy.yaml"), "x", encoding="ascii") as file:
            json.dump(_AUDIT_POLICY, file)
        self._etcd = Child(
            [
                os.path.join(binaries, "etcd"),
                "--data-dir=etcd",
                "--unsafe-no-fsync",
                f"--listen-client-urls={_ETCD_CLIENTS}",
                f"--advertise-client-urls={_ETCD_CLIENTS}",
                f"--listen-peer-urls={_ETCD_PEERS}",
                f"--initial-advertise-peer-urls={_ETCD_PEERS}",
                f"--initial-cluster=default={_ETCD_PEERS}",
                "--log-level=warn",
            ],
            directory=directory,
        )
        key = self.path("certificates", "apiserver.key")
        self._api_server = Child(
            [
                os.path.join(binaries, "kube-apiserver"),
                f"--etcd-servers={_ETCD_CLIENTS}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={self._port}",
                # No cluster reaches it by a Service, which could not have a loopback address.
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.96.0.0/24",
                "--cert-dir=certificates",
                "--authorization-mode=RBAC",
                # The driver's container is.
                "--allow-privileged=true",
                "--token-auth-file=tokens.csv",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
                # It waits for a controller to make the namespace's default account.
                "--disable-admission-plugins=ServiceAccount",
                "--audit-policy-file=audit-policy.yaml",
                f"--audit-log-path={self.audit_log}",
                # In megabytes: a log that is put aside would be missed.
                "--audit-log-maxsize=10000",
                "--profiling=false",
            ],
            directory=directory,
        )

    def path(self, *names: str) -> str:
        return os.path.join(self._directory, *names)

    def start(self) -> None:
        """Start etcd and the API server."""
        self._etcd.start()
        self.start_api_server()

    def start_api_server(self) -> None:
        """Return when it serves everything that it has. After a kill it may end by itself at first, and is started anew."""
        for _ in range(_MORE_STARTS):
            self._api_server.start()
            try:
                wait_until(self._is_ready, "the API server is ready", seconds=START_SECONDS)
            except AssertionError:
                self._api_server.kill()
            else:
                return
        self._api_server.start()
        wait_until(self._is_ready, "the API server is ready", seconds=START_SECONDS)

    def stop_api_server(self) -> None:
        """Connections to it are refused; what it was asked for last may have been done or not."""
        self._api_server.kill()

    def pause_api_server(self) -> None:
        """Connections to it are accepted, and nothing comes."""
        self._api_server.pause()

    def resume_api_server(self) -> None:
        self._api_server.resume()

    def kill(self) -> None:
        """The end: nothing of it is needed any more."""
        self._api_server.kill()
        self._etcd.kill()

    def _is_ready(self) -> bool:
        self._etcd.check()
        self._api_server.check()
        if not os.path.exists(self.ca_file):
            return False
        with urllib3.PoolManager(ca_certs=self.ca_file, retries=False, timeout=5.0) as pool:
            try:
                answer = pool.request(
                    "GET", f"{self.url}/readyz", headers={"authorization": f"Bearer {self.admin_token}"}
                )
            except urllib3.exceptions.HTTPError:
                return False
            return answer.status == 200


def _free_port() -> int:
    """A port below those that the kernel gives to clients: one that calls again and again while the server is away
    could otherwise be given the server's own port, and keep it.
    """
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port of a hundred is free")
