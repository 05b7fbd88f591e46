"""A mount namespace of one's own: mounts made in it are seen by this process and its children only.

Root makes one directly. Anybody else makes a user namespace first, in which they are root; whether the
kernel grants that is the machine's setting, and the error names it. Source: unshare(2), user_namespaces(7).
"""

import ctypes
import errno
import os

from sscsi.errors import ConfigError

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000

# (file, value that forbids, what to run as root). Debian's switch, Ubuntu's, and the kernel's own limit.
_SWITCHES = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=1000"),
    ("/proc/sys/user/max_mnt_namespaces", "0", "sysctl -w user.max_mnt_namespaces=1000"),
)


def enter_private_mounts() -> str:
    """Move this process into a mount namespace of its own; what it is, in words for people.

    Call it before any thread starts: a process with threads can't enter a user namespace. Raises ConfigError
    (code 1) when the machine does not allow it; the message names the setting to change.
    """
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    kind = "a private mount namespace"
    number = _unshare(libc, _CLONE_NEWNS) if uid == 0 else errno.EPERM
    if number == errno.EPERM:
        kind = "a private mount namespace inside a user namespace"
        number = _unshare(libc, _CLONE_NEWUSER | _CLONE_NEWNS)
        if not number:
            _become_root_inside(uid, gid)
    if not number:
        number = _call(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    if number:
        raise ConfigError(_refusal(number), exit_code=1)
    return kind


def _unshare(libc: ctypes.CDLL, flags: int) -> int:
    return _call(libc.unshare(flags))


def _call(result: int) -> int:
    """The errno of a system call that returned `result`; 0 for success."""
    return ctypes.get_errno() if result != 0 else 0


def _become_root_inside(uid: int, gid: int) -> None:
    """Map the caller to root. `setgroups` must be given up first: the kernel's rule for an unprivileged map."""
    for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(line)
        except OSError as error:
            raise ConfigError(_refusal(error.errno or errno.EPERM), exit_code=1) from error


def _refusal(number: int) -> str:
    cures = [cure for path, forbids, cure in _SWITCHES if _read(path) == forbids]
    if cures:
        cure = f"run {' and '.join(repr(cure) for cure in cures)} as root, or run this as root"
    elif os.geteuid() == 0:
        cure = "this root lacks CAP_SYS_ADMIN: in a container, start it with --privileged"
    else:
        cure = "run this as root; in a container, start it with --privileged"
    return (
        f"the kernel allows no private mount namespace here ({errno.errorcode.get(number, number)}); {cure}"
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
