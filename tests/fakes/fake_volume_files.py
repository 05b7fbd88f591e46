"""What published volumes hold, in memory."""

from collections.abc import Sequence

from sscsi.core.published_volume import PublishedVolume
from sscsi.errors import TargetPathError


class FakeVolumeFiles:
    """`contents` holds each volume's files by target path; a volume that is not in it can't be read."""

    def __init__(self) -> None:
        self.contents: dict[str, dict[str, bytes]] = {}
        self.reads = 0

    def put(self, volume: PublishedVolume, **files: bytes) -> None:
        self.contents[volume.target_path] = files

    def read(
        self, volume: PublishedVolume, names: Sequence[str] | None, *, limit_bytes: int
    ) -> dict[str, bytes]:
        self.reads += 1
        if volume.target_path not in self.contents:
            raise TargetPathError(f"cannot read the volume at {volume.target_path!r}: ENOENT")
        files = self.contents[volume.target_path]
        if names is not None:
            return {name: files[name][: limit_bytes + 1] for name in names if name in files}
        contents: dict[str, bytes] = {}
        for name in sorted(files):
            if sum(map(len, contents.values())) <= limit_bytes:
                contents[name] = files[name][: limit_bytes + 1]
        return contents
