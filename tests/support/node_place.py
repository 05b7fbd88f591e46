"""Where a node room of a test lives: sockets, records, providers and kubelet's directories below one short path."""

import contextlib
import ctypes
import dataclasses
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator

from sscsi.core import mount_info
from sscsi.core.volume_record import VolumeRecord, decode

_MNT_DETACH = 2


@dataclasses.dataclass(frozen=True, slots=True)
class NodePlace:
    """The directories of one node; `base` is short, so that socket paths fit sun_path."""

    base: str

    @property
    def endpoint(self) -> str:
        """The CSI socket."""
        return f"{self.base}/csi/csi.sock"

    @property
    def run_directory(self) -> str:
        return f"{self.base}/run"

    @property
    def state_directory(self) -> str:
        return f"{self.base}/state"

    @property
    def provider_directory(self) -> str:
        return f"{self.base}/providers"

    @property
    def log_file(self) -> str:
        """Where a node process writes its log."""
        return f"{self.base}/node.log"

    def provider_socket(self, name: str = "fake") -> str:
        return f"{self.provider_directory}/{name}.sock"

    def status_sync_socket(self) -> str:
        return f"{self.run_directory}/statussync.sock"

    def target_path(self, pod_uid: str = "pod-uid-1", volume: str = "secrets") -> str:
        """A target path of kubelet's shape, whose parent is made as kubelet makes it; itself it is not."""
        parent = f"{self.base}/pods/{pod_uid}/volumes/kubernetes.io~csi/{volume}"
        os.makedirs(parent, mode=0o750, exist_ok=True)
        return f"{parent}/mount"

    def flags(self, *extra: str) -> list[str]:
        """The command line of a node room here; `extra` comes last and wins.

        `--require-shared-propagation` is off: the test run's mount namespace is private.
        """
        return [
            f"--endpoint=unix://{self.endpoint}",
            f"--run-dir={self.run_directory}",
            f"--state-dir={self.state_directory}",
            f"--provider-dirs={self.provider_directory}",
            "--nodeid=node-1",
            "--require-shared-propagation=false",
            *extra,
        ]

    def accepts(self) -> bool:
        """Whether somebody listens at the CSI socket; a node room that was killed leaves the file behind."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(self.endpoint)
            except OSError:
                return False
        return True

    def mounts(self, path: str | None = None) -> list[mount_info.MountEntry]:
        """The mounts on the base and below it, or those stacked on `path`, lowest first."""
        with open("/proc/self/mountinfo", "rb") as file:
            entries = list(mount_info.parse(file.read()))
        if path is not None:
            return mount_info.at(entries, path)
        return [entry for entry in entries if f"{entry.mount_point}/".startswith(f"{self.base}/")]

    def records(self) -> list[str]:
        """The names of the records in the state directory."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(self.state_directory))
        return []

    def record(self) -> VolumeRecord:
        """The only record that there is."""
        (name,) = self.records()
        with open(f"{self.state_directory}/{name}", "rb") as file:
            record = decode(file.read())
        assert record is not None, f"{name} is no whole record"
        return record


@contextlib.contextmanager
def node_place() -> Iterator[NodePlace]:
    """A fresh place; at the end every mount below it is detached and the directory removed."""
    place = NodePlace(tempfile.mkdtemp(prefix="sscsi-", dir="/tmp"))
    for directory in (place.run_directory, place.provider_directory, os.path.dirname(place.endpoint)):
        os.mkdir(directory, 0o750)
    try:
        yield place
    finally:
        for entry in reversed(place.mounts()):
            ctypes.CDLL(None).umount2(os.fsencode(entry.mount_point), _MNT_DETACH)
        shutil.rmtree(place.base)
