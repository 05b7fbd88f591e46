"""The classes of one directory, as true as its files are: looked at when asked, parsed when changed."""

import contextlib
import dataclasses
import errno
import hashlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator

from sidecars.statussync.class_documents import Definition, read_definitions
from sscsi.core import log_keys
from sscsi.core.provider_class import GROUP, KIND, SecretProviderClass
from sscsi.errors import ClassInvalidError, ClassNotFoundError, ClusterUnavailableError
from sscsi.ports import ClassName

log = logging.getLogger(__name__)

_SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 4 * 1024 * 1024
# A file changed within the granularity of its own time stamp looks unchanged: a stamp this young proves nothing.
_SETTLED_SECONDS = 2.0
_MAX_HINTS = 3

Signature = tuple[int, int, int, int, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What one file said when it was last read; a `signature` of None is never trusted."""

    signature: Signature | None
    digest: bytes
    definitions: tuple[Definition, ...]


class ClassFiles:
    """SecretProviderClasses in *.yaml, *.yml and *.json directly in `directory`; hidden files are passed over.

    `now` is the clock of the files' times (time.time).
    """

    def __init__(self, directory: str, *, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._scan_begun = float("-inf")
        self._files: dict[str, _File] = {}
        self._by_name: dict[ClassName, list[Definition]] = {}
        self._nameless: list[Definition] = []
        self._said: set[str] = set()

    def get(self, namespace: str, name: str, *, timeout_seconds: float) -> SecretProviderClass:
        """The class. Raises ClassNotFoundError, ClassInvalidError, ClusterUnavailableError."""
        self._refresh(timeout_seconds)
        definitions = self._by_name.get((namespace, name), [])
        if not definitions:
            raise ClassNotFoundError(f'{KIND}.{GROUP} "{name}" not found{self._hints(namespace, name)}')
        problem = problem_of(definitions)
        if problem or definitions[0].spc is None:
            raise ClassInvalidError(f"{KIND} {namespace}/{name} can't be used: {problem}")
        return definitions[0].spc

    def revisions(self, *, timeout_seconds: float) -> dict[ClassName, object]:
        """Every class that is there, with a value that is another when the class is."""
        self._refresh(timeout_seconds)
        return {name: tuple(definitions) for name, definitions in self._by_name.items()}

    def _refresh(self, timeout_seconds: float) -> None:
        """Have a scan that began after this call did; calls that wait for one share it."""
        asked = time.monotonic()
        if not self._lock.acquire(timeout=max(timeout_seconds, 0.0)):
            raise ClusterUnavailableError(f"reading {self._directory!r} takes too long; is its disk away?")
        try:
            if self._scan_begun < asked:
                begun = time.monotonic()
                self._scan()
                self._scan_begun = begun
        finally:
            self._lock.release()

    def _scan(self) -> None:
        try:
            files = {name: self._read(name, status) for name, status in class_files_in(self._directory)}
        except OSError as error:
            raise ClusterUnavailableError(
                f"cannot read the classes in {self._directory!r}: {errno.errorcode.get(error.errno or 0)}"
            ) from error
        if files == self._files:
            return
        by_name: dict[ClassName, list[Definition]] = {}
        nameless = []
        for name in sorted(files):
            for definition in files[name].definitions:
                if definition.class_name is None:
                    nameless.append(definition)
                else:
                    by_name.setdefault(definition.class_name, []).append(definition)
        self._files, self._by_name, self._nameless = files, by_name, nameless
        self._say_what_is_wrong()

    def _read(self, name: str, status: os.stat_result) -> _File:
        signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
        known = self._files.get(name)
        if known is not None and known.signature == signature:
            return known
        settled = self._now() - max(status.st_mtime, status.st_ctime) > _SETTLED_SECONDS
        if status.st_size > MAX_FILE_BYTES:
            return _unreadable(name, f"{name}: larger than {MAX_FILE_BYTES} bytes; split it")
        try:
            content = content_of(os.path.join(self._directory, name))
        except OSError as error:
            # One file without rights, or just renamed, is no reason to lose the others.
            problem = f"{name}: can't be read: {errno.errorcode.get(error.errno or 0)}"
            return _unreadable(name, problem)
        digest = hashlib.sha256(content).digest()
        unchanged = known is not None and known.digest == digest
        definitions = known.definitions if known and unchanged else tuple(read_definitions(name, content))
        return _File(signature=signature if settled else None, digest=digest, definitions=definitions)

    def _hints(self, namespace: str, name: str) -> str:
        """What may be the reason that a class is not found: broken documents, or another namespace."""
        hints = [definition.problem for definition in self._nameless[:_MAX_HINTS]]
        elsewhere = sorted(found for found, other in self._by_name if other == name and found != namespace)
        if elsewhere:
            hints.append(f"there is one in namespace {elsewhere[0]}")
        return f" ({'; '.join(hints)})" if hints else ""

    def _say_what_is_wrong(self) -> None:
        """One log line for each problem, when it is new and when all are gone."""
        problems = {definition.problem for definition in self._nameless}
        problems |= {
            problem for definitions in self._by_name.values() if (problem := problem_of(definitions))
        }
        for problem in sorted(problems - self._said):
            log.warning("a class can't be used", extra={log_keys.REASON: problem})
        if self._said and not problems:
            log.info("all classes can be used", extra={log_keys.COUNT: len(self._by_name)})
        self._said = problems


def problem_of(definitions: list[Definition]) -> str:
    """Why the class with these definitions can't be used; empty when it can."""
    if len(definitions) > 1:
        places = " and ".join(definition.place for definition in definitions)
        return f"it is defined more than once, in {places}; remove all but one"
    return definitions[0].problem


def class_files_in(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Name and status of each class file; links are followed, as a mounted ConfigMap is made of them."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.endswith(_SUFFIXES):
                continue
            with contextlib.suppress(FileNotFoundError):  # removed since the listing
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    status = _link_target(entry) or status
                if not stat.S_ISDIR(status.st_mode):
                    yield entry.name, status


def _link_target(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        # The reader will say what is wrong with it.
        return None


def content_of(path: str) -> bytes:
    """The first MAX_FILE_BYTES of a file; a FIFO yields nothing. Raises OSError."""
    with open(path, "rb", opener=_open_without_waiting) as file:
        return file.read(MAX_FILE_BYTES)


def _open_without_waiting(path: str, flags: int) -> int:
    """A FIFO must not stop the room."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def _unreadable(name: str, problem: str) -> _File:
    definition = Definition(class_name=None, place=name, spc=None, problem=problem)
    return _File(signature=None, digest=b"", definitions=(definition,))
