"""The appliance on a real API server, as the tests have it, with the rights that deploy/ grants."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from tests.bench.errors import BenchError
from tests.bench.private_root import hidden
from tests.bench.processes import pause
from tests.bench.volumes import NAMESPACE, PROVIDER, Content, Volume
from tests.bench.whole import WholeAppliance, whole_appliance
from tests.kubeapi.audit import Request
from tests.kubeapi.kube_api import GROUP, SERVICE_ACCOUNT, KubeApi, running_kube_api, user_name

# Where kubelet puts a pod's own.
_CREDENTIALS = "/var/run/secrets/kubernetes.io/serviceaccount"
_STATUS_OBJECTS = f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/secretproviderclasspodstatuses"
_CLASSES = f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/secretproviderclasses"
_LONGEST_SECONDS = 180.0
_POLL_SECONDS = 0.2


class BenchApi:
    """An API server with the classes of the benchmark."""

    def __init__(self, kube_api: KubeApi) -> None:
        self.kube_api = kube_api

    def ca_certificate(self) -> str:
        with open(self.kube_api.ca_file, encoding="ascii") as file:
            return file.read()

    def kubeconfig(self) -> str:
        """A kubeconfig file of the driver's service account."""
        return self.kube_api.kubeconfig_for(SERVICE_ACCOUNT)

    def requests(self, since: float) -> list[Request]:
        """What status-sync has asked from `since` (time.time()) on."""
        return self.kube_api.requests(since, user=user_name(SERVICE_ACCOUNT))

    def wait_for(self, volumes: Sequence[Volume]) -> None:
        """Return when there are status objects of these volumes, and no others. Raises BenchError."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while not self.has(volumes):
            if time.monotonic() > deadline:
                raise BenchError(f"the status objects are not right within {_LONGEST_SECONDS:.0f} s")
            pause(_POLL_SECONDS)

    def has(self, volumes: Sequence[Volume]) -> bool:
        """Whether there are status objects of these volumes, and no others."""
        found = {item["status"]["targetPath"] for item in self.kube_api.client().list(_STATUS_OBJECTS)}
        return found == {volume.target_path for volume in volumes}


@contextlib.contextmanager
def bench_api(binaries: str, contents: Sequence[Content]) -> Iterator[BenchApi]:
    """An API server of its own; `binaries` is where its program is."""
    with running_kube_api(binaries) as kube_api:
        client = kube_api.client()
        client.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        for content in contents:
            client.create(
                _CLASSES,
                {
                    "apiVersion": f"{GROUP}/v1",
                    "kind": "SecretProviderClass",
                    "metadata": {
                        "name": content.class_name,
                        "annotations": dict(content.annotations),
                    },
                    "spec": {"provider": PROVIDER, "parameters": content.parameters},
                },
            )
        yield BenchApi(kube_api)


@contextlib.contextmanager
def api_appliance(form: str, root: str, provider_directory: str, api: BenchApi) -> Iterator[WholeAppliance]:
    """An appliance without the file provider that gets its classes from the API, when it answers kubelet.

    It has a pod's credentials: with a kubeconfig file it would take more memory than in a cluster.
    """
    changes = {"SSCSI_CLUSTER": "kubernetes", "SSCSI_FILE_PROVIDER_ROOT": "", **_in_cluster(api.kube_api)}
    with hidden(os.path.realpath("/var/run")):
        os.makedirs(_CREDENTIALS)
        for name, text in (("token", api.kube_api.token(SERVICE_ACCOUNT)), ("ca.crt", api.ca_certificate())):
            with open(os.path.join(_CREDENTIALS, name), "w", encoding="ascii") as file:
                file.write(text)
        with whole_appliance(
            form, root, provider_directory, (), delay_seconds=0, changes=changes
        ) as appliance:
            appliance.when("csi.sock answers", appliance.kubelet.answers)
            yield appliance


def _in_cluster(kube_api: KubeApi) -> dict[str, str]:
    """The variables that kubelet gives a pod."""
    server = urlsplit(kube_api.url)
    return {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port)}
