"""What a published volume looks like to a pod: its tree, its contents, its mount options. Reads, never writes."""

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator

from sscsi.core import mount_info

# A line of a terminal; a certificate's first characters tell as much as all of them.
_SHOWN_CHARACTERS = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeView:
    """A look at one volume. `files` maps the paths that a container opens to their bytes; `repr` has none."""

    data_directory: str
    tree: tuple[str, ...]
    modes: dict[str, int]
    files: dict[str, bytes] = dataclasses.field(repr=False)


def look(target_path: str) -> VolumeView:
    """Look at the volume at `target_path`. Raises OSError when it is not there."""
    paths = sorted(_paths(target_path))
    visible = [path for path in paths if not path.startswith("..")]
    files = [path for path in visible if os.path.isfile(os.path.join(target_path, path))]
    data_link = os.path.join(target_path, "..data")
    return VolumeView(
        data_directory=os.readlink(data_link) if os.path.islink(data_link) else "",
        tree=tuple(_tree_line(target_path, path) for path in paths),
        modes={path: stat.S_IMODE(os.stat(os.path.join(target_path, path)).st_mode) for path in files},
        files={path: _read(os.path.join(target_path, path)) for path in files},
    )


def describe_contents(view: VolumeView, *, reveal: bool) -> Iterator[str]:
    """One line a file: path, mode, and its content, or size and hash unless `reveal`."""
    width = max(map(len, view.files), default=0)
    for path, content in view.files.items():
        shown = _quote(content) if reveal else _fingerprint(content)
        yield f"{path:<{width}}  {view.modes[path]:04o}  {shown}"


def mount_options(target_path: str) -> str:
    """The options of the mount at `target_path`, as the kernel reports them; empty when nothing is mounted."""
    mounts = mount_info.at(_mounts(), target_path)
    if not mounts:
        return ""
    top = mounts[-1]
    return f"{top.filesystem} {top.options} {top.super_options}"


def mounts_below(directory: str) -> list[str]:
    """The mount points in `directory`, at any depth."""
    return [entry.mount_point for entry in _mounts() if entry.mount_point.startswith(directory + "/")]


def _mounts() -> list[mount_info.MountEntry]:
    with open("/proc/self/mountinfo", "rb") as file:
        return list(mount_info.parse(file.read()))


def _paths(root: str) -> Iterator[str]:
    """Every path below `root`; a link to a directory is listed with what is behind it, but not inside `..x`."""
    for directory, directories, names in os.walk(root, followlinks=True):
        relative = os.path.relpath(directory, root)
        for name in directories + names:
            yield name if relative == "." else os.path.join(relative, name)
        directories[:] = [name for name in directories if not name.startswith("..")]


def _tree_line(root: str, path: str) -> str:
    full = os.path.join(root, path)
    if os.path.islink(full):
        return f"{path} -> {os.readlink(full)}"
    return path + "/" if os.path.isdir(full) else path


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _quote(content: bytes) -> str:
    text = repr(content.decode(errors="replace"))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(content)} bytes)"


def _fingerprint(content: bytes) -> str:
    return f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:12]}"
