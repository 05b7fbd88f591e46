"""Lines of /proc/PID/mountinfo, as proc_pid_mountinfo(5) defines them."""

import dataclasses
import re
from collections.abc import Iterable, Iterator

_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MountEntry:
    """One mount. `shared` tells whether it is in a peer group, so that mounts below it propagate."""

    mount_id: int
    parent_id: int
    device: int
    root: str
    mount_point: str
    options: str
    shared: bool
    filesystem: str
    super_options: str


def parse(data: bytes) -> Iterator[MountEntry]:
    """Every mount in the bytes of a mountinfo file, in its order; later ones cover earlier ones."""
    # Not splitlines: the kernel escapes no carriage return in a path.
    return filter(None, map(parse_line, data.split(b"\n")))


def parse_line(line: bytes) -> MountEntry | None:
    """One line, or None for one that is no mountinfo line."""
    head, separator, tail = line.partition(b" - ")
    fields, rest = head.split(b" "), tail.split(b" ")
    if not separator or len(fields) < 6 or len(rest) < 3:
        return None
    try:
        major, minor = (int(part) for part in fields[2].split(b":"))
        mount_id, parent_id = int(fields[0]), int(fields[1])
    except ValueError:
        return None
    return MountEntry(
        mount_id=mount_id,
        parent_id=parent_id,
        device=make_device(major, minor),
        root=unescape(fields[3]),
        mount_point=unescape(fields[4]),
        options=fields[5].decode(errors="surrogateescape"),
        shared=any(field.startswith(b"shared:") for field in fields[6:]),
        filesystem=unescape(rest[0]),
        super_options=rest[2].decode(errors="surrogateescape"),
    )


def unescape(field: bytes) -> str:
    r"""A path as it is: the kernel writes space, tab, newline and backslash as \040, \011, \012 and \134."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field).decode(errors="surrogateescape")


def make_device(major: int, minor: int) -> int:
    """The device number as stat(2) reports it to user space (glibc's makedev)."""
    return (minor & 0xFF) | ((major & 0xFFF) << 8) | ((minor & ~0xFF) << 12) | ((major & ~0xFFF) << 32)


def at(entries: Iterable[MountEntry], mount_point: str) -> list[MountEntry]:
    """The mounts stacked on one path, lowest first."""
    return [entry for entry in entries if entry.mount_point == mount_point]
