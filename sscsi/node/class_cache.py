"""Classes as the node room knows them: asked of status-sync, kept for a moment, good while it is away.

A class that was read less than `fresh_seconds` ago is used as it is, so that a hundred pods of one Deployment
ask once. When status-sync can't answer, the last good one serves, however old: the API's troubles must not
stop mounts (design, section 1). NotFound is never kept: whoever creates the class sees it work at once.
"""

import collections
import threading
import time

from sscsi.core.provider_class import SecretProviderClass
from sscsi.errors import ClassInvalidError, ClassNotFoundError, ClusterUnavailableError
from sscsi.ports import ClassSource

_MAX_CLASSES = 1000
# After a failed call, classes that are known are used without asking again for this long: a hanging
# status-sync must not delay every publish by its time-out.
_AWAY_SECONDS = 2.0
# How long news of a class that is known may take: status-sync being away must delay no mount that can do without.
_NEWS_SECONDS = 1.0


class _Entry:
    __slots__ = ("known", "lock", "read_at")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: SecretProviderClass | None = None
        self.read_at = float("-inf")


class ClassCache:
    """Looks classes up, one call at a time for each class."""

    def __init__(self, source: ClassSource, *, fresh_seconds: float) -> None:
        self._source = source
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._entries: collections.OrderedDict[tuple[str, str], _Entry] = collections.OrderedDict()
        self._away_until = float("-inf")

    def known_fresh(self, namespace: str, name: str) -> SecretProviderClass | None:
        """The class if it can be had without waiting for anybody, else None."""
        entry = self._entry(namespace, name)
        known, now = entry.known, time.monotonic()
        if known is not None and (now - entry.read_at < self._fresh_seconds or now < self._away_until):
            return known
        return None

    def last_provider(self, namespace: str, name: str) -> str:
        """The provider of the class as it was last known, however long ago; empty when it never was."""
        known = self._entry(namespace, name).known
        return known.provider if known is not None else ""

    def look_again(self, namespace: str, name: str) -> None:
        """The class has changed: it is asked for anew, and is good only while nobody can be asked."""
        self._entry(namespace, name).read_at = float("-inf")

    def get(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        """The class. Raises ClassNotFoundError, ClassInvalidError, ClusterUnavailableError."""
        entry = self._entry(namespace, name)
        if not entry.lock.acquire(timeout=timeout_seconds):
            raise ClusterUnavailableError(
                f"the look-up of secretproviderclass {namespace}/{name} did not end in {timeout_seconds:.0f} s"
            )
        try:
            known = self.known_fresh(namespace, name)
            return known or self._ask(entry, namespace, name, timeout_seconds)
        finally:
            entry.lock.release()

    def _ask(self, entry: _Entry, namespace: str, name: str, timeout_seconds: float) -> SecretProviderClass:
        if entry.known is not None:
            timeout_seconds = min(timeout_seconds, _NEWS_SECONDS)
        try:
            entry.known = self._source.get(namespace, name, timeout_seconds=timeout_seconds)
        except ClusterUnavailableError:
            self._away_until = time.monotonic() + _AWAY_SECONDS
            if entry.known is None:
                raise
            return entry.known
        except (ClassNotFoundError, ClassInvalidError):
            entry.known = None
            raise
        entry.read_at = time.monotonic()
        return entry.known

    def _entry(self, namespace: str, name: str) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault((namespace, name), _Entry())
            self._entries.move_to_end((namespace, name))
            if len(self._entries) > _MAX_CLASSES:
                self._entries.popitem(last=False)
            return entry
