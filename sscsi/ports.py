"""The seams of the appliance: one Protocol per outside thing, with the methods that are used.

Each has its real adapter in `sscsi.edges` (or beside its room, for the cluster) and one fake in
`tests/fakes`; one contract suite runs on both.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, Self

from sscsi.core.file_plan import FileState, PlannedFile, RootEntry
from sscsi.core.finding import Word
from sscsi.core.pod_event import PodEvent
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.published_volume import PublishedVolume, VolumeChange
from sscsi.core.refresh_ask import RefreshAsk
from sscsi.core.volume_record import ContentFile, VolumeRecord


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PathState:
    """What is at a path: nothing, or something that is or is not a directory and a mount point.

    `mount_id` is the kernel's id of the mount that the path is on (statx(2)), unique in one mount namespace
    while that mount lives; `device` is st_dev; `is_tmpfs` is asked of mount points only.
    """

    exists: bool
    is_directory: bool
    is_mount_point: bool
    is_tmpfs: bool
    mount_id: int
    device: int


ABSENT = PathState(
    exists=False, is_directory=False, is_mount_point=False, is_tmpfs=False, mount_id=0, device=0
)


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
        """Take the top mount off `path`, never following a symlink at its end. MountError when nothing is mounted."""

    def check_reaches_host(self, target_path: str) -> None:
        """Raise PropagationError when a mount at `target_path` would not reach its pod; the text has the cure."""

    def check_sees_host(self, target_path: str) -> None:
        """Raise PropagationError when it is certain that what the host has mounted at `target_path` can't be seen here, and
        so not be taken away; the text has the cure.
        """


class VolumeTree(Protocol):
    """The files of one volume, held by a descriptor of its root: whatever happens to the path, this stays.

    Used as a context manager. Names are single components of the root; paths are below a version directory
    and were checked by `file_plan`. No symlink is ever followed, but for `..data` read as text. All methods
    raise TargetPathError; writing methods ContentTooLargeError when the tmpfs is full.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    @property
    def device(self) -> int:
        """st_dev of the root."""

    @property
    def group(self) -> int | None:
        """The volume's group: that of the root when it is setgid, else None."""

    def read_root(self) -> dict[str, RootEntry]:
        """Every name in the root."""

    def read_data_link(self) -> str:
        """Where `..data` points, empty when there is no such link."""

    def list_directory(self, name: str) -> list[str]:
        """The top names in the directory `name`; empty when there is no such directory."""

    def read_version(self, name: str) -> dict[str, FileState]:
        """State of every regular file below the version directory `name`, by path."""

    def list_files(self) -> tuple[ContentFile, ...]:
        """The regular files outside any `..` name: what a self-writing provider wrote. Sorted by path."""

    def set_group(self, gid: int) -> None:
        """Give the root the group `gid` and setgid."""

    def grant_group_read(self, files: Sequence[ContentFile]) -> None:
        """Give files that a provider wrote itself to the volume's group, and let it read where the owner does."""

    def make_version(self, name: str, mode: int) -> None:
        """Make the version directory `name`."""

    def make_directory(self, version: str, path: str, mode: int) -> None:
        """Make a directory below a version directory."""

    def write_file(self, version: str, file: PlannedFile) -> None:
        """Write one file below a version directory, with its exact mode."""

    def add_link(self, name: str, target: str) -> None:
        """Make the symlink `name` in the root."""

    def rename(self, name: str, new_name: str) -> None:
        """Rename a name of the root over another, atomically."""

    def remove(self, name: str) -> None:
        """Remove a name of the root with all below it; no error when it is gone."""


class FileTrees(Protocol):
    """Opens volumes."""

    def open(self, path: str) -> VolumeTree:
        """The volume whose root is the directory `path`, no symlink at its end. Raises TargetPathError."""

    def empty_plain_directory(self, path: str) -> None:
        """Remove all below the directory `path`, following no link and crossing no mount. Raises TargetPathError."""

    def usage(self, path: str) -> "Usage":
        """Bytes and inodes of the file system at `path`. Raises TargetPathError."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What statvfs(3) tells of a volume."""

    total_bytes: int
    available_bytes: int
    used_bytes: int
    total_inodes: int
    available_inodes: int
    used_inodes: int


class RecordStore(Protocol):
    """Keeps the records of published volumes across restarts."""

    def load_all(self) -> list[VolumeRecord]:
        """Every readable record; what is unreadable is reported and dropped."""

    def write(self, record: VolumeRecord) -> bool:
        """Keep `record` in place of an older one of its target path; False when it could be kept only for now, and
        should be written again. Raises RecordError.
        """

    def delete(self, target_path: str) -> None:
        """Forget the record of `target_path`; no error when there is none. Raises RecordError."""


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
    files: tuple[PlannedFile, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProviderVersion:
    """A `v1alpha1.CSIDriverProvider/Version` answer, as it came: foreign text of any length."""

    runtime_name: str
    runtime_version: str


class Providers(Protocol):
    """The secrets store providers of this node."""

    def names(self) -> list[str]:
        """The providers that are there now, sorted. Calls nobody."""

    def version(self, provider: str, *, timeout_seconds: float) -> ProviderVersion:
        """What `provider` says it is. Raises ProviderNotFoundError, ProviderCallError."""

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


class VolumeFeed(Protocol):
    """The node room's volumes, as they come and go."""

    def watch(self) -> Iterator[VolumeChange]:
        """A snapshot, then changes, until the stream ends in good order (its deadline) or `close` is called.

        Raises RoomUnavailableError when the node room does not answer or goes away.
        """

    def ask_refresh(self, asks: Collection[RefreshAsk]) -> None:
        """Tell the node room all that is asked for now, in place of what was before; bounded in time.

        Raises RoomUnavailableError when it does not answer, and after `close`.
        """

    def close(self) -> None:
        """End a `watch` or an `ask_refresh` that runs, and every later one; called from another thread."""


class VolumeFiles(Protocol):
    """Reads what a published volume holds."""

    def read(
        self, volume: PublishedVolume, names: Sequence[str] | None, *, limit_bytes: int
    ) -> dict[str, bytes]:
        """Content of the regular files `names`, paths below the volume as its pod sees them, by name.

        A file that is not there is left out; of a larger file come `limit_bytes` + 1 bytes, so that the
        caller sees that it is too large. Without `names` every regular file is read, in the order of names; once
        they are larger than that all together, no more are. All content is of one moment: never half before a swap and half
        after. Raises TargetPathError when the volume can't be read now.
        """


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Which object of the cluster: `kind` is SecretProviderClassPodStatus or Secret."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.name else self.kind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClusterObject:
    """An object as the cluster shall hold it.

    `manifest` is the whole manifest but for what the cluster itself fills in (uid, resource version, times).
    `repr` does not show it: a Secret is one of these. Of a status object, conditions of the types in
    `kept_conditions` stay as the cluster has them: nobody here knows yet how they are.
    """

    key: ObjectKey
    manifest: Mapping[str, object] = dataclasses.field(repr=False)
    kept_conditions: frozenset[str] = frozenset()


ClassName = tuple[str, str]
"""(namespace, name) of a SecretProviderClass."""
PodName = tuple[str, str, str]
"""(namespace, name, uid) of a pod."""


class Cluster(Protocol):
    """The cluster behind status-sync: a directory of YAML files, or the Kubernetes API.

    Level-triggered on purpose: `apply` and `delete` make the cluster agree with what is wanted, whatever was
    there before; conflicts and preconditions are the adapter's business, as is a bound on each call's time.
    Called from several threads, never for one object from two at once. All methods raise
    ClusterUnavailableError when the cluster can't be reached or refuses; trying again later is the cure.
    """

    def start(self, on_change: Callable[[ObjectKey], None], on_return: Callable[[], None]) -> None:
        """Begin to hear of changes, where the cluster tells: `on_change` is called for each object of ours that changed.

        `on_return` is called when the cluster answers again after it did not.
        """

    def stop(self) -> None:
        """End the calls that wait for the cluster; nothing more is asked of it."""

    def close(self) -> None:
        """Give the cluster up, when no call is under way any more."""

    def check_installation(self, driver_name: str) -> Sequence[tuple[str, Word]]:
        """How the driver of that name is installed in the cluster: findings, each with its subject in a few words.

        A handful of requests, more when something is amiss.
        """

    def get_class(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        """The class as it is now. Raises ClassNotFoundError, ClassInvalidError."""

    def class_revisions(self, in_use: AbstractSet[ClassName]) -> Mapping[ClassName, object]:
        """A value for each class in use that differs from the last one when the class may have changed.

        Cheap enough to ask every other second. `in_use` is all there is: the adapter follows no other class.
        """

    def pod_asks(self, in_use: AbstractSet[PodName]) -> Mapping[PodName, str]:
        """What `refresh_ask.ask_value` makes of the annotation REFRESH_AT of the pods in use; not of those without it.

        Cheap enough to ask every other second: news come by themselves, while there are pods in use. Nothing where pods
        are not known; what was last known while the cluster is away. Raises ClusterUnavailableError, with the cure, where the
        right to know pods is missing.
        """

    def owners(self, volume: PublishedVolume, status: ObjectKey, /) -> Sequence[Mapping[str, str]]:
        """The owner references of a Secret made from `volume`, whose status object is `status`.

        Kubernetes has the pod's owners here, as upstream; where pods are not known the status object owns.
        """

    def owned_by_status(self, volume: PublishedVolume, *, timeout_seconds: float) -> bool:
        """Whether a Secret made from `volume` is owned by the status object, which then has to be there first."""

    def apply(self, wanted: ClusterObject) -> bool:
        """Make the object so; True when something had to be written: unchanged means no write (design P3).

        Raises ObjectNotOursError when there is one of that name that status-sync did not make.
        """

    def delete(self, key: ObjectKey) -> bool:
        """Remove the object if status-sync of this node made it; True when something was removed."""

    def list_own(self, kind: str) -> set[ObjectKey]:
        """Every object of `kind` that it is on this node to remove when no volume here wants it."""

    def tell(self, event: PodEvent) -> None:
        """Have the pod's owner read this, best effort: never waits for the cluster and never raises."""
