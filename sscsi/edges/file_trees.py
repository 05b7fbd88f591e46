"""Volumes' files by directory descriptor: no path is looked up twice, no symlink is followed."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Self

from sscsi.core.file_plan import (
    DATA_LINK,
    EntryKind,
    FileState,
    PlannedFile,
    RootEntry,
    directory_mode,
    file_mode,
)
from sscsi.core.volume_record import ContentFile
from sscsi.errors import ContentTooLargeError, SscsiError, TargetPathError
from sscsi.ports import Usage

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 18
_PERMISSIONS = 0o777
# A self-writing provider's tree is recorded file by file: what no volume needs is not searched.
_MAX_LISTED_FILES = 8192


class LinuxVolumeTree:
    """The VolumeTree port. Owns the root's descriptor, and that of the version being written."""

    def __init__(self, path: str, root: int, umask: int) -> None:
        self._path = path
        self._root = root
        self._umask = umask
        status = os.fstat(root)
        self._device = status.st_dev
        # Asked for several times in a publish; only `set_group` changes it.
        self._group = status.st_gid if status.st_mode & stat.S_ISGID else None
        self._version = -1
        self._version_name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close_version()
        os.close(self._root)

    @property
    def device(self) -> int:
        return self._device

    @property
    def group(self) -> int | None:
        return self._group

    def read_root(self) -> dict[str, RootEntry]:
        with self._doing("list"), os.scandir(self._root) as entries:
            return {entry.name: self._root_entry(entry) for entry in entries}

    def read_data_link(self) -> str:
        try:
            return os.readlink(DATA_LINK, dir_fd=self._root)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINVAL}:
                return ""
            raise self._error("read", DATA_LINK, error) from error

    def list_directory(self, name: str) -> list[str]:
        try:
            with _opened(name, _DIRECTORY, self._root) as directory:
                return os.listdir(directory)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                return []
            raise self._error("list", name, error) from error

    def read_version(self, name: str) -> dict[str, FileState]:
        states = {}
        with self._doing("read", name), _opened(name, _DIRECTORY, self._root) as version:
            for path, directory, file_name in _walk(version, skip_dotdot=False):
                with _opened(file_name, _READ, directory) as file:
                    status = os.fstat(file)
                    states[path] = FileState(
                        mode=status.st_mode & _PERMISSIONS, gid=status.st_gid, digest=_digest(file)
                    )
        return states

    def list_files(self) -> tuple[ContentFile, ...]:
        found = []
        with self._doing("list"):
            for path, directory, name in _walk(self._root, skip_dotdot=True):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                found.append(ContentFile(path=path, size=status.st_size, inode=status.st_ino))
                if len(found) > _MAX_LISTED_FILES:
                    raise ContentTooLargeError(
                        f"the provider wrote more than {_MAX_LISTED_FILES} files to {self._path}"
                    )
        return tuple(sorted(found, key=lambda file: file.path))

    def set_group(self, gid: int) -> None:
        with self._doing("set the group of"):
            os.fchown(self._root, -1, gid)
            os.fchmod(self._root, directory_mode(grouped=True))
        self._group = gid

    def grant_group_read(self, files: Sequence[ContentFile]) -> None:
        wanted = {file.path for file in files}
        with self._doing("let the group read"):
            gid = os.fstat(self._root).st_gid
            for path, directory, name in _walk(self._root, skip_dotdot=True):
                if path in wanted:
                    with _opened(name, _READ, directory) as file:
                        status = os.fstat(file)
                        mode = status.st_mode & _PERMISSIONS
                        # What was written before the volume had its group is another's.
                        if status.st_gid != gid:
                            os.fchown(file, -1, gid)
                        if file_mode(mode, grouped=True) != mode:
                            os.fchmod(file, file_mode(mode, grouped=True))

    def make_version(self, name: str, mode: int) -> None:
        with self._doing("make", name):
            os.mkdir(name, 0o700, dir_fd=self._root)
            self._open_version(name)
            os.fchmod(self._version, mode)

    def make_directory(self, version: str, path: str, mode: int) -> None:
        with self._doing("make", path):
            self._open_version(version)
            os.mkdir(path, 0o700, dir_fd=self._version)
            # The version directory is this process's own and new: no link is in it to be followed.
            os.chmod(path, mode, dir_fd=self._version)

    def write_file(self, version: str, file: PlannedFile) -> None:
        # One of these a file: plain code here, as context managers would be a third of the time.
        try:
            self._open_version(version)
            descriptor = os.open(file.path, _CREATE, file.mode & ~self._umask, dir_fd=self._version)
            try:
                written = os.write(descriptor, file.contents)
                while written < len(file.contents):
                    written += os.write(descriptor, file.contents[written:])
                if file.mode & self._umask:
                    os.fchmod(descriptor, file.mode)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._error("write", file.path, error) from error

    def add_link(self, name: str, target: str) -> None:
        try:
            os.symlink(target, name, dir_fd=self._root)
        except OSError as error:
            raise self._error("link", name, error) from error

    def rename(self, name: str, new_name: str) -> None:
        with self._doing("rename", name):
            os.rename(name, new_name, src_dir_fd=self._root, dst_dir_fd=self._root)

    def remove(self, name: str) -> None:
        if name == self._version_name:
            self._close_version()
        with self._doing("remove", name):
            _remove(name, self._root, _mount_id(self._root))

    def _root_entry(self, entry: "os.DirEntry[str]") -> RootEntry:
        if entry.is_symlink():
            return RootEntry(kind=EntryKind.LINK, target=os.readlink(entry.name, dir_fd=self._root))
        kind = EntryKind.DIRECTORY if entry.is_dir(follow_symlinks=False) else EntryKind.OTHER
        return RootEntry(kind=kind, target="")

    def _open_version(self, name: str) -> None:
        if name != self._version_name:
            self._close_version()
            self._version = os.open(name, _DIRECTORY, dir_fd=self._root)
            self._version_name = name

    def _close_version(self) -> None:
        if self._version >= 0:
            os.close(self._version)
        self._version, self._version_name = -1, ""

    @contextlib.contextmanager
    def _doing(self, verb: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(verb, name, error) from error

    def _error(self, verb: str, name: str, error: OSError) -> SscsiError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return ContentTooLargeError(
                f"volume {self._path} is full; --content-limit sets its size: raise it or deliver less"
            )
        return TargetPathError(f"cannot {verb} {name or 'files'!r} in {self._path}: {_errno_name(error)}")


class LinuxFileTrees:
    """The FileTrees port. Reads the process's umask once: nothing in the appliance changes it later."""

    def __init__(self) -> None:
        self._umask = os.umask(0o022)
        os.umask(self._umask)

    def open(self, path: str) -> LinuxVolumeTree:
        try:
            return LinuxVolumeTree(path, os.open(path, _DIRECTORY), self._umask)
        except OSError as error:
            raise TargetPathError(f"cannot open target path {path}: {_errno_name(error)}") from error

    def empty_plain_directory(self, path: str) -> None:
        try:
            with _opened(path, _DIRECTORY, None) as directory:
                _empty(directory, _mount_id(directory))
        except FileNotFoundError:
            return
        except OSError as error:
            raise TargetPathError(f"cannot empty directory {path}: {_errno_name(error)}") from error

    def usage(self, path: str) -> Usage:
        try:
            status = os.statvfs(path)
        except OSError as error:
            raise TargetPathError(f"cannot read the usage of {path}: {_errno_name(error)}") from error
        return Usage(
            total_bytes=status.f_blocks * status.f_frsize,
            available_bytes=status.f_bavail * status.f_frsize,
            used_bytes=(status.f_blocks - status.f_bfree) * status.f_frsize,
            total_inodes=status.f_files,
            available_inodes=status.f_favail,
            used_inodes=status.f_files - status.f_ffree,
        )


def _walk(directory: int, *, skip_dotdot: bool, prefix: str = "") -> Iterator[tuple[str, int, str]]:
    """(path, descriptor of its directory, name) of each regular file below, links and devices left out."""
    with os.scandir(directory) as entries:
        found = sorted(
            (entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))
            for entry in entries
        )
    for name, is_directory, is_file in found:
        if skip_dotdot and name.startswith(".."):
            continue
        if is_file:
            yield prefix + name, directory, name
        elif is_directory:
            with _opened(name, _DIRECTORY, directory) as below:
                yield from _walk(below, skip_dotdot=False, prefix=f"{prefix}{name}/")


def _remove(name: str, directory: int, mount_id: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in {errno.EISDIR, errno.EPERM}:
            raise
        with _opened(name, _DIRECTORY, directory) as below:
            _empty(below, mount_id)
        os.rmdir(name, dir_fd=directory)


def _empty(directory: int, mount_id: int) -> None:
    if _mount_id(directory) != mount_id:
        raise OSError(errno.EXDEV, "something is mounted below")
    for name in os.listdir(directory):
        _remove(name, directory, mount_id)


def _mount_id(descriptor: int) -> int:
    """The mount that an open file is on (proc_pid_fdinfo(5)). Not st_dev: a bind mount has that of its source."""
    with _opened(f"/proc/self/fdinfo/{descriptor}", _READ, None) as file:
        lines = os.read(file, _CHUNK_BYTES).splitlines()
    return next(int(line.removeprefix(b"mnt_id:")) for line in lines if line.startswith(b"mnt_id:"))


@contextlib.contextmanager
def _opened(path: str, flags: int, directory: int | None) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _digest(file: int) -> bytes:
    digest = hashlib.sha256()
    while chunk := os.read(file, _CHUNK_BYTES):
        digest.update(chunk)
    return digest.digest()


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))
