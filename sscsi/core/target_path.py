"""Target paths: where kubelet wants a volume, and what the path itself tells."""

import dataclasses
import posixpath
import re

from sscsi.errors import InvalidRequestError

_MAX_BYTES = 4095
# Kubelet's place for an inline CSI volume (sidecars reference, C7), from the pod directory on.
_KUBELET = re.compile(r"/pods/(?P<uid>[^/]+)/volumes/kubernetes\.io~csi/(?P<name>[^/]+)/mount")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KubeletVolume:
    """The pod and the volume that a target path of kubelet's shape belongs to."""

    pod_uid: str
    volume_name: str


def clean_target_path(path: str) -> str:
    """The target path without trailing slashes. Raises InvalidRequestError for one that nobody may mount on.

    Kubelet sends absolute paths without `.` or `..`; anything else is refused, as it would name another
    place than it seems to.
    """
    clean = path.rstrip("/")
    if (
        "\0" in path
        or not path.startswith("/")
        # POSIX lets two leading slashes mean something else, so normpath keeps them.
        or path.startswith("//")
        or posixpath.normpath(clean) != clean
        or len(clean.encode("utf-8", "surrogateescape")) > _MAX_BYTES
    ):
        raise InvalidRequestError(f"Target path {path[:200]!r} in request is not a clean absolute path")
    return clean


def kubelet_volume(target_path: str) -> KubeletVolume | None:
    """The pod uid and volume name in a path of kubelet's exact shape; None for any other path."""
    match = _KUBELET.search(target_path)
    if match is None or match.end() != len(target_path):
        return None
    return KubeletVolume(pod_uid=match["uid"], volume_name=match["name"])
