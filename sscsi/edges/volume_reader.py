"""Reads the files of a published volume for its Secrets, and nothing else.

Everything is resolved beneath a descriptor of the volume's root, one component at a time and following no
link; `..data` alone is read as text, once. When a refresh swapped it meanwhile, reading starts again, so that
a certificate and its key come from the same version (design P7).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from sscsi.core.published_volume import PublishedVolume
from sscsi.errors import TargetPathError

_DATA_LINK = "..data"
_ATTEMPTS = 5
# Each level holds a descriptor; nobody's secrets are in more.
_MAX_DEPTH = 64
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that a provider made must not stop the reader.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# Nothing there, a link in the way, or a socket.
_NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})

_Paths = Mapping[str, tuple[str, ...]]
"""Components of paths, by name."""


class VolumeReader:
    """The VolumeFiles port on the node's own file system."""

    def read(
        self, volume: PublishedVolume, names: Sequence[str] | None, *, limit_bytes: int
    ) -> dict[str, bytes]:
        paths = None if names is None else {name: path for name in names if (path := _components(name))}
        try:
            with _opened(volume.target_path, None) as root:
                if not volume.data_directory:
                    return _read_files(root, paths, limit_bytes)
                return _read_version(volume.target_path, root, paths, limit_bytes)
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "unknown error")
            raise TargetPathError(f"cannot read the volume at {volume.target_path!r}: {reason}") from error


def _components(name: str) -> tuple[str, ...]:
    """The path's components; none when no file of a volume can have that path."""
    parts = tuple(name.split("/"))
    sound = all(part and part not in {".", ".."} and "\0" not in part for part in parts)
    return parts if sound and not parts[0].startswith("..") else ()


def _read_version(target_path: str, root: int, paths: _Paths | None, limit_bytes: int) -> dict[str, bytes]:
    for _ in range(_ATTEMPTS):
        name = os.readlink(_DATA_LINK, dir_fd=root)
        if "/" in name or not name.startswith("..") or name == "..":
            raise TargetPathError(f"the volume at {target_path!r} has a {_DATA_LINK} that leads out of it")
        try:
            with _opened(name, root) as version:
                contents = _read_files(version, paths, limit_bytes)
        except FileNotFoundError:
            # Swapped, and the old version removed, between the link and the opening: the link tells.
            contents = None
        if os.readlink(_DATA_LINK, dir_fd=root) == name:
            if contents is None:
                raise TargetPathError(f"the volume at {target_path!r} has a {_DATA_LINK} that leads nowhere")
            return contents
    raise TargetPathError(f"the volume at {target_path!r} changes too quickly to be read")


def _read_files(root: int, paths: _Paths | None, limit_bytes: int) -> dict[str, bytes]:
    return _read_every(root, limit_bytes) if paths is None else _read_named(root, paths, limit_bytes)


def _read_named(root: int, paths: _Paths, limit_bytes: int) -> dict[str, bytes]:
    contents = {}
    for name, parts in paths.items():
        content = _read_file(root, parts, limit_bytes)
        if content is not None:
            contents[name] = content
    return contents


def _read_every(root: int, limit_bytes: int) -> dict[str, bytes]:
    """All files in the order of their names, until they are over the limit."""
    contents: dict[str, bytes] = {}
    total = 0
    for parts in sorted(_walk(root, ())):
        content = _read_file(root, parts, limit_bytes)
        if content is not None:
            contents["/".join(parts)] = content
            total += len(content)
        if total > limit_bytes:
            break
    return contents


def _walk(directory: int, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The path of each regular file below that a name could tell; links are not followed."""
    if len(above) > _MAX_DEPTH:
        raise OSError(errno.ENAMETOOLONG, "directories within directories without end")
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not above and name.startswith(".."):
            continue
        if is_directory:
            with _opened(name, directory) as below:
                yield from _walk(below, (*above, name))
        else:
            yield (*above, name)


def _read_file(root: int, parts: tuple[str, ...], limit_bytes: int) -> bytes | None:
    """Up to `limit_bytes` + 1 bytes; None when there is no regular file, or a link is in the way."""
    with contextlib.ExitStack() as opened:
        directory = root
        try:
            for part in parts[:-1]:
                directory = opened.enter_context(_opened(part, directory))
            descriptor = os.open(parts[-1], _OPEN_FILE, dir_fd=directory)
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return None
            raise
        opened.callback(os.close, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit_bytes + 1)


@contextlib.contextmanager
def _opened(name: str, parent: int | None) -> Iterator[int]:
    descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
