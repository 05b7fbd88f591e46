"""What a pod, kubelet and the records tell of one volume."""

import os
import stat

from sscsi.core.file_plan import DATA_LINK
from sscsi.core.volume_record import decode
from tests.support.node_place import NodePlace

View = dict[str, tuple[int, bytes]]
"""Path as a pod sees it: (permission bits, content)."""

_RUN_DIRECTORY_NAMES = frozenset(
    {"records", "statussync.sock"}
    | {name + suffix for name in ("node.sock", "node-state.sock", "probe.sock") for suffix in ("", ".lock")}
)


def pod_view(target_path: str) -> View:
    """Every file that a pod can open below the volume, links followed; hidden names and dangling links are nothing."""
    view: View = {}
    for name in sorted(os.listdir(target_path)):
        if not name.startswith(".."):
            _look_below(os.path.join(target_path, name), name, view)
    return view


def _look_below(path: str, name: str, view: View) -> None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        for below in sorted(os.listdir(path)):
            _look_below(os.path.join(path, below), f"{name}/{below}", view)
        return
    with open(path, "rb") as file:
        view[name] = (status.st_mode & 0o777, file.read())


def untrue_records(place: NodePlace) -> list[str]:
    """What is wrong with the records of a node room that has started and checked them; nothing may be."""
    found = []
    for directory in (place.state_directory, f"{place.run_directory}/records"):
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                record = decode(file.read())
            if not name.endswith(".json") or record is None:
                found.append(f"{path} is no whole record")
            elif not place.mounts(record.target_path):
                found.append(f"{path}: nothing is mounted at {record.target_path}")
            elif os.stat(record.target_path).st_dev != record.device:
                found.append(f"{path}: another device")
            elif record.data_directory != _data_directory(record.target_path):
                found.append(f"{path}: it says ..data is {record.data_directory!r}")
            elif not record.data_directory and not record.files:
                found.append(f"{path}: it proves nothing")
            else:
                found += [
                    f"{path}: {entry.path} is another file"
                    for entry in record.files
                    if _size_and_inode(record.target_path, entry.path) != (entry.size, entry.inode)
                ]
    return found


def residue(place: NodePlace, target_path: str) -> list[str]:
    """What interrupted writes left in the volume and beside it."""
    allowed = {DATA_LINK, _data_directory(target_path)}
    found = [name for name in os.listdir(target_path) if name.startswith("..") and name not in allowed]
    found += [
        name
        for name in os.listdir(target_path)
        if os.path.islink(f"{target_path}/{name}") and not os.path.exists(f"{target_path}/{name}")
    ]
    found += sorted(set(os.listdir(place.run_directory)) - _RUN_DIRECTORY_NAMES)
    found += sorted(set(os.listdir(os.path.dirname(place.endpoint))) - {"csi.sock", "csi.sock.lock"})
    return found


def _data_directory(target_path: str) -> str:
    link = f"{target_path}/{DATA_LINK}"
    return os.readlink(link) if os.path.islink(link) else ""


def _size_and_inode(target_path: str, path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(os.path.join(target_path, path))
    except FileNotFoundError:
        return None
    return status.st_size, status.st_ino
