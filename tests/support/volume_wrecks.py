"""Volumes and records as crashes and other drivers leave them, made by hand."""

import ctypes
import dataclasses
import os
from typing import Any

from sscsi.core.volume_record import VolumeRecord, decode, encode, record_name
from tests.support.node_place import NodePlace
from tests.support.volume_state import View

STALE_VERSION = "..2026_01_01_00_00_00.42"
_UPSTREAM_VERSION = "..2026_11_24_10_00_00.1234567890"


def write(directory: str, view: View) -> None:
    """Write every file of `view` below `directory`, each aside and renamed into place."""
    for path, (mode, content) in view.items():
        place = os.path.join(directory, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place + ".new", "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
        os.rename(place + ".new", place)


def upstream_volume(target_path: str, view: View, *, layout: bool = True) -> None:
    """A volume of upstream's driver: its layout (upstream reference, 4.3), or plain files of a provider's own."""
    os.makedirs(target_path, exist_ok=True)
    failed = ctypes.CDLL(None).mount(b"tmpfs", os.fsencode(target_path), b"tmpfs", ctypes.c_ulong(0), b"")
    assert not failed, f"cannot mount at {target_path}"
    if not layout:
        write(target_path, view)
        return
    write(f"{target_path}/{_UPSTREAM_VERSION}", view)
    os.symlink(_UPSTREAM_VERSION, f"{target_path}/..data")
    for name in {path.split("/")[0] for path in view}:
        os.symlink(f"..data/{name}", f"{target_path}/{name}")


def litter_volume(target_path: str) -> None:
    """All that an interrupted write can leave in a volume."""
    write(target_path, {f"{STALE_VERSION}/nested/half": (0o600, b"half")})
    os.symlink(STALE_VERSION, f"{target_path}/..data_tmp")
    os.symlink("..data/ghost", f"{target_path}/..link_tmp")
    os.symlink("..data/ghost", f"{target_path}/ghost")


def litter_records(place: NodePlace, target_path: str) -> None:
    """Beside the record of `target_path`: halves, one of another boot, one of a volume that is gone."""
    gone = dataclasses.replace(_read(place, target_path), target_path=place.target_path("another-pod"))
    name, spare = record_name(gone.target_path), f"{place.run_directory}/records"
    for path, data in (
        (f"{place.state_directory}/{'a' * 64}.json.tmp", b'{"half'),
        (f"{place.state_directory}/{'b' * 64}.json", b'{"half'),
        (f"{place.state_directory}/{name}", encode(gone)),
        (f"{spare}/{name}", encode(dataclasses.replace(gone, boot_id="of another boot"))),
    ):
        with open(path, "wb") as file:
            file.write(data)


def change_record(place: NodePlace, target_path: str, **changes: Any) -> None:
    """Change fields of the record of `target_path`."""
    record = dataclasses.replace(_read(place, target_path), **changes)
    with open(_path(place, target_path), "wb") as file:
        file.write(encode(record))


def _read(place: NodePlace, target_path: str) -> VolumeRecord:
    with open(_path(place, target_path), "rb") as file:
        record = decode(file.read())
    assert record is not None
    return record


def _path(place: NodePlace, target_path: str) -> str:
    return os.path.join(place.state_directory, record_name(target_path))
