"""What a process may do, given up for good: capabilities, user, groups, and gains by exec.

The order matters. Dropping from the bounding set needs CAP_SETPCAP, changing groups CAP_SETGID, changing the user
CAP_SETUID: so the set that exec is bounded by goes first and the permitted set, which holds those rights, goes last.
Capabilities that stay for a user other than root are made ambient, or exec would lose them. no_new_privs comes in any
case: with it, exec as root gives back nothing that is not permitted now, whatever stayed in the bounding set
(capabilities(7), prctl(2), credentials(7)).

A container may lack the right to a step. Each step is tried all the same, each makes the process less; at the end
the process is looked at, and whatever it still has beyond what it should is told.
"""

import contextlib
import ctypes
import dataclasses
import errno
import os
from collections.abc import Iterator

from sscsi.errors import ConfigError

# By number, linux/capability.h.
_NAMES_BY_NUMBER = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
)
_NAMES = _NAMES_BY_NUMBER.split()
_PREFIX = "CAP_"
_SET_BITS = 64

_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_PR_CAP_AMBIENT = 47
_AMBIENT_IS_SET, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 1, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    """What a process is to have. A name in `keep` that is no capability raises ConfigError."""

    keep: frozenset[str] = frozenset()
    """Names of capabilities, in any case, with or without CAP_."""
    uid: int | None = None
    """The user to become; None: nobody else."""
    gid: int | None = None
    """The only group to be in; None: the present one."""

    def __post_init__(self) -> None:
        for name in self.keep:
            _number(name)

    @property
    def kept(self) -> int:
        """`keep` as the kernel writes it: a bit for each."""
        return sum(1 << number for number in {_number(name) for name in self.keep})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Capabilities:
    """The three sets that capset(2) sets, a bit for each capability."""

    effective: int
    permitted: int
    inheritable: int


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class _Steps:
    """Tries steps, and remembers why one failed."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._reasons[name] = os.strerror(error.errno) if error.errno else str(error)

    def why(self, name: str) -> str:
        return self._reasons.get(name, "the kernel kept it")


def drop(privileges: Privileges) -> list[str]:
    """Become what `privileges` says; what could not be done, and why, in a sentence each.

    The process must have one thread: capabilities are each thread's own. Done twice, the second time changes nothing.
    Raises RuntimeError when there are more threads, OSError where the kernel does not tell its capabilities.
    """
    _require_one_thread()
    steps = _Steps()
    kept = privileges.kept
    missing = kept & ~_get().permitted
    _drop_bounding(kept, steps)
    _change_user(privileges, steps)
    # Root is given its capabilities by exec (from the bounding set); anyone else needs them ambient.
    carried = kept if os.geteuid() != 0 else 0
    _drop_sets(kept, carried, steps)
    with steps.step("no_new_privs"):
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    sentences = [*_excess_identity(privileges, steps), *_excess_capabilities(kept, carried, steps)]
    if missing:
        sentences.append(f"{_names(missing)} cannot be kept: this process does not have it")
    return sentences


def _require_one_thread() -> None:
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"privileges are dropped by a process of one thread; this one has {threads}")


def _drop_bounding(kept: int, steps: _Steps) -> None:
    with steps.step("effective"):
        # Rights that are there and asleep count.
        now = _get()
        _set(dataclasses.replace(now, effective=now.permitted))
    with steps.step("bounding"):
        for number in _bits(_bounding() & ~kept):
            _prctl(_PR_CAPBSET_DROP, number)


def _change_user(privileges: Privileges, steps: _Steps) -> None:
    uid, gid = privileges.uid, privileges.gid
    with steps.step("groups"):
        if os.getgroups():
            os.setgroups([])
    if gid is not None:
        with steps.step("gid"):
            os.setresgid(gid, gid, gid)
    if uid is not None:
        with steps.step("keepcaps"):
            # Or the change from root to another user would empty the permitted set.
            _prctl(_PR_SET_KEEPCAPS, 1)
        with steps.step("uid"):
            os.setresuid(uid, uid, uid)
        with steps.step("keepcaps"):
            _prctl(_PR_SET_KEEPCAPS, 0)


def _drop_sets(kept: int, carried: int, steps: _Steps) -> None:
    with steps.step("ambient"):
        _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    with steps.step("sets"):
        permitted = _get().permitted & kept
        _set(_Capabilities(effective=permitted, permitted=permitted, inheritable=permitted & carried))
    with steps.step("carried"):
        for number in _bits(_get().permitted & carried):
            _prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number)


def _excess_identity(privileges: Privileges, steps: _Steps) -> Iterator[str]:
    uids, gids, groups = set(os.getresuid()), set(os.getresgid()), set(os.getgroups())
    if privileges.uid is not None and uids != {privileges.uid}:
        yield f"the user stays {_listed(uids)} and does not become {privileges.uid}: {steps.why('uid')}"
    if privileges.gid is not None and gids != {privileges.gid}:
        yield f"the group stays {_listed(gids)} and does not become {privileges.gid}: {steps.why('gid')}"
    # To be in one's own group once more gives no right.
    if others := groups - {os.getegid()}:
        yield f"the supplementary groups {_listed(others)} stay: {steps.why('groups')}"


def _excess_capabilities(kept: int, carried: int, steps: _Steps) -> Iterator[str]:
    now, bounding, ambient = _get(), _bounding(), _ambient()
    has_no_new_privileges = _prctl(_PR_GET_NO_NEW_PRIVS) == 1
    if excess := (now.permitted | now.effective) & ~kept:
        yield f"{_names(excess)} stays permitted: {steps.why('sets')}"
    if excess := now.inheritable & ~carried:
        yield f"{_names(excess)} stays inheritable: {steps.why('sets')}"
    if excess := ambient & ~carried:
        yield f"{_names(excess)} stays ambient: {steps.why('ambient')}"
    if excess := bounding & ~kept:
        reach = "out of reach by no_new_privs" if has_no_new_privileges else "within reach of exec"
        yield f"{_names(excess)} stays in the bounding set, {reach}: {steps.why('bounding')}"
    if not has_no_new_privileges:
        yield f"no_new_privs cannot be set: {steps.why('no_new_privs')}"
    if lost := now.permitted & carried & ~ambient:
        yield f"{_names(lost)} will be lost by exec: {steps.why('carried')}"


def _number(name: str) -> int:
    try:
        return _NAMES.index(name.upper().removeprefix(_PREFIX))
    except ValueError:
        raise ConfigError(f"{name!r} is no capability; capabilities(7) lists them") from None


def _names(bits: int) -> str:
    """For a message: names, or how many when they are too many to read."""
    numbers = list(_bits(bits))
    if len(numbers) > 6:
        return f"a set of {len(numbers)} capabilities"
    known = [_PREFIX + _NAMES[number] if number < len(_NAMES) else str(number) for number in numbers]
    return ", ".join(known)


def _listed(numbers: set[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


def _bits(bits: int) -> Iterator[int]:
    return (number for number in range(bits.bit_length()) if bits >> number & 1)


def _get() -> _Capabilities:
    header, words = _Header(_CAPABILITY_VERSION_3, 0), (_Words * 2)()
    _check(_libc.capget(ctypes.byref(header), words))
    low, high = words
    return _Capabilities(
        effective=low.effective | high.effective << 32,
        permitted=low.permitted | high.permitted << 32,
        inheritable=low.inheritable | high.inheritable << 32,
    )


def _set(sets: _Capabilities) -> None:
    header, words = _Header(_CAPABILITY_VERSION_3, 0), (_Words * 2)()
    for index, word in enumerate(words):
        word.effective = sets.effective >> 32 * index & 0xFFFFFFFF
        word.permitted = sets.permitted >> 32 * index & 0xFFFFFFFF
        word.inheritable = sets.inheritable >> 32 * index & 0xFFFFFFFF
    _check(_libc.capset(ctypes.byref(header), words))


def _bounding() -> int:
    """The whole set, capabilities included that this module has no name for yet."""
    return _read_set(_PR_CAPBSET_READ)


def _ambient() -> int:
    return _read_set(_PR_CAP_AMBIENT, _AMBIENT_IS_SET)


def _read_set(*question: int) -> int:
    bits = 0
    for number in range(_SET_BITS):
        try:
            bits |= _prctl(*question, number) << number
        except OSError as error:
            # EINVAL: this kernel's capabilities end here (or it has no such set, which is an empty one).
            if error.errno == errno.EINVAL:
                break
            raise
    return bits


def _prctl(option: int, *arguments: int) -> int:
    second, third, fourth, fifth = (*arguments, 0, 0, 0, 0)[:4]
    return _check(_libc.prctl(option, second, third, fourth, fifth))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
