"""What the appliance needs of the node's mounts: kubelet's root, propagation, memory that is not swapped, a disk."""

import errno
import os
from collections.abc import Iterator

from sscsi.cli.doctor_place import Place
from sscsi.cli.doctor_probe import probe_mount
from sscsi.core.finding import Word, fail, ok, skip, warn
from sscsi.core.host_mounts import Reach, find_mount, propagation_cure, propagation_word
from sscsi.core.mount_info import MountEntry
from sscsi.edges.linux_mounts import LinuxMounter, own_mounts
from sscsi.edges.pods_directory import PodsDirectory, look_at_pods
from sscsi.errors import MountError, TargetPathError

_HOST_INIT = "1"
_NO_KUBELET = "there is no kubelet here (SSCSI_CLUSTER=dir:, no SSCSI_KUBELET_REGISTRATION_PATH)"
_MIN_FREE_BYTES = 1024 * 1024
_NOT_ON_THE_HOST = frozenset({"overlay", "tmpfs"})


def check_kubelet_root(place: Place) -> Iterator[Word]:
    """Whether kubelet's pods are where we look for them."""
    if not place.kubelet_root:
        yield skip(_NO_KUBELET)
        return
    yield look_at_pods(place.kubelet_root).root


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
    found = look_at_pods(place.kubelet_root)
    if found.verdict.reach is not Reach.REACHES:
        is_refused = place.settings.node.refuses_doubtful_propagation
        yield propagation_word(pods, found.verdict, refuses_doubtful=is_refused)
        return
    try:
        with probe_mount(_probe_directory(found)) as entry:
            yield _seen_on_host(entry, host, pods)
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
    entry = find_mount(own_mounts(), mount_id)
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


def _probe_directory(pods: PodsDirectory) -> str:
    """Our own pod's directory where there is one: kubelet takes each name in the directory above for a pod."""
    own = os.path.join(pods.path, pods.place.pod_uid) if pods.place else ""
    return own if own and os.path.isdir(own) else pods.path


def _seen_on_host(probe: MountEntry, host: str, pods: str) -> Word:
    made = "a probe mount was made and taken away again"
    try:
        is_elsewhere = os.readlink(f"/proc/{host}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
        table = own_mounts(host) if is_elsewhere else []
    except OSError:
        is_elsewhere, table = False, []
    if not is_elsewhere:
        return ok(f"{made}, on a shared mount; the host's own table can't be looked at from here")
    if any(entry.device == probe.device for entry in table):
        return ok(f"{made}, and the host saw it")
    return fail(f"{made}, and the host did not see it", propagation_cure(pods))


def _no_probe(directory: str, error: Exception) -> Word:
    number = error.errno if isinstance(error, OSError) else None
    text = f"no probe mount in {directory}: {error.strerror if isinstance(error, OSError) else error}"
    is_right = number in {errno.EACCES, errno.EPERM, errno.EROFS} or "CAP_SYS_ADMIN" in str(error)
    return skip(text, "run it as root, where the appliance runs") if is_right else fail(text, "see the error")
