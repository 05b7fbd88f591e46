"""Objects of the API, kept here as they are there: a list once, then a watch that goes on where the last one ended."""

import dataclasses
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from sidecars.statussync.kube.api import JSON, METADATA, METADATA_LIST, KubeApi, Object, Watch, jittered
from sidecars.statussync.kube.api_errors import GARBAGE, UNREACHABLE, ApiError
from sscsi.core import log_keys, log_levels
from sscsi.core.backoff import delays
from sscsi.errors import ClusterUnavailableError

log = logging.getLogger(__name__)

_LIST_SECONDS = 30.0
_PAGE = "500"
_FIRST_DELAY_SECONDS = 0.5
_MAX_DELAY_SECONDS = 30.0
# A watch that is over sooner than it was to be is no reason to ask for the next one at once.
_WHOLE = 0.9

T = TypeVar("T")
Name = tuple[str, str]
"""Namespace and name."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How objects are asked for.

    `metadata_only`: nothing else of them comes. `from_cache`: a list is what the API server has in memory, a moment old
    perhaps: without that, a selector by field has it read every object of the kind from etcd. `forbidden_seconds`: how long
    to wait once the right was missing for a minute; not 0, whoever reads `is_forbidden` tells of it in place of the log.
    """

    metadata_only: bool = False
    from_cache: bool = False
    forbidden_seconds: float = 0.0

    def pause(self, seconds: float, *, is_forbidden: bool) -> float:
        """How long to wait before the next try, where it would be `seconds` after any failure."""
        is_lasting = is_forbidden and seconds >= _MAX_DELAY_SECONDS
        return max(seconds, self.forbidden_seconds) if is_lasting else seconds


class Watched(Generic[T]):
    """The objects at `path` that `selector` (query parameters) takes.

    `keep` makes of each what is remembered of it. A thread of its own runs `run`; `objects` and `problem` may be read by any,
    and `on_change` is called by it after each change, with the object's name; `on_return` when changes are heard of again.
    """

    def __init__(
        self,
        api: KubeApi,
        path: str,
        selector: Mapping[str, str],
        *,
        keep: Callable[[Object], T],
        on_change: Callable[[Name], None],
        on_return: Callable[[], None] = lambda: None,
        watch_seconds: float,
        terms: Terms = Terms(),
    ) -> None:
        self._api = api
        self._path = path
        self._selector = dict(selector)
        self._keep = keep
        self._on_change = on_change
        self._on_return = on_return
        self._watch_seconds = watch_seconds
        self._terms = terms
        self._lock = threading.Lock()
        # With the version of each, so that news older than the answer to our own write is none.
        self._objects: dict[Name, tuple[int, T]] = {}
        self._listed = threading.Event()
        self._closed = threading.Event()
        self._watch: Watch | None = None
        self._problem = ""
        self._is_forbidden = False
        self._is_current = False
        # What a watch goes on from; empty when only a list will do.
        self._version = ""
        self._changes = 0
        # What we put or dropped while a list was under way that may not have it yet: for each list.
        self._lists: list[dict[Name, tuple[int, T] | None]] = []

    @property
    def is_current(self) -> bool:
        """Whether the objects are all there are, as of now: changes are being told."""
        return self._is_current

    @property
    def problem(self) -> str:
        """Why changes in the API are not heard of; empty when they are, or nobody has asked yet."""
        return self._problem

    @property
    def is_forbidden(self) -> bool:
        """Whether the right is missing; `problem` says which."""
        return self._is_forbidden

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
        name, entry = name_of(obj), self._entry(obj)
        with self._lock:
            known = self._objects.get(name)
            if known is not None and entry[0] < known[0]:
                return
            self._objects[name] = entry
            for ours in self._lists:
                ours[name] = entry

    def drop(self, name: Name) -> None:
        """Know that an object is gone before the watch tells."""
        with self._lock:
            self._objects.pop(name, None)
            for ours in self._lists:
                ours[name] = None

    def list_now(self, timeout_seconds: float) -> None:
        """Take in all objects there are; `run` may be in trouble meanwhile. Raises ApiError, ClusterUnavailableError."""
        self._list(timeout_seconds)

    def run(self) -> None:
        """List, where that was not done yet, and watch until closed."""
        pauses = _pauses()
        while not self._closed.is_set():
            begun = time.monotonic()
            try:
                if not self._version:
                    self._list(_LIST_SECONDS)
                    begun = time.monotonic()
                self._follow()
                pauses = _pauses()
                continue
            except (ApiError, ClusterUnavailableError) as error:
                self._failed(error)
            finally:
                self._is_current = False
            if time.monotonic() - begun > _MAX_DELAY_SECONDS:
                pauses = _pauses()
            pause = self._terms.pause(next(pauses), is_forbidden=self._is_forbidden)
            self._closed.wait(jittered(pause))

    def close(self) -> None:
        """End `run`, wherever it is."""
        self._closed.set()
        watch = self._watch
        if watch is not None:
            watch.close()

    def _failed(self, error: ApiError | ClusterUnavailableError) -> None:
        if self._closed.is_set():
            return
        if isinstance(error, ApiError) and (error.is_gone or error.reason == GARBAGE):
            # From there it would go on as it ended.
            self._version = ""
        self._is_forbidden = isinstance(error, ApiError) and error.is_forbidden
        if not isinstance(error, ApiError) or not error.is_gone:
            self._tell_problem(str(error))

    def _list(self, timeout_seconds: float) -> None:
        """Take in all objects there are, and the version of that moment."""
        ours: dict[Name, tuple[int, T] | None] = {}
        with self._lock:
            self._lists.append(ours)
            changes = self._changes
        try:
            found, version = self._pages(timeout_seconds)
        finally:
            with self._lock:
                self._lists = [other for other in self._lists if other is not ours]
        with self._lock:
            if changes != self._changes:
                # The watch works again, and has told newer things than the list has.
                return
            for name, entry in ours.items():
                listed = found.get(name)
                if entry is None:
                    found.pop(name, None)
                elif listed is None or listed[0] < entry[0]:
                    found[name] = entry
            before, self._objects = self._objects, found
            self._version = version
        self._listed.set()
        for name in before.keys() | found.keys():
            if before.get(name) != found.get(name):
                self._on_change(name)

    def _pages(self, timeout_seconds: float) -> tuple[dict[Name, tuple[int, T]], str]:
        """All objects there are, and the version of that moment."""
        found: dict[Name, tuple[int, T]] = {}
        # What comes from the cache comes whole: the API server takes no limit for it.
        query = {
            **self._selector,
            **({"resourceVersion": "0"} if self._terms.from_cache else {"limit": _PAGE}),
        }
        accept = METADATA_LIST if self._terms.metadata_only else JSON
        while True:
            page = self._api.call(
                "GET", self._path, query=query, accept=accept, timeout_seconds=timeout_seconds
            )
            items = page.get("items") or []
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise ApiError(f"GET {self._path}: the answer is no list", code=200, reason=GARBAGE)
            for item in items:
                found[name_of(item)] = self._entry(item)
            if not (token := metadata_of(page).get("continue")):
                return found, _version_of(page)
            query["continue"] = str(token)

    def _follow(self) -> None:
        """Take in changes until the watch's time is over.

        Raises ApiError, ClusterUnavailableError; also when it is over too soon.
        """
        # Of many nodes not all at the same moment.
        seconds = self._watch_seconds * random.uniform(1.0, 2.0)  # noqa: S311 - nobody gains by guessing it
        query = {**self._selector, "resourceVersion": self._version, "allowWatchBookmarks": "true"}
        accept = METADATA if self._terms.metadata_only else JSON
        watch = self._api.watch(self._path, query=query, accept=accept, timeout_seconds=seconds)
        self._watch = watch
        if self._closed.is_set():
            watch.close()
        begun = time.monotonic()
        self._is_current = True
        self._is_forbidden = False
        self._tell_problem("")
        for event in watch:
            self._take(*event)
            # It may be large, and the next one may come in an hour.
            del event
        if time.monotonic() - begun < int(seconds) * _WHOLE:
            raise ApiError(f"watch {self._path}: it was over too soon", code=0, reason=UNREACHABLE)

    def _take(self, kind: str, obj: Object) -> None:
        version = _version_of(obj)
        if kind == "BOOKMARK":
            self._version = version or self._version
            return
        name, entry = name_of(obj), self._entry(obj)
        with self._lock:
            self._version = version or self._version
            self._changes += 1
            known = self._objects.get(name)
            if known is not None and entry[0] < known[0]:
                return
            if kind == "DELETED":
                self._objects.pop(name, None)
            else:
                self._objects[name] = entry
        if known != (None if kind == "DELETED" else entry):
            self._on_change(name)

    def _entry(self, obj: Object) -> tuple[int, T]:
        # Opaque by the letter of the API, and compared as numbers by everybody, client-go among them.
        version = _version_of(obj)
        number = int(version) if version.isdecimal() else 0
        try:
            return number, self._keep(obj)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ApiError(
                f"{self._path}: an object has not the form that it should", code=200, reason=GARBAGE
            ) from error

    def _tell_problem(self, problem: str) -> None:
        before, self._problem = self._problem, problem
        is_told_elsewhere = self._is_forbidden and self._terms.forbidden_seconds > 0
        if problem and problem != before and not is_told_elsewhere:
            log.warning(
                "does not hear of changes in the API",
                extra={log_keys.PATH: self._path, log_keys.REASON: problem},
            )
        elif before and not problem:
            log.log(log_levels.DECISIONS, "hears of changes in the API", extra={log_keys.PATH: self._path})
            self._on_return()


def metadata_of(obj: Object) -> Object:
    """The metadata of an object of the API."""
    metadata = obj.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def name_of(obj: Object) -> Name:
    """Namespace and name of an object of the API."""
    metadata = metadata_of(obj)
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _version_of(obj: Object) -> str:
    return str(metadata_of(obj).get("resourceVersion") or "")


def _pauses() -> Iterator[float]:
    return delays(first_seconds=_FIRST_DELAY_SECONDS, factor=2.0, max_seconds=_MAX_DELAY_SECONDS)
