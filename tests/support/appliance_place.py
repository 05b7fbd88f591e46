"""`sscsi run` as the container starts it, in a directory of its own: the real command, programs and signals."""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

import psutil

from sscsi.cli.appliance import is_served
from sscsi.cli.kubelet import Kubelet, PodVolume
from sscsi.core import mount_info
from tests.support.waiting import wait_until

SSCSI = os.path.join(os.path.dirname(sys.executable), "sscsi")
DRIVER = "secrets-store.csi.k8s.io"
START_SECONDS = 60.0
STOP_SECONDS = 60.0
_MNT_DETACH = 2
_CLASS = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {{name: {name}, namespace: default}}
spec:
  provider: {provider}
  parameters:
    objects: |
      - objectName: password
"""


def free_address() -> str:
    """A loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


class AppliancePlace:
    """Directories and addresses of one appliance, in a short path: a socket's has 107 bytes."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.log = os.path.join(root, "log")
        self.health = free_address()
        for name in ("classes", "secrets", "registration"):
            os.mkdir(os.path.join(root, name))

    def path(self, *names: str) -> str:
        return os.path.join(self.root, *names)

    @property
    def registration_socket(self) -> str:
        return self.path("registration", DRIVER + "-reg.sock")

    @property
    def sockets(self) -> list[str]:
        """What serves when everything is up, whether kubelet has come or not."""
        run = (
            "node.sock",
            "node-state.sock",
            "probe.sock",
            "registrar.sock",
            "statussync.sock",
            "statussync-state.sock",
            "providers/file.sock",
        )
        return [self.path("csi.sock"), self.registration_socket, *(self.path("run", name) for name in run)]

    @property
    def environ(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("SSCSI", "CSI", "KUBE"))
        }
        return inherited | {
            "CSI_ENDPOINT": "unix://" + self.path("csi.sock"),
            "SSCSI_CLUSTER": "dir:" + self.path("classes"),
            "SSCSI_FILE_PROVIDER_ROOT": self.path("secrets"),
            "SSCSI_HEALTH_ENDPOINT": self.health,
            "SSCSI_KUBELET_REGISTRATION_PATH": self.path("csi.sock"),
            "SSCSI_METRICS_ADDR": "off",
            "SSCSI_PROVIDER_DIRS": self.path("providers"),
            "SSCSI_REGISTRATION_DIR": self.path("registration"),
            "SSCSI_RUN_DIR": self.path("run"),
        }

    @property
    def kubelet(self) -> Kubelet:
        return Kubelet(self.path("csi.sock"), pods_directory=self.root)

    def write_class(self, name: str, *, provider: str = "file") -> PodVolume:
        """A class that asks `provider` for one object, `password`, and the volume of a pod that uses it."""
        with open(self.path("classes", f".{name}.yaml"), "w", encoding="utf-8") as file:
            file.write(_CLASS.format(name=name, provider=provider))
        os.rename(file.name, self.path("classes", f"{name}.yaml"))
        os.makedirs(self.path("secrets", "default"), exist_ok=True)
        with open(self.path("secrets", "default", "password"), "w", encoding="utf-8") as file:
            file.write("of the test")
        return PodVolume(
            pod_name=name,
            pod_namespace="default",
            pod_uid=f"pods/{name}",
            service_account="default",
            volume_name="secrets",
            attributes={"secretProviderClass": name},
        )

    def mounts(self) -> list[str]:
        """The mount points below, lowest first."""
        with open("/proc/self/mountinfo", "rb") as file:
            points = [entry.mount_point for entry in mount_info.parse(file.read())]
        return [point for point in points if point.startswith(self.root + "/")]

    def log_text(self) -> str:
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def get(self, page: str) -> tuple[int, str]:
        """Code and body of a health page; (0, "") while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://{self.health}{page}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def all_serve(self) -> bool:
        return all(map(is_served, self.sockets)) and self.get("/livez")[0] != 0


@contextlib.contextmanager
def new_place() -> Iterator[AppliancePlace]:
    root = tempfile.mkdtemp(prefix="sscsi-", dir="/tmp")
    # As directories on a node are: the liveness probe's user goes through it.
    os.chmod(root, 0o711)
    place = AppliancePlace(root)
    try:
        yield place
    finally:
        for point in reversed(place.mounts()):
            ctypes.CDLL(None).umount2(os.fsencode(point), _MNT_DETACH)
        shutil.rmtree(root)


@contextlib.contextmanager
def started(
    place: AppliancePlace,
    *arguments: str,
    command: tuple[str, ...] = (SSCSI, "run"),
    environ: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A running appliance whose rooms all serve; asked to stop at the end, if it still runs."""
    with open(place.log, "ab") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            env=dict(environ or place.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(
            lambda: process.poll() is not None or place.all_serve(),
            "all rooms serve",
            seconds=START_SECONDS,
        )
        assert process.poll() is None, place.log_text()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECONDS)


def programs(appliance: "subprocess.Popen[bytes]") -> dict[str, psutil.Process]:
    """The supervised processes that live, by console script."""
    found = {}
    for child in psutil.Process(appliance.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            for word in child.cmdline()[:2]:
                if os.path.basename(word).startswith("sscsi-"):
                    found[os.path.basename(word)] = child
    return found
