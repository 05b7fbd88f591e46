"""The RecordStore port in memory."""

from sscsi.core.volume_record import VolumeRecord
from sscsi.errors import RecordError


class FakeRecords:
    """Keeps records over the life of a room; `error` is raised by what changes something. `writes` counts."""

    def __init__(self) -> None:
        self.records: dict[str, VolumeRecord] = {}
        self.error: RecordError | None = None
        self.writes = 0

    def load_all(self) -> list[VolumeRecord]:
        return list(self.records.values())

    def write(self, record: VolumeRecord) -> bool:
        if self.error is not None:
            raise self.error
        self.writes += 1
        self.records[record.target_path] = record
        return True

    def delete(self, target_path: str) -> None:
        if self.error is not None:
            raise self.error
        self.records.pop(target_path, None)
