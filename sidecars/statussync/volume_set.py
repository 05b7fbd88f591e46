"""The volumes that are published on this node, as far as this process was told."""

import dataclasses
import threading
from collections.abc import Callable, Iterable

from sscsi.core.published_volume import PublishedVolume, VolumeChange
from sscsi.ports import ClassName

# How long a volume that came with EnsureSecrets may be missing from snapshots: one that was on its way already
# does not know it yet.
_PROVISIONAL_SECONDS = 30.0


class VolumeSet:
    """Volumes by target path. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Never changed in place: readers take the one that is.
        self._volumes: dict[str, PublishedVolume] = {}
        self._provisional: dict[str, float] = {}
        self._complete = threading.Event()
        self._is_heard = False
        self._unknown = 0

    @property
    def is_complete(self) -> bool:
        """Whether a snapshot has come: only then is what is not here not published."""
        return self._complete.is_set()

    @property
    def is_certain(self) -> bool:
        """Whether what nobody here wants is wanted by no volume at all: the node room, too, knows every mount, and is heard.

        While it is not, another driver may be mounting volumes in its place: upstream's, put beside ours by mistake.
        """
        return self._is_heard and self.is_complete and not self._unknown

    def wait_complete(self, timeout_seconds: float) -> bool:
        return self._complete.wait(timeout_seconds)

    def all(self) -> list[PublishedVolume]:
        return list(self._volumes.values())

    def get(self, target_path: str) -> PublishedVolume | None:
        return self._volumes.get(target_path)

    def in_namespace(self, namespace: str) -> list[PublishedVolume]:
        return [volume for volume in self._volumes.values() if volume.pod_namespace == namespace]

    def classes_in_use(self) -> frozenset[ClassName]:
        return frozenset((volume.pod_namespace, volume.class_name) for volume in self._volumes.values())

    def unheard(self) -> None:
        """The node room tells nothing until its next change."""
        self._is_heard = False

    def apply(self, change: VolumeChange) -> list[PublishedVolume]:
        """Take the change in; every volume, as it was and as it is, whose objects may have to change."""
        with self._lock:
            before = self._volumes
            after = self._kept_provisional() if change.snapshot else dict(before)
            for volume in change.volumes:
                after[volume.target_path] = volume
                self._provisional.pop(volume.target_path, None)
            for target_path in change.removed_target_paths:
                after.pop(target_path, None)
                self._provisional.pop(target_path, None)
            self._volumes = after
            self._unknown = change.unknown_volumes
            self._is_heard = True
            if change.snapshot:
                self._complete.set()
                return [*before.values(), *after.values()]
        return _affected(before, after, {volume.target_path for volume in change.volumes})

    def merge(self, volume: PublishedVolume) -> None:
        """Know a volume before, or more lately than, the watch does."""
        with self._lock:
            known = self._volumes.get(volume.target_path)
            if known is None or known.last_attempt_time < volume.last_attempt_time:
                self._volumes = {**self._volumes, volume.target_path: volume}
            if known is None:
                self._provisional[volume.target_path] = self._clock() + _PROVISIONAL_SECONDS

    def _kept_provisional(self) -> dict[str, PublishedVolume]:
        now = self._clock()
        self._provisional = {path: end for path, end in self._provisional.items() if end > now}
        return {path: self._volumes[path] for path in self._provisional}


def _affected(
    before: dict[str, PublishedVolume], after: dict[str, PublishedVolume], named: Iterable[str]
) -> list[PublishedVolume]:
    affected = []
    for target_path in {*named, *(before.keys() - after.keys())}:
        old, new = before.get(target_path), after.get(target_path)
        if old is None or new is None or _objects_basis(old) != _objects_basis(new):
            affected += [volume for volume in (old, new) if volume is not None]
    return affected


def _objects_basis(volume: PublishedVolume) -> PublishedVolume:
    """What objects are made from: not when the last refresh was. Of plain files see `plain_contents`."""
    # In what words a refresh failed again is no news.
    error = "failed" if volume.last_error else ""
    return dataclasses.replace(volume, last_attempt_time=0.0, last_success_time=0.0, last_error=error)
