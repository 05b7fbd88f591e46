"""Files below one directory, and never outside of it, whatever a name or a symbolic link says.

The kernel resolves each name beneath a directory descriptor (openat2(2), RESOLVE_BENEATH): links that stay
inside work, as Kubernetes' own `..data` layouts need, those that lead out fail, and nobody can win a race by
exchanging a directory for a link. Without openat2 (Linux before 5.6, or a seccomp profile older than it) names
are walked part by part and every link is refused.
"""

import ctypes
import dataclasses
import errno
import os
import stat
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sscsi.errors import ContentTooLargeError, ObjectError

# openat2(2); the number is the same on all of Linux's architectures but alpha.
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
# The kernel asks for another try (EAGAIN) when a directory was renamed while `..` in a link was resolved.
_RESOLVE_TRIES = 16
_READ_TRIES = 5
_CHUNK_BYTES = 1 << 20
_PLACE = os.O_PATH | os.O_DIRECTORY
# O_NONBLOCK: opening a fifo or device must not wait; it is refused right after.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY

_libc = ctypes.CDLL(None, use_errno=True)

# (directory descriptor, relative name, open(2) flags, whether links are followed) -> descriptor; OSError.
Opener = Callable[[int, str, int, bool], int]


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryEntry:
    """One name in a directory. `is_directory` is said of a link's target, when that is inside."""

    name: str
    is_directory: bool
    is_link: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One try to read a file: its content, and whether it stayed the same meanwhile."""

    content: bytes = dataclasses.field(repr=False)
    is_settled: bool


class RootedFiles:
    """The files below one open directory. Close it, or use it in a `with` statement.

    `place` is what messages call the directory. All methods raise ObjectError with a text that names the file.
    """

    def __init__(self, place: str, descriptor: int, opener: Opener) -> None:
        self.place = place
        self._descriptor = descriptor
        self._open = opener

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def below(self, name: str) -> "RootedFiles":
        """The directory `name`, as a root of its own: no link out of it is followed, nor is it one itself."""
        try:
            descriptor = self._open(self._descriptor, name, _PLACE, False)
        except OSError as error:
            raise self._explained(name, "directory", error) from error
        return RootedFiles(os.path.join(self.place, name), descriptor, self._open)

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of the regular file `name`. Raises ContentTooLargeError over `max_bytes`.

        A file that is written in place while it is read is read again, a few times; one that is emptied first
        and filled later can't be told from a finished one: replace secrets by rename(2).
        """
        for _ in range(_READ_TRIES):
            reading = self._take(name, max_bytes)
            if reading.is_settled:
                return reading.content
        raise ObjectError(
            f"{name!r} below {self.place!r} keeps changing while it is read; replace it by rename"
        )

    def list_directory(self, name: str) -> list[DirectoryEntry]:
        """The names in directory `name` (empty: the root itself), sorted."""
        try:
            descriptor = self._open(self._descriptor, name or ".", os.O_RDONLY | os.O_DIRECTORY, True)
        except OSError as error:
            raise self._explained(name, "directory", error) from error
        try:
            with os.scandir(descriptor) as entries:
                return sorted((self._entry(name, entry) for entry in entries), key=lambda entry: entry.name)
        except OSError as error:
            raise self._explained(name, "directory", error) from error
        finally:
            os.close(descriptor)

    def _entry(self, directory: str, entry: "os.DirEntry[str]") -> DirectoryEntry:
        is_link = entry.is_symlink()
        is_directory = (
            self._leads_to_directory(os.path.join(directory, entry.name))
            if is_link
            else entry.is_dir(follow_symlinks=False)
        )
        return DirectoryEntry(name=entry.name, is_directory=is_directory, is_link=is_link)

    def _leads_to_directory(self, name: str) -> bool:
        try:
            os.close(self._open(self._descriptor, name, _PLACE, True))
        except OSError:
            # Whatever it is, it is no directory that may be entered; reading it says what is wrong.
            return False
        return True

    def _take(self, name: str, max_bytes: int) -> Reading:
        try:
            descriptor = self._open(self._descriptor, name, _FILE, True)
        except OSError as error:
            raise self._explained(name, "file", error) from error
        try:
            return self._take_open(descriptor, name, max_bytes)
        except OSError as error:
            raise self._explained(name, "file", error) from error
        finally:
            os.close(descriptor)

    def _take_open(self, descriptor: int, name: str, max_bytes: int) -> Reading:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise self._not_regular(name)
        content = _read_up_to(descriptor, max_bytes + 1) if before.st_size <= max_bytes else b""
        size = max(before.st_size, len(content))
        if size > max_bytes:
            raise ContentTooLargeError(f"{name!r} has {size} bytes")
        after = os.fstat(descriptor)
        return Reading(content=content, is_settled=_generation(before) == _generation(after))

    def _not_regular(self, name: str) -> ObjectError:
        return ObjectError(
            f"{name!r} below {self.place!r} is not a regular file (a directory, fifo, socket or device)"
        )

    def _explained(self, name: str, kind: str, error: OSError) -> ObjectError:
        where = f"{name!r} below {self.place!r}"
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return ObjectError(f"there is no {kind} {where}")
        if error.errno == errno.EXDEV:
            return ObjectError(f"{where} leads out of that directory; links may only lead to what is inside")
        if error.errno == errno.ELOOP:
            return ObjectError(f"{where} is, or leads over, a symbolic link that may not be followed here")
        if error.errno in {errno.EACCES, errno.EPERM}:
            return ObjectError(
                f"no permission to read {where} as user {os.geteuid()}, group {os.getegid()}: change its owner or mode"
            )
        if error.errno == errno.ENXIO:
            return self._not_regular(name)
        return ObjectError(f"cannot read {where}: {errno.errorcode.get(error.errno or 0, 'unknown error')}")


def open_root(path: str, opener: Opener) -> RootedFiles:
    """Open the directory `path`; links in `path` itself are followed. Raises ObjectError."""
    try:
        descriptor = os.open(path, _PLACE | os.O_CLOEXEC)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "unknown error")
        raise ObjectError(f"cannot open directory {path!r}: {name}") from error
    return RootedFiles(path, descriptor, opener)


def choose_opener() -> Opener:
    """The kernel's own resolution where it can be had, else the walk."""
    descriptor = os.open("/", _PLACE | os.O_CLOEXEC)
    try:
        os.close(open_by_kernel(descriptor, ".", _PLACE, False))
    except OSError as error:
        # EPERM: a container runtime whose seccomp profile does not know the call.
        if error.errno in {errno.ENOSYS, errno.EPERM}:
            return open_by_walking
        raise
    finally:
        os.close(descriptor)
    return open_by_kernel


def open_by_kernel(directory: int, name: str, flags: int, follow_links: bool) -> int:
    """An Opener on openat2(2)."""
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | (0 if follow_links else _RESOLVE_NO_SYMLINKS)
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=0, resolve=resolve)
    path = _path_bytes(name)
    code = errno.EAGAIN
    for _ in range(_RESOLVE_TRIES):
        descriptor = int(
            _libc.syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_long(directory),
                ctypes.c_char_p(path),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )
        if descriptor >= 0:
            return descriptor
        code = ctypes.get_errno()
        if code not in {errno.EAGAIN, errno.EINTR}:
            break
    raise OSError(code, os.strerror(code), name)


def open_by_walking(directory: int, name: str, flags: int, follow_links: bool) -> int:  # noqa: ARG001 - an Opener
    """An Opener that follows no link at all, even where it might."""
    if name.startswith("/") or ".." in name.split("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    _path_bytes(name)
    *parents, last = name.split("/")
    here = os.dup(directory)
    try:
        for part in parents:
            inner = _open_unlinked(here, part or ".", _PLACE)
            os.close(here)
            here = inner
        return _open_unlinked(here, last or ".", flags)
    finally:
        os.close(here)


def _open_unlinked(directory: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except NotADirectoryError:
        # O_PATH | O_DIRECTORY says so of a link, too; the reader of the message wants to know which it is.
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


def _path_bytes(name: str) -> bytes:
    """The name for the kernel; C would end it at a NUL and open something else."""
    if "\0" in name or not name:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT)) from None


def _read_up_to(descriptor: int, count: int) -> bytes:
    chunks = []
    while count > 0 and (chunk := os.read(descriptor, min(count, _CHUNK_BYTES))):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def _generation(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
