"""Records of published volumes as files: one JSON file a volume, replaced by rename.

No fsync: the record counts only in the boot that wrote it, and rename alone is enough against a crash of the
process. When the state directory takes no more, the run directory (a tmpfs) does, with a warning: a full disk
must not keep pods from starting (design P4).
"""

import errno
import logging
import os
from collections.abc import Iterator

from sscsi.core import log_keys
from sscsi.core.volume_record import VolumeRecord, decode, encode, record_name
from sscsi.edges.run_directory import make_private_directory
from sscsi.errors import DiskFullError, RecordError

log = logging.getLogger(__name__)

_SUFFIX = ".json"
_TEMPORARY_SUFFIX = ".json.tmp"
_MODE = 0o600
_DIRECTORY_MODE = 0o700


class RecordFiles:
    """The RecordStore port over `state_directory`, with `spare_directory` for when that is full."""

    def __init__(self, state_directory: str, spare_directory: str) -> None:
        self._directories = (state_directory, spare_directory)
        make_private_directory(spare_directory, "--run-dir")
        _make_state_directory(state_directory)
        # Nearly always empty: looking for a file there at every write would cost a system call each.
        self._spared = set(os.listdir(spare_directory))

    def load_all(self) -> list[VolumeRecord]:
        newest: dict[str, VolumeRecord] = {}
        for record in self._read_all():
            kept = newest.get(record.target_path)
            if kept is None or record.attempt_time > kept.attempt_time:
                newest[record.target_path] = record
        return list(newest.values())

    def write(self, record: VolumeRecord) -> bool:
        state, spare = self._directories
        name, data = record_name(record.target_path), encode(record)
        try:
            _replace(state, name, data)
        except OSError as error:
            log.warning(
                "the state directory takes no record; the run directory keeps it until the next restart of the machine",
                extra={
                    log_keys.PATH: state,
                    log_keys.ERROR: errno.errorcode.get(error.errno or 0, ""),
                    log_keys.TARGET_PATH: record.target_path,
                },
            )
            self._write_spare(spare, name, data)
            return False
        self._forget_spare(name)
        return True

    def delete(self, target_path: str) -> None:
        name = record_name(target_path)
        try:
            _remove(self._directories[0], name)
        finally:
            self._forget_spare(name)

    def _forget_spare(self, name: str) -> None:
        if name in self._spared:
            _remove(self._directories[1], name)
            self._spared.discard(name)

    def _write_spare(self, directory: str, name: str, data: bytes) -> None:
        self._spared.add(name)
        try:
            _replace(directory, name, data)
        except OSError as error:
            raise RecordError(
                f"cannot write a record to {directory} either: {errno.errorcode.get(error.errno or 0, '')}"
            ) from error

    def _read_all(self) -> Iterator[VolumeRecord]:
        for directory in self._directories:
            for name in sorted(_names(directory)):
                path = os.path.join(directory, name)
                if name.endswith(_TEMPORARY_SUFFIX):
                    _drop(path, "a record was being written when its process died; it is dropped")
                elif name.endswith(_SUFFIX):
                    yield from _read(path, name)


def _read(path: str, name: str) -> Iterator[VolumeRecord]:
    try:
        with open(path, "rb") as file:
            record = decode(file.read())
    except OSError as error:
        log.warning(
            "a record cannot be read",
            extra={log_keys.PATH: path, log_keys.ERROR: errno.errorcode.get(error.errno or 0, "")},
        )
        return
    if record is None or record_name(record.target_path) != name:
        _drop(path, "a record is not one that this program wrote whole; it is dropped")
        return
    yield record


def _replace(directory: str, name: str, data: bytes) -> None:
    temporary = os.path.join(directory, name.removesuffix(_SUFFIX) + _TEMPORARY_SUFFIX)
    try:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE
        )
    except FileNotFoundError:
        os.makedirs(directory, mode=_DIRECTORY_MODE, exist_ok=True)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE
        )
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.rename(temporary, os.path.join(directory, name))
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)


def _remove(directory: str, name: str) -> None:
    path = os.path.join(directory, name)
    try:
        os.unlink(path)
    except OSError as error:
        # A read-only disk refuses before it looks whether there is anything to remove.
        if not os.path.lexists(path):
            return
        raise RecordError(
            f"cannot remove a record from {directory}: {errno.errorcode.get(error.errno or 0, '')}"
        ) from error


def _drop(path: str, why: str) -> None:
    """Remove what is no record; what can't be removed (a directory, a read-only disk) stays and counts for nothing."""
    log.warning(why, extra={log_keys.PATH: path})
    try:
        os.unlink(path)
    except OSError as error:
        log.warning(
            "it cannot be removed",
            extra={log_keys.PATH: path, log_keys.ERROR: errno.errorcode.get(error.errno or 0, "")},
        )


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _make_state_directory(directory: str) -> None:
    """Make it, or go without where the disk is full: pods start all the same, and a write tries again."""
    try:
        make_private_directory(directory, "--state-dir, SSCSI_STATE_DIR")
    except DiskFullError as error:
        log.warning(
            "no state directory; the run directory keeps the records",
            extra={log_keys.PATH: directory, log_keys.ERROR: str(error)},
        )
