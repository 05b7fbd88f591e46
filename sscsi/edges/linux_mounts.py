"""tmpfs volumes by system call: statx(2), statfs(2), mount(2), umount2(2). No subprocess, no shell."""

import contextlib
import ctypes
import errno
import logging
import os
import stat
import struct
import threading

from sscsi.core import host_mounts, log_keys, mount_info
from sscsi.core.host_mounts import Reach, Verdict
from sscsi.core.mount_info import MountEntry
from sscsi.errors import ConfigError, MountError, PropagationError, TargetPathError
from sscsi.ports import ABSENT, PathState

log = logging.getLogger(__name__)

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BASIC_STATS = 0x7FF
_STATX_MNT_ID = 0x1000
_STATX_ATTR_MOUNT_ROOT = 0x2000
# struct statx of linux/stat.h, from its start: stx_attributes, stx_mode, stx_attributes_mask, stx_dev_major and
# stx_dev_minor, stx_mnt_id, with what lies between left out.
_STATX = struct.Struct("=8xQ12xH26xQ72xIIQ")
_STATX_BYTES = 256

_TMPFS_MAGIC = 0x01021994
_STATFS_BYTES = 256

_MS_NOSUID = 2
_MS_NODEV = 4
_MS_NOEXEC = 8
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

_CAP_SYS_ADMIN = 21
_RIGHTS_CURE = "CAP_SYS_ADMIN is missing: run privileged, or in a user namespace of your own"

_DIRECTORY_MODE = 0o750
_ROOT_MODE = "0755"
_GROUP_ROOT_MODE = "2755"

_libc = ctypes.CDLL(None, use_errno=True)


def check_mount_rights() -> None:
    """Raise ConfigError when this process may not mount (capabilities(7): CAP_SYS_ADMIN)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)
    if not effective >> _CAP_SYS_ADMIN & 1:
        raise ConfigError(f"this process may not mount: {_RIGHTS_CURE}", exit_code=1)


def own_mounts(process: str = "self") -> list[MountEntry]:
    """The mounts that a process sees, /proc/PID/mountinfo. Raises OSError."""
    with open(f"/proc/{process}/mountinfo", "rb") as file:
        return list(mount_info.parse(file.read()))


class LinuxMounter:
    """The Mounter port on a Linux kernel of 5.8 or newer (statx tells mount points since then).

    `require_shared` is whether a mount must propagate out of this mount namespace (design P1); `refuses_doubtful`, whether
    also one is refused that may get there all the same, as on the host itself.
    """

    def __init__(self, *, require_shared: bool, refuses_doubtful: bool = True) -> None:
        self._require_shared = require_shared
        self._refuses_doubtful = refuses_doubtful
        self._judged_mounts: set[tuple[int, int]] = set()
        self._noswap = True
        self._lock = threading.Lock()

    def look(self, path: str) -> PathState:
        buffer = ctypes.create_string_buffer(_STATX_BYTES)
        mask = _STATX_BASIC_STATS | _STATX_MNT_ID
        if _libc.statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, mask, buffer) != 0:
            number = ctypes.get_errno()
            if number in {errno.ENOENT, errno.ENOTDIR}:
                return ABSENT
            raise TargetPathError(
                f"failed to check if target path {path} is mount point, err: {_name(number)}"
            )
        attributes, mode, attributes_mask, major, minor, mount_id = _STATX.unpack_from(buffer)
        if not attributes_mask & _STATX_ATTR_MOUNT_ROOT:
            raise TargetPathError(
                f"the kernel does not tell whether {path} is a mount point; Linux 5.8 or newer is needed"
            )
        is_mount_point = bool(attributes & _STATX_ATTR_MOUNT_ROOT)
        return PathState(
            exists=True,
            is_directory=stat.S_ISDIR(mode),
            is_mount_point=is_mount_point,
            is_tmpfs=is_mount_point and _is_tmpfs(path),
            mount_id=mount_id,
            device=os.makedev(major, minor),
        )

    def make_directory(self, path: str) -> None:
        try:
            _make_directories(path)
        except OSError as error:
            raise TargetPathError(
                f"failed to create target path {path}, err: {_name(error.errno)}"
            ) from error

    def remove_directory(self, path: str) -> None:
        try:
            os.rmdir(path)
        except OSError as error:
            # Gone, or below something that is no directory.
            if not os.path.lexists(path):
                return
            raise TargetPathError(f"cannot remove directory {path}: {_name(error.errno)}") from error

    def mount_tmpfs(self, path: str, *, size_bytes: int, max_inodes: int, gid: int | None) -> None:
        options = (
            f"size={size_bytes},nr_inodes={max_inodes},mode={_ROOT_MODE if gid is None else _GROUP_ROOT_MODE}"
        )
        if gid is not None:
            options += f",gid={gid}"
        if self._noswap:
            number = _mount(path, options + ",noswap")
            if number == 0:
                return
            if number != errno.EINVAL:
                raise _mount_error(path, number)
        number = _mount(path, options)
        if number != 0:
            raise _mount_error(path, number)
        self._remember_no_noswap()

    def unmount(self, path: str) -> None:
        number = _unmount(path, _UMOUNT_NOFOLLOW)
        if number == errno.EBUSY:
            # Somebody has a file open in this mount namespace (a scanner, a debugger): the pod is gone, so
            # the mount leaves the tree now and the kernel frees it with the last descriptor.
            log.warning("the volume is busy and is detached", extra={log_keys.TARGET_PATH: path})
            number = _unmount(path, _UMOUNT_NOFOLLOW | _MNT_DETACH)
        if number != 0:
            raise MountError(f"cannot unmount {path}: {_name(number)}")

    def check_reaches_host(self, target_path: str) -> None:
        if self._require_shared and (judged := self._judge(target_path)):
            verdict, nearest, key = judged
            if verdict.reach is not Reach.REACHES:
                text = host_mounts.refusal(target_path, nearest, verdict.why)
                if verdict.reach is Reach.LOST or self._refuses_doubtful:
                    raise PropagationError(text)
                if key not in self._judged_mounts:
                    log.warning(
                        "pods may not see their volumes",
                        extra={log_keys.PATH: nearest, log_keys.REASON: text},
                    )
            self._judged_mounts.add(key)

    def check_sees_host(self, target_path: str) -> None:
        if self._require_shared and (judged := self._judge(target_path)):
            verdict, nearest, key = judged
            if verdict.reach is Reach.LOST:
                raise PropagationError(host_mounts.out_of_sight(target_path, nearest, verdict.why))
            if verdict.reach is Reach.REACHES:
                self._judged_mounts.add(key)

    def _judge(self, target_path: str) -> tuple[Verdict, str, tuple[int, int]] | None:
        """The verdict, the nearest directory above and its mount's key; None for a place that was judged before."""
        parent = os.path.dirname(target_path)
        nearest = self._nearest_directory(parent)
        state = self.look(nearest)
        # The kernel gives a mount's id to another after it is gone, but hardly with the same file system.
        key = (state.mount_id, state.device)
        if key in self._judged_mounts and nearest == parent:
            return None
        entries = own_mounts()
        entry = host_mounts.find_mount(entries, state.mount_id)
        return (
            host_mounts.judge_target(target_path, nearest, entry, host_mounts.pod_place(entries)),
            nearest,
            key,
        )

    def _nearest_directory(self, path: str) -> str:
        while path != "/" and not self.look(path).exists:
            path = os.path.dirname(path)
        return path

    def _remember_no_noswap(self) -> None:
        with self._lock:
            if self._noswap:
                self._noswap = False
                log.warning(
                    "tmpfs without noswap: Linux 6.4 outside a user namespace is needed; content may reach swap"
                )


def _make_directories(path: str) -> None:
    """As os.makedirs, which gives its mode to the last directory only."""
    with contextlib.suppress(FileExistsError):
        try:
            os.mkdir(path, _DIRECTORY_MODE)
        except FileNotFoundError:
            parent = os.path.dirname(path)
            # What is there all the same is a link to nowhere: the second try says so.
            if not os.path.lexists(parent):
                _make_directories(parent)
            os.mkdir(path, _DIRECTORY_MODE)


def _is_tmpfs(path: str) -> bool:
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    (magic,) = struct.unpack_from("=q", buffer, 0)
    return bool(magic == _TMPFS_MAGIC)


def _mount(path: str, options: str) -> int:
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    result = _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(flags), options.encode())
    return 0 if result == 0 else ctypes.get_errno()


def _unmount(path: str, flags: int) -> int:
    return 0 if _libc.umount2(os.fsencode(path), flags) == 0 else ctypes.get_errno()


def _mount_error(path: str, number: int) -> MountError:
    cure = f"; {_RIGHTS_CURE}" if number == errno.EPERM else ""
    return MountError(f"cannot mount tmpfs at {path}: {_name(number)}{cure}")


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, str(number))
