"""The record of one published volume: what survives a restart of the node room.

Kept as versioned JSON, one file per target path (design P4). It has no secret in it: object versions are
what the status object shows anyway. It counts only while the boot, the device of the tmpfs and the content
agree with it; anything unreadable is no record.
"""

import dataclasses
import hashlib
import json
from typing import Any

from sscsi.core.target_path import clean_target_path
from sscsi.errors import InvalidRequestError

FORMAT_VERSION = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ContentFile:
    """A regular file that the provider wrote itself: enough to tell later that it is still that file."""

    path: str
    size: int
    inode: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRecord:
    """One published volume. Times of `*_time` are seconds since the epoch, for people; `*_boottime` are
    seconds of CLOCK_BOOTTIME, for arithmetic (it never steps, and the record dies with the boot anyway).

    `last_error` and `failure_reason` (a word of `failure_reason`) are empty when the last attempt succeeded, and
    `failing_since` is 0 then. `renew_time` and `expiry_time` are of the certificate in the content that is to be renewed
    first: when two thirds of its life are over, and all of it; 0 when there is none. `class_interval` is what the class said of
    the refresh interval at the last success, as it is written there. `class_ask` and `pod_ask` are the
    wishes for a refresh, annotations of the class and the pod, that the last success honoured; of the pod, where that success
    knew of no wish, the one before it.
    """

    boot_id: str
    device: int
    volume_id: str
    target_path: str
    pod_name: str
    pod_namespace: str
    pod_uid: str
    service_account: str
    class_name: str
    class_uid: str
    class_generation: int
    provider: str
    data_directory: str
    files: tuple[ContentFile, ...]
    object_versions: tuple[tuple[str, str], ...]
    adopted: bool
    attempt_time: float
    success_time: float
    success_boottime: float
    last_error: str
    failure_reason: str = ""
    failing_since: float = 0.0
    renew_time: float = 0.0
    expiry_time: float = 0.0
    class_interval: str = ""
    class_ask: str = ""
    pod_ask: str = ""


# Version 1 is 2 without the fields that have a default.
_READABLE_VERSIONS = (1, FORMAT_VERSION)
_FIELDS = tuple(field.name for field in dataclasses.fields(VolumeRecord))
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def record_name(target_path: str) -> str:
    """File name of the record: the target path may be longer than a file name, its hash never is."""
    return hashlib.sha256(target_path.encode("utf-8", "surrogateescape")).hexdigest() + ".json"


def encode(record: VolumeRecord) -> bytes:
    """The record as JSON, deterministic: equal records are equal bytes."""
    # Not dataclasses.asdict: its deep copy took as long as all of the record's system calls (measured).
    document: dict[str, object] = {name: getattr(record, name) for name in _FIELDS}
    document["version"] = FORMAT_VERSION
    document["files"] = [{"path": file.path, "size": file.size, "inode": file.inode} for file in record.files]
    return _ENCODER.encode(document).encode() + b"\n"


def decode(data: bytes) -> VolumeRecord | None:
    """The record, or None for whatever this program did not write whole: then there is none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    version = document.pop("version", None)
    if version not in _READABLE_VERSIONS or (version == FORMAT_VERSION and document.keys() != set(_FIELDS)):
        return None
    try:
        return _checked(document)
    except (TypeError, KeyError, ValueError, InvalidRequestError):
        return None


def _checked(document: dict[str, Any]) -> VolumeRecord:
    files = tuple(ContentFile(**entry) for entry in document.pop("files"))
    versions = document.pop("object_versions")
    if not all(type(pair) is list and [type(text) for text in pair] == [str, str] for pair in versions):
        raise TypeError("object_versions")
    record = VolumeRecord(files=files, object_versions=tuple(map(tuple, versions)), **document)
    for field in dataclasses.fields(VolumeRecord):
        value = getattr(record, field.name)
        if field.type in (str, int, bool) and type(value) is not field.type:
            raise TypeError(field.name)
        if field.type is float and type(value) not in (int, float):
            raise TypeError(field.name)
    if not all((type(entry.path), type(entry.size), type(entry.inode)) == (str, int, int) for entry in files):
        raise TypeError("files")
    if clean_target_path(record.target_path) != record.target_path:
        raise ValueError("target_path")
    return record
