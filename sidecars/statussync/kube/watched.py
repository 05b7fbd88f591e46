"""Objects of the API, kept here as they are there: a list once, then a watch that goes on where the last one ended."""

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from sidecars.statussync.kube.api import KubeApi, Object, Watch, jittered
from sidecars.statussync.kube.api_errors import ApiError
from sscsi.core import log_keys
from sscsi.core.backoff import delays
from sscsi.errors import ClusterUnavailableError

log = logging.getLogger(__name__)

_LIST_SECONDS = 30.0
_PAGE = "500"
_FIRST_DELAY_SECONDS = 0.5
_MAX_DELAY_SECONDS = 30.0

T = TypeVar("T")
Name = tuple[str, str]
"""Namespace and name."""


class Watched(Generic[T]):
    """The objects at `path` that `selector` (query parameters) takes.

    `keep` makes of each what is remembered of it. A thread of its own runs `run`; `objects` and `problem` may be read by any,
    and `on_change` is called by it after each change, with the object's name.
    """

    def __init__(
        self,
        api: KubeApi,
        path: str,
        selector: Mapping[str, str],
        *,
        keep: Callable[[Object], T],
        on_change: Callable[[Name], None],
        watch_seconds: float,
    ) -> None:
        self._api = api
        self._path = path
        self._selector = dict(selector)
        self._keep = keep
        self._on_change = on_change
        self._watch_seconds = watch_seconds
        self._lock = threading.Lock()
        # With the version of each, so that news older than the answer to our own write is none.
        self._objects: dict[Name, tuple[int, T]] = {}
        self._listed = threading.Event()
        self._closed = threading.Event()
        self._watch: Watch | None = None
        # None: nobody asked yet.
        self._problem: str | None = None
        self._version = ""

    @property
    def is_current(self) -> bool:
        """Whether the objects are all there are, as of now, as far as the API server tells."""
        return self._problem == ""

    @property
    def problem(self) -> str:
        """Why changes in the API are not heard of; empty when they are, or nobody has asked yet."""
        return self._problem or ""

    def wait_listed(self, seconds: float) -> bool:
        """Whether the objects were all there at some moment; waits for it."""
        return self._listed.wait(seconds)

    def all(self) -> dict[Name, T]:
        with self._lock:
            return {name: kept for name, (_, kept) in self._objects.items()}

    def get(self, name: Name) -> T | None:
        with self._lock:
            entry = self._objects.get(name)
        return entry[1] if entry else None

    def put(self, obj: Object) -> None:
        """Know an object from the answer to a request of ours, before the watch tells of it."""
        with self._lock:
            self._objects[name_of(obj)] = self._entry(obj)

    def drop(self, name: Name) -> None:
        """Know that an object is gone before the watch tells."""
        with self._lock:
            self._objects.pop(name, None)

    def list_now(self, timeout_seconds: float) -> None:
        """Take in all objects there are. Not while `run` runs. Raises ApiError, ClusterUnavailableError."""
        self._version = self._list(timeout_seconds)

    def run(self) -> None:
        """List, where that was not done yet, and watch until closed."""
        version = self._version
        pauses = _pauses()
        while not self._closed.is_set():
            try:
                version = version or self._list(_LIST_SECONDS)
                self._tell_problem("")
                pauses = _pauses()
                version = self._follow(version)
            except (ApiError, ClusterUnavailableError) as error:
                if self._closed.is_set():
                    return
                if isinstance(error, ApiError) and error.is_gone:
                    version = ""
                    continue
                self._tell_problem(str(error))
                self._closed.wait(jittered(next(pauses)))

    def close(self) -> None:
        """End `run`, wherever it is."""
        self._closed.set()
        watch = self._watch
        if watch is not None:
            watch.close()

    def _list(self, timeout_seconds: float) -> str:
        """Take in all objects there are; the version of that moment."""
        found: dict[Name, tuple[int, T]] = {}
        query = {**self._selector, "limit": _PAGE}
        while True:
            page = self._api.call("GET", self._path, query=query, timeout_seconds=timeout_seconds)
            for item in page.get("items") or ():
                found[name_of(item)] = self._entry(item)
            metadata = page.get("metadata") or {}
            if not (token := metadata.get("continue")):
                break
            query["continue"] = token
        with self._lock:
            before, self._objects = self._objects, found
        self._listed.set()
        for name in before.keys() | found.keys():
            if before.get(name) != found.get(name):
                self._on_change(name)
        return str(metadata.get("resourceVersion", ""))

    def _follow(self, version: str) -> str:
        """Take in changes until the watch's time is over; the version to go on from."""
        # Of many nodes not all at the same moment.
        seconds = self._watch_seconds * random.uniform(1.0, 2.0)  # noqa: S311 - nobody gains by guessing it
        query = {**self._selector, "resourceVersion": version, "allowWatchBookmarks": "true"}
        watch = self._api.watch(self._path, query=query, timeout_seconds=seconds)
        self._watch = watch
        if self._closed.is_set():
            watch.close()
        for kind, obj in watch:
            version = str((obj.get("metadata") or {}).get("resourceVersion") or version)
            if kind != "BOOKMARK":
                self._take(kind, obj)
        return version

    def _take(self, kind: str, obj: Object) -> None:
        name, entry = name_of(obj), self._entry(obj)
        with self._lock:
            known = self._objects.get(name)
            if known is not None and entry[0] < known[0]:
                return
            if kind == "DELETED":
                self._objects.pop(name, None)
            else:
                self._objects[name] = entry
        if kind == "DELETED" or known != entry:
            self._on_change(name)

    def _entry(self, obj: Object) -> tuple[int, T]:
        # Opaque by the letter of the API, and compared as numbers by everybody, client-go among them.
        version = str((obj.get("metadata") or {}).get("resourceVersion", ""))
        return int(version) if version.isdecimal() else 0, self._keep(obj)

    def _tell_problem(self, problem: str) -> None:
        before, self._problem = self._problem, problem
        if problem and problem != before:
            log.warning(
                "does not hear of changes in the API",
                extra={log_keys.PATH: self._path, log_keys.REASON: problem},
            )
        elif before and not problem and self._listed.is_set():
            log.debug("hears of changes in the API", extra={log_keys.PATH: self._path})


def name_of(obj: Object) -> Name:
    """Namespace and name of an object of the API."""
    metadata = obj.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _pauses() -> Iterator[float]:
    return delays(first_seconds=_FIRST_DELAY_SECONDS, factor=2.0, max_seconds=_MAX_DELAY_SECONDS)
