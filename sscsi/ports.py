"""The seams of the appliance: one Protocol per outside thing, with the methods that are used.

Each has its real adapter in `sscsi.edges` (or beside its room, for the cluster) and one fake in
`tests/fakes`; one contract suite runs on both.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.volume_record import VolumeRecord


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PathState:
    """What is at a path: nothing, or something that is or is not a directory and a mount point.

    `mount_id` is the kernel's id of the mount that the path is on (statx(2)), unique in one mount namespace
    while that mount lives; `device` is st_dev.
    """

    exists: bool
    is_directory: bool
    is_mount_point: bool
    mount_id: int
    device: int


ABSENT = PathState(exists=False, is_directory=False, is_mount_point=False, mount_id=0, device=0)


class Mounter(Protocol):
    """Mounts and unmounts tmpfs volumes. All methods raise MountError or TargetPathError."""

    def look(self, path: str) -> PathState:
        """The state of `path`; a symlink at its end is not followed."""

    def make_directory(self, path: str) -> None:
        """Make `path` and its parents, mode 0750; no error when it is there."""

    def remove_directory(self, path: str) -> None:
        """Remove the empty directory `path`; no error when it is gone."""

    def mount_tmpfs(self, path: str, *, size_bytes: int, max_inodes: int, gid: int | None) -> None:
        """Mount a new tmpfs on `path`: nosuid, nodev, noexec, noswap where it can be had."""

    def unmount(self, path: str) -> None:
        """Take the top mount off `path`, never following a symlink at its end."""

    def check_reaches_host(self, target_path: str) -> None:
        """Raise PropagationError when a mount at `target_path` would stay in this container."""


class RecordStore(Protocol):
    """Keeps the records of published volumes across restarts."""

    def load_all(self) -> list[VolumeRecord]:
        """Every readable record; what is unreadable is reported and dropped."""

    def write(self, record: VolumeRecord) -> None:
        """Keep `record` in place of an older one of its target path. Raises RecordError."""

    def delete(self, target_path: str) -> None:
        """Forget the record of `target_path`; no error when there is none. Raises RecordError."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFile:
    """One file of a provider's answer. `repr` shows no content."""

    path: str
    mode: int
    contents: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRequest:
    """A `v1alpha1.CSIDriverProvider/Mount` request. `repr` shows neither attributes nor secrets."""

    attributes: str = dataclasses.field(repr=False)
    secrets: str = dataclasses.field(repr=False)
    permission: str
    target_path: str
    current_object_versions: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAnswer:
    """A `v1alpha1.CSIDriverProvider/Mount` answer, as it came; nothing in it is checked yet."""

    object_versions: tuple[tuple[str, str], ...]
    error_code: str
    files: Sequence[ProviderFile]


class Providers(Protocol):
    """The secrets store providers of this node."""

    def mount(self, provider: str, request: ProviderRequest, *, timeout_seconds: float) -> ProviderAnswer:
        """Ask `provider` for content. Raises ProviderNotFoundError, ProviderCallError."""


class ClassSource(Protocol):
    """Where the node room gets classes from, and asks for their Secrets: status-sync."""

    def get(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        """The class. Raises ClassNotFoundError, ClassInvalidError, ClusterUnavailableError."""

    def ensure_secrets(self, record: VolumeRecord, *, timeout_seconds: float) -> Sequence[str]:
        """Make the Secrets of the volume's class; what could not be done, one line each.

        Raises ClusterUnavailableError when status-sync did not answer in time.
        """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClusterObject:
    """A SecretProviderClassPodStatus or Secret as a manifest: what the cluster shall hold.

    `content` is everything but `metadata.name` and `metadata.namespace`: apiVersion, kind, labels,
    annotations, owner references, status or data. `repr` shows no content: a Secret is one of these.
    """

    kind: str
    namespace: str
    name: str
    content: Mapping[str, object] = dataclasses.field(repr=False)


class Cluster(Protocol):
    """The cluster behind status-sync: a directory of YAML files, or the Kubernetes API.

    Level-triggered on purpose: `apply` and `delete` make the cluster agree with what is wanted, whatever was
    there before; conflicts, retries and preconditions are the adapter's business. All methods raise
    ClusterUnavailableError when the cluster can't be reached or refuses; trying again later is the cure.
    """

    def get_class(self, namespace: str, name: str) -> SecretProviderClass:
        """The class as it is now. Raises ClassNotFoundError, ClassInvalidError."""

    def classes_revision(self) -> object:
        """A value that differs when any class in use may have changed; cheap enough to ask each second."""

    def apply(self, wanted: ClusterObject) -> bool:
        """Make the object so; True when something had to be written. Unchanged means no write (P3)."""

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Remove the object if it is one that this node wrote; True when something was removed."""

    def list_own(self, kind: str) -> set[tuple[str, str]]:
        """(namespace, name) of every object of `kind` that this node wrote."""
