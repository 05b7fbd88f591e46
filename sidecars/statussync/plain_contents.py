"""What volumes without a `..data` directory hold: nothing but the files themselves tells whether a refresh brought news.

Providers that write files themselves (the default of AWS's) are refreshed like all others, mostly without news: that must
not cost a look at each Secret in the API.
"""

import hashlib
import threading
from collections.abc import Collection, Sequence

from sscsi.core.published_volume import PublishedVolume
from sscsi.core.secret_data import MAX_SECRET_BYTES
from sscsi.errors import TargetPathError
from sscsi.ports import VolumeFiles


class PlainContents:
    """Digests by target path, of the files that Secrets are made of. Threads may share it."""

    def __init__(self, files: VolumeFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._digests: dict[str, bytes] = {}

    def is_new(self, volume: PublishedVolume, names: Sequence[str] | None) -> bool:
        """Whether the files `names`, all without these, may be others than at the last call, or there was none."""
        digest = self._digest(volume, names)
        with self._lock:
            before = self._digests.pop(volume.target_path, b"")
            if digest:
                self._digests[volume.target_path] = digest
        return not digest or digest != before

    def forget_all_but(self, target_paths: Collection[str]) -> None:
        """The other volumes are gone."""
        with self._lock:
            self._digests = {path: digest for path, digest in self._digests.items() if path in target_paths}

    def _digest(self, volume: PublishedVolume, names: Sequence[str] | None) -> bytes:
        """Empty when not all can be read: whoever needs them has to find out why."""
        try:
            content = self._files.read(volume, names, limit_bytes=MAX_SECRET_BYTES)
        except TargetPathError:
            return b""
        if sum(map(len, content.values())) > MAX_SECRET_BYTES:
            return b""
        digest = hashlib.sha256()
        for name in sorted(content):
            for part in (name.encode(), content[name]):
                digest.update(len(part).to_bytes(8) + part)
        return digest.digest()
