"""Status objects and Secrets as YAML files below PATH/status: the embedded form's API server.

`status/<plural>/<namespace>/<name>.yaml`, files 0600, directories 0700, each file replaced whole by rename.
Every directory is opened from its parent by descriptor, no link followed, so that nobody who may write to PATH
sends a Secret elsewhere. A name that Kubernetes would not allow, or that is too long for a file, is replaced by
`_` and its hash: no other name begins so. The first line says that the file is ours; another's is left alone.
"""

import contextlib
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from sidecars.statussync import yaml_nodes
from sidecars.statussync.metrics import CREATE, DELETE, PATCH, SyncMetrics
from sscsi.core import pod_status, secret_data
from sscsi.core.kubernetes_names import is_subdomain
from sscsi.errors import ClusterUnavailableError, ObjectNotOursError
from sscsi.ports import ObjectKey

PLURALS = {
    pod_status.KIND: "secretproviderclasspodstatuses",
    secret_data.KIND: "secrets",
}
_SUFFIX = ".yaml"
_TEMPORARY = ".sscsi-new-"
_DERIVED = "_"
_MARK = b"# Made by sscsi-statussync, which makes it anew when it is changed and removes it when it is not wanted.\n"
_MAX_FILE_NAME = 255
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# open(2) of a symbolic link that is not to be followed, and of a socket.
_NOT_FILES = (errno.ELOOP, errno.ENXIO)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# libyaml where PyYAML was built with it: a Secret may be a megabyte.
_BASE_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = type("_Dumper", (_BASE_DUMPER,), {"ignore_aliases": lambda _self, _data: True})


class ObjectFiles:
    """The files below `directory` (PATH/status). All methods raise ClusterUnavailableError."""

    def __init__(self, directory: str, metrics: SyncMetrics | None = None) -> None:
        self._directory = directory
        self._metrics = metrics or SyncMetrics()
        # Making an object in a namespace's directory, and removing the last one with it, must not meet.
        self._lock = threading.Lock()

    def write(self, key: ObjectKey, manifest: Mapping[str, object]) -> bool:
        """Make the file so; False when it was. Raises ObjectNotOursError."""
        try:
            verb = self._write(key, _MARK + encode(manifest))
        except ClusterUnavailableError:
            self._metrics.object_write(key.kind, CREATE, is_ok=False)
            raise
        if verb:
            self._metrics.object_write(key.kind, verb, is_ok=True)
        return bool(verb)

    def _write(self, key: ObjectKey, content: bytes) -> str:
        """What was done, CREATE or PATCH; empty when nothing had to be."""
        name = _file_name(key.name)
        with self._lock, self._explained("write", key), self._namespace(key, make=True) as directory:
            present = _read(directory, name)
            # An empty file is what a power loss leaves of a new one; nobody misses it.
            if present and not present.startswith(_MARK):
                raise ObjectNotOursError(
                    f"{key}: {self._path(key)!r} is there and was not made by status-sync; remove it"
                )
            if present == content and _is_private(directory, name):
                return ""
            _replace(directory, name, content)
            return CREATE if present is None else PATCH

    def read(self, key: ObjectKey) -> dict[str, Any] | None:
        """What our file holds; None when there is none, or none that can be understood."""
        with self._lock, self._explained("read", key):
            try:
                with self._namespace(key, make=False) as directory:
                    content = _read(directory, _file_name(key.name))
            except FileNotFoundError:
                return None
        if not content or not content.startswith(_MARK):
            return None
        try:
            document = yaml.load(content, Loader=_Loader)  # noqa: S506 - a safe loader, in C where there is one
        except yaml.YAMLError:
            return None
        return document if isinstance(document, dict) else None

    def remove(self, key: ObjectKey) -> bool:
        """Remove the file if it is ours; False when there was none."""
        try:
            is_removed = self._remove(key)
        except ClusterUnavailableError:
            self._metrics.object_write(key.kind, DELETE, is_ok=False)
            raise
        if is_removed:
            self._metrics.object_write(key.kind, DELETE, is_ok=True)
        return is_removed

    def _remove(self, key: ObjectKey) -> bool:
        name = _file_name(key.name)
        with self._lock, self._explained("remove", key):
            try:
                with self._namespace(key, make=False) as directory:
                    if not _is_ours(directory, name):
                        return False
                    os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                return False
            self._remove_empty_namespace(key)
            return True

    def list_ours(self, kind: str) -> set[ObjectKey]:
        """Every object of `kind` whose file is ours."""
        with self._lock, self._explained("list", kind):
            return set(self._ours(kind))

    def remove_leftovers(self) -> None:
        """Remove what a killed predecessor was writing."""
        for kind in PLURALS:
            with self._lock, self._explained("clean", kind):
                for _, directory in self._namespaces(kind):
                    for name in os.listdir(directory):
                        if name.startswith(_TEMPORARY):
                            os.unlink(name, dir_fd=directory)

    def _ours(self, kind: str) -> Iterator[ObjectKey]:
        for namespace_name, directory in self._namespaces(kind):
            for name in os.listdir(directory):
                if name.startswith(".") or not name.endswith(_SUFFIX):
                    continue
                if not _is_ours(directory, name):
                    continue
                key: ObjectKey | None = ObjectKey(kind, namespace_name, name.removesuffix(_SUFFIX))
                if name.startswith(_DERIVED) or namespace_name.startswith(_DERIVED):
                    key = _key_within(kind, _read(directory, name) or b"")
                # Whoever renamed or edited our file made it theirs.
                if key and (_safe_name(key.namespace), _file_name(key.name)) == (namespace_name, name):
                    yield key

    def _namespaces(self, kind: str) -> Iterator[tuple[str, int]]:
        """Name and descriptor of each namespace's directory."""
        with contextlib.ExitStack() as opened:
            try:
                root = opened.enter_context(_opened(self._directory, None))
                parent = opened.enter_context(_opened(PLURALS[kind], root))
            except FileNotFoundError:
                return
            for name in os.listdir(parent):
                if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    with _opened(name, parent) as directory:
                        yield name, directory

    @contextlib.contextmanager
    def _namespace(self, key: ObjectKey, *, make: bool) -> Iterator[int]:
        with contextlib.ExitStack() as opened:
            directory = None
            for name in (self._directory, PLURALS[key.kind], _safe_name(key.namespace)):
                if make:
                    make_private(name, directory)
                directory = opened.enter_context(_opened(name, directory))
            if directory is not None:
                yield directory

    def _remove_empty_namespace(self, key: ObjectKey) -> None:
        with (
            contextlib.suppress(OSError),
            _opened(self._directory, None) as root,
            _opened(PLURALS[key.kind], root) as parent,
        ):
            # Not empty is the usual answer; a directory that stays does no harm.
            os.rmdir(_safe_name(key.namespace), dir_fd=parent)

    def _path(self, key: ObjectKey) -> str:
        parts = (self._directory, PLURALS[key.kind], _safe_name(key.namespace), _file_name(key.name))
        return os.path.join(*parts)

    @contextlib.contextmanager
    def _explained(self, verb: str, what: object) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "unknown error")
            raise ClusterUnavailableError(f"cannot {verb} {what} in {self._directory!r}: {reason}") from error


def encode(manifest: Mapping[str, object]) -> bytes:
    """The manifest as YAML, in the order of its keys: equal manifests are equal bytes."""
    text = yaml.dump(
        manifest, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=2**30
    )
    return str(text).encode()


def make_private(name: str, parent: int | None = None) -> None:
    """A directory of mode 0700, whoever made it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    with _opened(name, parent) as directory:
        if os.fstat(directory).st_mode & 0o077:
            os.fchmod(directory, 0o700)


def _safe_name(name: str) -> str:
    if is_subdomain(name) and len(name) + len(_SUFFIX) <= _MAX_FILE_NAME:
        return name
    return _DERIVED + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _file_name(name: str) -> str:
    return _safe_name(name) + _SUFFIX


def _key_within(kind: str, content: bytes) -> ObjectKey | None:
    """The key of an object whose file name does not tell it."""
    try:
        (root,) = yaml_nodes.documents(content.decode())
    except ValueError:
        return None
    metadata = yaml_nodes.find(root, ("metadata",))
    namespace, name = (yaml_nodes.scalar(yaml_nodes.child(metadata, key)) for key in ("namespace", "name"))
    return ObjectKey(kind, namespace, name)


def _is_ours(directory: int, name: str) -> bool:
    return (_read(directory, name, len(_MARK)) or b"") == _MARK


def _is_private(directory: int, name: str) -> bool:
    return not os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode & 0o077


def _read(directory: int, name: str, limit: int = -1) -> bytes | None:
    """Up to `limit` bytes of a file, a dash for what is no regular file, so that it counts as somebody's; None when there is none."""
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NOT_FILES:
            return b"-"
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b"-"
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def _replace(directory: int, name: str, content: bytes) -> None:
    temporary = _TEMPORARY + hashlib.sha256(name.encode()).hexdigest()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    descriptor = os.open(temporary, _CREATE, 0o600, dir_fd=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


@contextlib.contextmanager
def _opened(name: str, parent: int | None) -> Iterator[int]:
    descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
