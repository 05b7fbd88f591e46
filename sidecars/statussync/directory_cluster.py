"""The Cluster port on a directory of YAML files: what `--cluster=dir:PATH` stands for."""

import datetime as dt
import errno
import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sidecars.statussync.class_documents import object_uid
from sidecars.statussync.class_files import ClassFiles
from sidecars.statussync.config import STATUS
from sidecars.statussync.metrics import SyncMetrics
from sidecars.statussync.object_files import ObjectFiles, make_private
from sscsi.core import pod_status, status_conditions
from sscsi.core.finding import Word
from sscsi.core.pod_event import PodEvent
from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.published_volume import PublishedVolume
from sscsi.errors import ConfigError
from sscsi.ports import ClassName, ClusterObject, ObjectKey, PodName

_POLL_SECONDS = 10.0


class DirectoryCluster:
    """Classes are read from `path`, objects written below `path`/status, which one process holds at a time.

    Raises ConfigError when `path` can't serve as a cluster.
    """

    def __init__(self, path: str, metrics: SyncMetrics | None = None) -> None:
        status = os.path.join(path, STATUS)
        _check_readable(path)
        # Held for life: two of us would each remove what the other one wants.
        self._lock = _take(status)
        self._classes = ClassFiles(path)
        self._objects = ObjectFiles(status, metrics)
        self._objects.remove_leftovers()

    def start(self, on_change: Callable[[ObjectKey], None], on_return: Callable[[], None]) -> None:
        """Nobody tells of edited files: each snapshot of the node room has them looked at."""

    def stop(self) -> None:
        """No call waits for anybody."""

    def close(self) -> None:
        """Let another process have the directory."""
        os.close(self._lock)

    def check_installation(self, driver_name: str) -> Sequence[tuple[str, Word]]:  # noqa: ARG002
        # Nothing is installed in a directory.
        return ()

    def get_class(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        return self._classes.get(namespace, name, timeout_seconds=timeout_seconds)

    def class_revisions(self, in_use: AbstractSet[ClassName]) -> Mapping[ClassName, object]:
        present = self._classes.revisions(timeout_seconds=_POLL_SECONDS)
        return {name: present.get(name) for name in in_use}

    def pod_asks(self, in_use: AbstractSet[PodName]) -> Mapping[PodName, str]:  # noqa: ARG002
        # A directory has no pods that anybody could annotate.
        return {}

    def owners(self, _volume: PublishedVolume, status: ObjectKey, /) -> Sequence[Mapping[str, str]]:
        return (
            {
                "apiVersion": pod_status.API_VERSION,
                "kind": status.kind,
                "name": status.name,
                "uid": object_uid(status.kind, status.namespace, status.name),
            },
        )

    def owned_by_status(self, _volume: PublishedVolume, *, timeout_seconds: float) -> bool:  # noqa: ARG002
        # Its uid follows from its name, so the Secret need not wait for it.
        return False

    def apply(self, wanted: ClusterObject) -> bool:
        if wanted.key.kind != pod_status.KIND:
            return self._objects.write(wanted.key, _with_uid(wanted, wanted.manifest))
        present = self._objects.read(wanted.key)
        manifest = status_conditions.with_history(
            wanted.manifest,
            present.get("status") if present else None,
            kept=wanted.kept_conditions,
            now=dt.datetime.now(dt.UTC),
        )
        return self._objects.write(wanted.key, _with_uid(wanted, manifest))

    def delete(self, key: ObjectKey) -> bool:
        return self._objects.remove(key)

    def list_own(self, kind: str) -> set[ObjectKey]:
        return self._objects.list_ours(kind)

    def tell(self, event: PodEvent) -> None:
        """Nobody reads Events in a directory; the logs of node and status-sync have what is in them."""


def _with_uid(wanted: ClusterObject, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with the uid that an API server would have given it, which owner references name."""
    return {**manifest, "metadata": {**manifest["metadata"], "uid": object_uid(*_names(wanted.key))}}


def _names(key: ObjectKey) -> tuple[str, str, str]:
    return key.kind, key.namespace, key.name


def _check_readable(path: str) -> None:
    try:
        os.listdir(path)
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0)
        raise ConfigError(
            f"cannot read the directory of --cluster=dir:{path} ({reason}); create it, or mend its rights",
            exit_code=1,
        ) from error


def _take(status: str) -> int:
    try:
        make_private(status)
        descriptor = os.open(status, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0)
        raise ConfigError(
            f"cannot make the directory {status!r} ({reason}); status objects and Secrets go there: "
            "let its parent be writable, or create it",
            exit_code=1,
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(
            f"another status-sync writes to {status!r}; stop it, or give each a directory of its own",
            exit_code=1,
        ) from error
    return descriptor
