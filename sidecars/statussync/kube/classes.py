"""SecretProviderClasses: asked for when a pod needs one, then kept true for as long as a volume here uses it.

A class is asked for by a list of its one name, not by a get: that answers with the version which a watch goes on from.
One watch a class is what the API server has to serve; nothing is asked while nothing changes (docs/performance.md has
the arithmetic). A class that no volume uses any more is forgotten.
"""

import threading
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from urllib.parse import quote

from sidecars.statussync.kube.api import KubeApi, Object
from sidecars.statussync.kube.api_errors import ApiError, unavailable
from sidecars.statussync.kube.watched import Name, Watched, name_of
from sscsi.core.provider_class import GROUP, KIND, FieldError, SecretProviderClass, from_manifest
from sscsi.errors import ClassInvalidError, ClassNotFoundError, ClusterUnavailableError
from sscsi.ports import ClassName

_PLURAL = "secretproviderclasses"
_NO_RIGHT = "the service account may not read classes: see the role secretproviderclasses-role (kubectl apply -f deploy/rbac.yaml; with the chart: rbac.install=true)"
# A look-up outlives the volume that it was for by this long: its pod's publish may be under way.
_FORGET_SECONDS = 120.0

# A pod's first volume of a class has it looked up by the node room, and for its Secrets right after that.
_FRESH_SECONDS = 1.0
# How long news of a class that is known may take: an API server that hangs must not keep the last good one back.
_NEWS_SECONDS = 1.0

ClassState = SecretProviderClass | str
"""A class, or what is wrong with it."""


class KubeClasses:
    """Classes by name. Threads may share it."""

    def __init__(
        self, api: KubeApi, *, watch_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._watch_seconds = watch_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[ClassName, _Entry] = {}

    def get(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        """The class as it is, or, while the API server is away, as it last was.

        Raises ClassNotFoundError, ClassInvalidError, ClusterUnavailableError.
        """
        entry = self._entry((namespace, name))
        is_fresh = entry.has_class and self._clock() - entry.answered_at < _FRESH_SECONDS
        if not is_fresh and not entry.is_followed():
            self._ask(entry, timeout_seconds)
        return entry.known()

    def revisions(self, in_use: AbstractSet[ClassName]) -> Mapping[ClassName, object]:
        """What is known of each class in use; follows these, and no others.

        Raises ClusterUnavailableError when no change of any would be heard of.
        """
        entries = {name: self._entry(name) for name in in_use}
        for entry in entries.values():
            entry.follow()
        self._forget(in_use)
        problems = [entry.problem for entry in entries.values()]
        if problems and all(problems):
            raise ClusterUnavailableError(problems[0])
        return {name: entry.state for name, entry in entries.items()}

    def close(self) -> None:
        """End every watch."""
        with self._lock:
            entries = list(self._entries.values())
        for entry in entries:
            entry.leave()

    def _entry(self, name: ClassName) -> "_Entry":
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = _Entry(self._api, name, self._watch_seconds)
            entry.used_at = self._clock()
            return entry

    def _ask(self, entry: "_Entry", timeout_seconds: float) -> None:
        """Ask the API server; callers that wait for one another's answer share it.

        Raises ClusterUnavailableError when there is nothing good to go on with.
        """
        asked_at = self._clock()
        if entry.has_class:
            timeout_seconds = min(timeout_seconds, _NEWS_SECONDS)
        if not entry.asking.acquire(timeout=max(timeout_seconds, 0.0)):
            if entry.has_class:
                return
            raise ClusterUnavailableError(f"the look-up of {entry.words} takes too long")
        try:
            if entry.answered_at < asked_at:
                begun = self._clock()
                entry.ask(timeout_seconds)
                entry.answered_at = begun
        finally:
            entry.asking.release()

    def _forget(self, in_use: AbstractSet[ClassName]) -> None:
        oldest = self._clock() - _FORGET_SECONDS
        with self._lock:
            left = [
                name
                for name, entry in self._entries.items()
                if name not in in_use and (entry.is_following or entry.used_at < oldest)
            ]
            entries = [self._entries.pop(name) for name in left]
        for entry in entries:
            entry.leave()


class _Entry:
    """One class. `state` is None before the first answer."""

    def __init__(self, api: KubeApi, name: ClassName, watch_seconds: float) -> None:
        self._api = api
        self._name = name
        self.words = f"{KIND} {name[0]}/{name[1]}"
        self.asking = threading.Lock()
        self.answered_at = float("-inf")
        self.used_at = 0.0
        self._state: ClassState | None = None
        self._watched: Watched[ClassState] = Watched(
            api,
            f"/apis/{GROUP}/v1/namespaces/{quote(name[0], safe='')}/{_PLURAL}",
            {"fieldSelector": f"metadata.name={name[1]}"},
            keep=_keep,
            on_change=self._changed,
            watch_seconds=watch_seconds,
        )
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> ClassState | None:
        return self._state

    @property
    def has_class(self) -> bool:
        return isinstance(self._state, SecretProviderClass)

    @property
    def is_following(self) -> bool:
        return self._thread is not None

    @property
    def problem(self) -> str:
        """Why changes are not heard of, though they should be."""
        return self._watched.problem

    def is_followed(self) -> bool:
        """Whether what is known is what the API has."""
        return self.is_following and self._watched.is_current

    def known(self) -> SecretProviderClass:
        """What is known. Raises ClassNotFoundError, ClassInvalidError."""
        state = self._state
        if state is None:
            raise ClassNotFoundError(f'{KIND}.{GROUP} "{self._name[1]}" not found')
        if isinstance(state, str):
            raise ClassInvalidError(f"{self.words} can't be used: {state}")
        return state

    def ask(self, timeout_seconds: float) -> None:
        """Bring `state` up to date. Raises ClusterUnavailableError when there is nothing good to go on with."""
        try:
            self._watched.list_now(timeout_seconds)
        except ApiError as error:
            if not self.has_class:
                raise unavailable(error, no_right=_NO_RIGHT) from error
        except ClusterUnavailableError:
            if not self.has_class:
                raise

    def follow(self) -> None:
        """Have changes told from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watched.run, name="class-watch", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        self._watched.close()

    def _changed(self, name: Name) -> None:
        if name == self._name:
            self._state = self._watched.get(name)


def _keep(obj: Object) -> ClassState:
    metadata = obj.get("metadata") or {}
    try:
        return from_manifest(
            obj,
            default_namespace=name_of(obj)[0],
            uid=str(metadata.get("uid", "")),
            generation=int(metadata.get("generation", 0)),
        )
    except FieldError as error:
        return str(error)
