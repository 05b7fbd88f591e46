"""The classes that volumes here use, kept so that making objects does not ask the cluster each time."""

import dataclasses
import threading
from collections.abc import Set as AbstractSet

from sscsi.core.provider_class import SecretProviderClass
from sscsi.errors import ClassInvalidError, ClassNotFoundError, ClusterUnavailableError
from sscsi.ports import ClassName, Cluster

_LOAD_SECONDS = 10.0
# Stands for a revision that was not asked for: the next poll finds another and looks again.
_UNKNOWN = object()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClassView:
    """A class as last seen: the class itself, or why there is none."""

    spc: SecretProviderClass | None
    problem: str


class ClassCatalogue:
    """Last known views. While the cluster is away, a class that was seen stays as it was."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._entries: dict[ClassName, tuple[object, ClassView]] = {}

    def view(self, name: ClassName) -> ClassView:
        """The class as last seen; asks the cluster when it was never seen."""
        with self._lock:
            entry = self._entries.get(name)
        return entry[1] if entry else self._load(name, _UNKNOWN)[1]

    def seen(self, name: ClassName) -> SecretProviderClass | None:
        """The class as last seen; None when there is none, or it was never seen."""
        with self._lock:
            entry = self._entries.get(name)
        return entry[1].spc if entry else None

    def load(self, name: ClassName) -> bool:
        """Ask the cluster for the class; True when it is another than it was."""
        before, after = self._load(name, _UNKNOWN)
        return before != after

    def _load(self, name: ClassName, revision: object) -> tuple[ClassView | None, ClassView]:
        with self._lock:
            entry = self._entries.get(name)
        before = entry[1] if entry else None
        namespace, own_name = name
        try:
            spc = self._cluster.get_class(namespace, own_name, timeout_seconds=_LOAD_SECONDS)
            after = ClassView(spc=spc, problem="")
        except (ClassNotFoundError, ClassInvalidError) as error:
            after = ClassView(spc=None, problem=str(error))
        except ClusterUnavailableError as error:
            revision = _UNKNOWN
            after = before or ClassView(spc=None, problem=str(error))
        with self._lock:
            self._entries[name] = (revision, after)
        return before, after

    def poll(self, in_use: AbstractSet[ClassName]) -> set[ClassName]:
        """Look for changes of the classes in use, forget the others; those that are another than they were.

        Raises ClusterUnavailableError.
        """
        revisions = self._cluster.class_revisions(in_use)
        with self._lock:
            self._entries = {name: entry for name, entry in self._entries.items() if name in in_use}
            seen = {name: entry[0] for name, entry in self._entries.items()}
        # Most are seen by whoever needs them first; then `seen` knows of every class in use.
        stale = [name for name in in_use if name not in seen or revisions.get(name) != seen[name]]
        changed = set()
        for name in stale:
            before, after = self._load(name, revisions.get(name))
            if before != after:
                changed.add(name)
        return changed
