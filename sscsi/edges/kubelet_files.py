"""What kubelet writes beside an inline CSI volume: `vol_data.json` in the parent of the target path (sidecars
reference, C7).
"""

import json
import os

_MAX_BYTES = 64 * 1024


def driver_of(target_path: str) -> str:
    """Name of the CSI driver that kubelet mounted `target_path` with; empty when there is no such file to tell."""
    path = os.path.join(os.path.dirname(target_path), "vol_data.json")
    try:
        with open(path, "rb", opener=_open) as file:
            # None: a pipe that somebody writes to, and nothing in it.
            document = json.loads(file.read(_MAX_BYTES) or b"")
    except (OSError, ValueError, RecursionError):
        return ""
    name = document.get("driverName", "") if isinstance(document, dict) else ""
    return name if isinstance(name, str) else ""


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
