"""Kubelet's directory of pods as this process sees it: whether it is the right one, and whether mounts in it reach the pods."""

import dataclasses
import os

from sscsi.core import host_mounts
from sscsi.core.finding import Outcome, Word, fail
from sscsi.core.host_mounts import PodPlace, Verdict
from sscsi.core.mount_info import MountEntry
from sscsi.edges.linux_mounts import LinuxMounter, own_mounts
from sscsi.errors import TargetPathError

_PODS = "pods"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodsDirectory:
    """One look at `path`. `place` is that of the pod that this runs in, None outside of one; `root` says whether kubelet's
    root is that.
    """

    path: str
    place: PodPlace | None
    entry: MountEntry | None
    root: Word

    @property
    def verdict(self) -> Verdict:
        """Whether mounts below it reach the pods."""
        return host_mounts.judge(self.entry, is_in_pod=self.place is not None)


def look_at_pods(kubelet_root: str) -> PodsDirectory:
    """Look at the directory of pods below `kubelet_root`. Raises OSError without /proc."""
    path = os.path.join(kubelet_root, _PODS)
    entries = own_mounts()
    place = host_mounts.pod_place(entries)
    try:
        names = os.listdir(path)
        entry = host_mounts.find_mount(entries, LinuxMounter(require_shared=False).look(path).mount_id)
    except (OSError, TargetPathError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        root = fail(f"{path}: {reason}", host_mounts.root_cure(place))
        return PodsDirectory(path=path, place=place, entry=None, root=root)
    root = host_mounts.root_word(path, names, entry, place)
    return PodsDirectory(path=path, place=place, entry=entry, root=root)


def certain_problems(kubelet_root: str) -> list[Word]:
    """What certainly keeps pods from seeing what is mounted for them, told where this is a pod. Raises OSError."""
    pods = look_at_pods(kubelet_root)
    if pods.place is None:
        # It may be the host itself, before kubelet's first start.
        return []
    words = [pods.root]
    if pods.entry is not None:
        words.append(host_mounts.propagation_word(pods.path, pods.verdict, refuses_doubtful=False))
    return [word for word in words if word.outcome is Outcome.FAIL]
