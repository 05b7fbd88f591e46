"""What the appliance needs of the node's mounts: kubelet's root, propagation, memory that is not swapped, a disk."""

import errno
import os
import re
from collections.abc import Iterator

from sscsi.cli.doctor_finding import Word, fail, ok, skip, warn
from sscsi.cli.doctor_place import Place
from sscsi.cli.doctor_probe import mounts, probe_mount
from sscsi.core.mount_info import MountEntry
from sscsi.edges.linux_mounts import LinuxMounter
from sscsi.errors import MountError, PropagationError, TargetPathError

_HOST_INIT = "1"
_NO_KUBELET = "there is no kubelet here (SSCSI_CLUSTER=dir:, no SSCSI_KUBELET_REGISTRATION_PATH)"
# What kubelet mounts at /etc/hosts of every container of a pod.
_ETC_HOSTS = re.compile(r"(?P<root>.*)/pods/(?P<uid>[^/]+)/etc-hosts")
_CHART_VALUE = "chart value linux.kubeletRootDir"
_MIN_FREE_BYTES = 1024 * 1024
_NOT_ON_THE_HOST = frozenset({"overlay", "tmpfs"})


def check_kubelet_root(place: Place) -> Iterator[Word]:
    """Whether kubelet's pods are where we look for them."""
    if not place.kubelet_root:
        yield skip(_NO_KUBELET)
        return
    pods = place.pods_directory
    entries = mounts()
    hosts = etc_hosts(entries)
    try:
        names = os.listdir(pods)
    except OSError as error:
        yield fail(f"{pods}: {error.strerror}", _root_cure(hosts.root_path if hosts else ""))
        return
    real = host_path(entries, pods)
    # Places on different file systems can't be compared by their paths.
    if hosts and real and hosts.device == real[0] and f"{hosts.root_path}/pods" != real[1]:
        found = f"{pods} is {real[1]} of the host, but kubelet has this very pod below {hosts.root_path}/pods"
        yield fail(found, _root_cure(hosts.root_path))
    elif hosts and hosts.pod_uid not in names:
        yield fail(
            f"{pods} has no directory of this very pod ({hosts.pod_uid}): kubelet's pods are elsewhere",
            _root_cure(hosts.root_path),
        )
    elif not names:
        yield warn(f"{pods} is empty: no pod runs here, or kubelet's root is another", _root_cure(""))
    else:
        yield ok(f"{pods} has {len(names)} pods")


def check_propagation(place: Place, host: str = _HOST_INIT) -> Iterator[Word]:
    """Whether a mount that we make below kubelet's pods reaches the host. `host` is a process there, where it can be seen."""
    if not place.kubelet_root:
        yield skip(_NO_KUBELET)
        return
    pods = place.pods_directory
    if not os.path.isdir(pods):
        yield skip(f"there is no {pods}; see kubelet-root")
        return
    if not place.settings.node.require_shared_propagation:
        yield skip("it is not asked for: --require-shared-propagation=false")
        return
    try:
        if not _is_hosts_own(pods):
            LinuxMounter(require_shared=True).check_reaches_host(os.path.join(pods, "doctor", "mount"))
        with probe_mount(_probe_directory(pods)) as entry:
            yield _seen_on_host(entry, host)
    except PropagationError as error:
        yield fail(*_halves(str(error)))
    except (MountError, TargetPathError, OSError) as error:
        yield _no_probe(pods, error)


def check_swap(place: Place) -> Iterator[Word]:
    """Whether content may reach a disk by way of swap."""
    with open("/proc/swaps", encoding="ascii", errors="replace") as file:
        swaps = len(file.read().splitlines()) - 1
    if swaps <= 0:
        yield ok("swap is off")
        return
    directory = place.run_directory if os.path.isdir(place.run_directory) else "/tmp"
    try:
        with probe_mount(directory) as entry:
            has_noswap = "noswap" in entry.super_options.split(",")
    except (MountError, TargetPathError, OSError) as error:
        yield _no_probe(directory, error)
        return
    if has_noswap:
        yield ok("swap is on, and tmpfs takes noswap: content stays in memory")
    else:
        cure = "Linux 6.4 or newer, or swap off (swapoff -a), or encrypted swap"
        yield warn("swap is on, and this kernel has no noswap for tmpfs: content may reach the disk", cure)


def check_state_directory(place: Place) -> Iterator[Word]:
    """Whether the records of volumes can be written, and outlive the container."""
    path = place.settings.node.state_directory
    cure = "see --state-dir, SSCSI_STATE_DIR: a directory of the host, which the container's user may write"
    if not os.path.isdir(path):
        yield warn(f"there is no {path} (yet): the node room makes it at its start", cure)
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield fail(f"{path} can't be written by this user", cure)
        return
    mount_id = LinuxMounter(require_shared=False).look(path).mount_id
    entry = next((entry for entry in mounts() if entry.mount_id == mount_id), None)
    kind = entry.filesystem if entry else "an unknown file system"
    if entry and "ro" in entry.options.split(","):
        yield fail(f"{path} is on a read-only mount ({kind})", cure)
        return
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    if free < _MIN_FREE_BYTES:
        yield fail(
            f"{path} has {free} bytes free ({kind})", "make room on this disk: each volume has a record"
        )
    elif kind in _NOT_ON_THE_HOST and place.is_in_cluster:
        yield warn(f"{path} is on {kind}: the records are lost with the container", cure)
    else:
        yield ok(f"{path} can be written, on {kind}")


class EtcHosts:
    """Where the host has the pod that this runs in: paths within the file system of `device`."""

    def __init__(self, device: int, root_path: str, pod_uid: str) -> None:
        self.device, self.root_path, self.pod_uid = device, root_path, pod_uid


def etc_hosts(entries: list[MountEntry]) -> EtcHosts | None:
    """Told by the mount at /etc/hosts, which is a file of kubelet's; None where this is no pod."""
    for entry in reversed(entries):
        if entry.mount_point == "/etc/hosts" and (match := _ETC_HOSTS.fullmatch(entry.root)):
            return EtcHosts(entry.device, match["root"], match["uid"])
    return None


def host_path(entries: list[MountEntry], path: str) -> tuple[int, str] | None:
    """Device and path within its file system of a path that is there."""
    mount_id = LinuxMounter(require_shared=False).look(path).mount_id
    for entry in entries:
        if entry.mount_id == mount_id:
            below = os.path.relpath(path, entry.mount_point)
            return entry.device, os.path.normpath(os.path.join(entry.root, below))
    return None


def _is_hosts_own(path: str) -> bool:
    """Whether this runs on the host itself, where kubelet's pods are commonly on the root's own mount."""
    mount_id = LinuxMounter(require_shared=False).look(path).mount_id
    entry = next((entry for entry in mounts() if entry.mount_id == mount_id), None)
    return entry is not None and entry.mount_point == "/" and entry.shared and entry.filesystem != "overlay"


def _probe_directory(pods: str) -> str:
    """Our own pod's directory where there is one: kubelet takes each name in the directory above for a pod."""
    hosts = etc_hosts(mounts())
    own = os.path.join(pods, hosts.pod_uid) if hosts else ""
    return own if own and os.path.isdir(own) else pods


def _seen_on_host(probe: MountEntry, host: str) -> Word:
    made = "a probe mount was made and taken away again"
    try:
        is_elsewhere = os.readlink(f"/proc/{host}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
        table = mounts(host) if is_elsewhere else []
    except OSError:
        is_elsewhere, table = False, []
    if not is_elsewhere:
        return ok(f"{made}, on a shared mount; the host's own table can't be looked at from here")
    if any(entry.device == probe.device for entry in table):
        return ok(f"{made}, and the host saw it")
    cure = f"mountPropagation: Bidirectional for kubelet's pods directory, and a shared mount there on the host; {_CHART_VALUE}"
    return fail(f"{made}, and the host did not see it", cure)


def _no_probe(directory: str, error: Exception) -> Word:
    number = error.errno if isinstance(error, OSError) else None
    text = f"no probe mount in {directory}: {error.strerror if isinstance(error, OSError) else error}"
    is_right = number in {errno.EACCES, errno.EPERM, errno.EROFS} or "CAP_SYS_ADMIN" in str(error)
    return skip(text, "run it as root, where the appliance runs") if is_right else fail(text, "see the error")


def _root_cure(root: str) -> str:
    # What the kernel tells begins at the root of that file system.
    where = f"{_CHART_VALUE}={root} (after the path where the host mounts that file system, if that is not /)"
    value = where if root else f"{_CHART_VALUE} must be kubelet's --root-dir"
    return f"{value}; without the chart, every path of the DaemonSet that begins with it"


def _halves(text: str) -> tuple[str, str]:
    found, _, cure = text.partition(". ")
    return found, cure
