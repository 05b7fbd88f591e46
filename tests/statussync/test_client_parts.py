"""Of the `kubernetes` package a pod's status-sync has what it needs, and nobody else has less of it for that."""

import subprocess
import sys

_PROGRAM = """
import sys
from sidecars.statussync.kube.client_parts import in_cluster_parts
parts = in_cluster_parts()
assert not [name for name in sys.modules if name.partition(".")[0] == "kubernetes"]
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"pydantic", "requests_oauthlib", "websocket", "yaml"}))
configuration = parts.new_configuration()
try:
    parts.load(configuration)
except parts.errors as error:
    print(error)
configuration.host = "https://127.0.0.1:1"
print(parts.new_rest_client(configuration).pool_manager.connection_pool_kw["cert_reqs"].name)
import kubernetes.client
import kubernetes.config
kubernetes.client.CoreV1Api
kubernetes.config.load_kube_config
"""


def test_a_pod_has_configuration_credentials_and_connections_and_the_package_is_whole_for_others() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True, env={}
    )
    assert answer.stdout.splitlines() == ["", "Service host/port is not set.", "CERT_REQUIRED"]
