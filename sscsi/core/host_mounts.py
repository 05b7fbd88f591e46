"""What the mount table of a container tells of its host: where kubelet has its pods, and whether a mount gets there. Pure.

Certain is only what is seen in a pod: there, kubelet has mounted files of the pod's own directory, so this is a container
with mounts of its own. Elsewhere these may be the very mounts that kubelet sees, and a private one does no harm.
"""

import dataclasses
import enum
import posixpath
import re
from collections.abc import Iterable

from sscsi.core.finding import Word, fail, ok, warn
from sscsi.core.mount_info import MountEntry
from sscsi.core.target_path import kubelet_volume

CHART_VALUE = "chart value linux.kubeletRootDir"
_DEFAULT_ROOT = "/var/lib/kubelet"
# What kubelet mounts into each container of a pod: the pod's hosts file, and where a container may write why it ended.
_PODS_FILES = {
    "/etc/hosts": re.compile(r"(?P<root>.*)/pods/(?P<uid>[^/]+)/etc-hosts"),
    "/dev/termination-log": re.compile(r"(?P<root>.*)/pods/(?P<uid>[^/]+)/containers/[^/]+/[^/]+"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodPlace:
    """Where the host has the pod that this runs in. `root_path` is kubelet's root within the file system of `device`."""

    device: int
    root_path: str
    pod_uid: str


def pod_place(entries: Iterable[MountEntry]) -> PodPlace | None:
    """Told by what kubelet mounts into every container; None where this is no pod."""
    for entry in reversed(list(entries)):
        pattern = _PODS_FILES.get(entry.mount_point)
        if pattern and (match := pattern.fullmatch(entry.root)):
            return PodPlace(device=entry.device, root_path=match["root"], pod_uid=match["uid"])
    return None


def kubelet_root(registration_path: str) -> str:
    """Kubelet's root as the path of the CSI socket on the host begins with it; empty without a kubelet."""
    root, separator, _ = registration_path.partition("/plugins/")
    if separator:
        return root
    return _DEFAULT_ROOT if registration_path else ""


def find_mount(entries: Iterable[MountEntry], mount_id: int) -> MountEntry | None:
    """The mount of that id."""
    return next((entry for entry in entries if entry.mount_id == mount_id), None)


def host_path(entry: MountEntry, path: str) -> str:
    """`path`, which is on the mount `entry`, within its file system."""
    return posixpath.normpath(posixpath.join(entry.root, posixpath.relpath(path, entry.mount_point)))


class Reach(enum.Enum):
    """Whether a mount becomes visible to kubelet's pods."""

    REACHES = "reaches"
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`why` says in words what keeps a mount back; empty when nothing does."""

    reach: Reach
    why: str = ""


def judge(entry: MountEntry | None, *, is_in_pod: bool) -> Verdict:
    """Whether mounts below the mount `entry` reach the host."""
    if entry is None:
        return Verdict(reach=Reach.UNKNOWN, why="it is on no mount of this mount namespace")
    doubt = Reach.LOST if is_in_pod else Reach.UNKNOWN
    if entry.mount_point != "/":
        if entry.shared:
            return Verdict(reach=Reach.REACHES)
        return Verdict(reach=doubt, why=f"the mount at {entry.mount_point} is not shared with the host")
    if not is_in_pod and entry.shared and entry.filesystem != "overlay":
        # On the host itself, where kubelet's pods are commonly on the root's own mount.
        return Verdict(reach=Reach.REACHES)
    if is_in_pod:
        why = "it is on the container's own root file system"
    elif entry.shared:
        why = f"it is on the root file system, which is {entry.filesystem} as a container's own is"
    else:
        why = "the mount at / is not shared"
    return Verdict(reach=doubt, why=why)


def judge_target(target_path: str, nearest: str, entry: MountEntry | None, place: PodPlace | None) -> Verdict:
    """Whether a mount on `target_path` reaches its pod: `nearest` is the directory above it that is there, on the mount
    `entry`; `place` is that of the pod that this runs in.

    Kubelet has made a pod's directory long before it asks for a volume (sidecars reference, C7): a tree without it is another
    one.
    """
    verdict = judge(entry, is_in_pod=place is not None)
    pod_directory = _pod_directory(target_path)
    if verdict.reach is Reach.REACHES and place and pod_directory and not _is_below(nearest, pod_directory):
        why = f"kubelet has made {pod_directory}, and it is not there: that path is another directory of the host"
        return Verdict(reach=Reach.LOST, why=why)
    return verdict


def refusal(target_path: str, nearest: str, why: str) -> str:
    """What to say of a target path whose mount would stay here, with the cure."""
    return f"a mount at {target_path} would not reach its pod: {_why_and_cure(target_path, nearest, why)}"


def out_of_sight(target_path: str, nearest: str, why: str) -> str:
    """What to say of a target path at which the host's mount can't be seen, with the cure."""
    return f"what is mounted at {target_path} can't be seen from here: {_why_and_cure(target_path, nearest, why)}"


def _why_and_cure(target_path: str, nearest: str, why: str) -> str:
    root = _root_of(target_path)
    pods = (
        f"kubelet's pods directory {root}/pods" if root else "kubelet's pods directory (below its --root-dir)"
    )
    value = f"={root}" if root else " must be kubelet's --root-dir"
    return (
        f"{nearest}: {why}. Give this container {pods} as hostPath and "
        f"volumeMount at that very path, with mountPropagation: Bidirectional ({CHART_VALUE}{value}); where there is no "
        "kubelet: --require-shared-propagation=false"
    )


def root_word(pods: str, names: Iterable[str], entry: MountEntry | None, place: PodPlace | None) -> Word:
    """Whether `pods`, which is on the mount `entry` and has `names` in it, is where kubelet has its pods."""
    present = set(names)
    real = host_path(entry, pods) if entry else ""
    # Places on different file systems can't be compared by their paths.
    if place and entry and place.device == entry.device and f"{place.root_path}/pods" != real:
        found = f"{pods} is {real} of the host, but kubelet has this very pod below {place.root_path}/pods"
        return fail(found, root_cure(place))
    if place and place.pod_uid not in present:
        found = f"{pods} has no directory of this very pod ({place.pod_uid}): kubelet's pods are elsewhere"
        return fail(found, root_cure(place))
    if not present:
        return warn(f"{pods} is empty: no pod runs here, or kubelet's root is another", root_cure(None))
    return ok(f"{pods} has {len(present)} pods")


def propagation_word(pods: str, verdict: Verdict, *, refuses_doubtful: bool) -> Word:
    """What to say of mounts below `pods`: a failure where node refuses to publish."""
    if verdict.reach is Reach.REACHES:
        return ok(f"{pods} is on a shared mount")
    if verdict.reach is Reach.UNKNOWN and not refuses_doubtful:
        return warn(f"a mount below {pods} may not reach the host: {verdict.why}", propagation_cure(pods))
    return fail(f"a mount below {pods} would not reach the host: {verdict.why}", propagation_cure(pods))


def propagation_cure(pods: str) -> str:
    """What to do where mounts below `pods` stay in the container."""
    return (
        f"mountPropagation: Bidirectional and privileged: true for the volumeMount of {pods}, whose hostPath is the same "
        f"path ({CHART_VALUE}); on the host, mount --make-rshared / where mounts are private"
    )


def root_cure(place: PodPlace | None) -> str:
    """What to do where kubelet's root is another."""
    if place is None:
        value = f"{CHART_VALUE} must be kubelet's --root-dir"
    else:
        # What the kernel tells begins at the root of that file system.
        where = "after the path where the host mounts that file system, if that is not /"
        value = f"{CHART_VALUE}={place.root_path} ({where})"
    return f"{value}; without the chart, every path of the DaemonSet that begins with it"


def _root_of(target_path: str) -> str:
    """Kubelet's root in a target path of kubelet's shape; empty for any other."""
    volume = kubelet_volume(target_path)
    return target_path.rpartition(f"/pods/{volume.pod_uid}/volumes/")[0] if volume else ""


def _pod_directory(target_path: str) -> str:
    volume = kubelet_volume(target_path)
    return f"{_root_of(target_path)}/pods/{volume.pod_uid}" if volume else ""


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")
