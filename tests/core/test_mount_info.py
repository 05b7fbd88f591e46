import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.mount_info import MountEntry, at, make_device, parse, parse_line, unescape

LINE = (
    b"42 27 0:39 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v/mount rw,nosuid,nodev,noexec,relatime "
    b"shared:7 master:3 - tmpfs tmpfs rw,size=131072k,mode=755"
)
# What the kernel's mangle() escapes (fs/proc_namespace.c: " \t\n\\", and "#" at a line's start elsewhere).
ESCAPED = b" \t\n\\#"
PATHS = (
    st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path).map(lambda path: b"/" + path)
)


def escape(path: bytes) -> bytes:
    """A path as the kernel writes it."""
    return b"".join(b"\\%03o" % byte if byte in ESCAPED else bytes([byte]) for byte in path)


def test_a_line_is_read_field_by_field() -> None:
    assert parse_line(LINE) == MountEntry(
        mount_id=42,
        parent_id=27,
        device=39,
        root="/",
        mount_point="/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v/mount",
        options="rw,nosuid,nodev,noexec,relatime",
        shared=True,
        filesystem="tmpfs",
        super_options="rw,size=131072k,mode=755",
    )


@pytest.mark.parametrize(
    ("optional", "shared"),
    [
        (b"", False),
        (b"shared:1 ", True),
        (b"master:1 ", False),
        (b"propagate_from:2 ", False),
        (b"unbindable ", False),
        (b"master:1 shared:9 ", True),
    ],
)
def test_a_mount_is_shared_when_it_is_in_a_peer_group(optional: bytes, shared: bool) -> None:
    entry = parse_line(b"42 27 0:39 / /m rw " + optional + b"- tmpfs tmpfs rw")
    assert entry is not None
    assert entry.shared is shared


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"42",
        b"42 27 0:39 / /m rw",
        b"42 27 0:39 / /m - tmpfs tmpfs rw",
        b"42 27 0:39 / /m rw - tmpfs tmpfs",
        b"x 27 0:39 / /m rw - tmpfs tmpfs rw",
        b"42 27 0 / /m rw - tmpfs tmpfs rw",
        b"42 27 a:b / /m rw - tmpfs tmpfs rw",
        b"42 27 1:2:3 / /m rw - tmpfs tmpfs rw",
    ],
)
def test_what_is_no_mountinfo_line_is_no_mount(line: bytes) -> None:
    assert parse_line(line) is None
    assert list(parse(line + b"\n" + LINE + b"\n")) == [parse_line(LINE)]


@given(PATHS, PATHS)
def test_any_path_is_read_back_as_the_kernel_escaped_it(first: bytes, second: bytes) -> None:
    lines = [b"%d 1 0:5 / %s rw - tmpfs tmpfs rw" % (i, escape(p)) for i, p in enumerate((first, second))]
    entries = list(parse(b"\n".join(lines) + b"\n"))
    assert [os.fsencode(entry.mount_point) for entry in entries] == [first, second]


@given(PATHS)
def test_unescaping_undoes_escaping(path: bytes) -> None:
    assert os.fsencode(unescape(escape(path))) == path


def test_a_backslash_that_begins_no_escape_stays() -> None:
    assert unescape(rb"/a\b\09\134040") == r"/a\b\09\040"


@given(st.integers(0, 2**12 - 1), st.integers(0, 2**20 - 1))
def test_devices_are_numbered_as_stat_numbers_them(major: int, minor: int) -> None:
    assert make_device(major, minor) == os.makedev(major, minor)


def test_the_mounts_on_one_path_come_lowest_first() -> None:
    lines = [
        b"%d 1 0:%d / /%s rw - tmpfs tmpfs rw" % (i, i, path) for i, path in enumerate((b"a", b"b", b"a"))
    ]
    assert [entry.mount_id for entry in at(parse(b"\n".join(lines)), "/a")] == [0, 2]


def test_the_mount_table_of_this_process_is_read_whole() -> None:
    with open("/proc/self/mountinfo", "rb") as file:
        data = file.read()
    entries = list(parse(data))
    assert len(entries) == data.count(b"\n")
    assert any(entry.filesystem == "proc" and entry.mount_point == "/proc" for entry in entries)
