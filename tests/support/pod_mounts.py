"""What kubelet mounts into the container of a pod, by which a program knows that it is in one."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

OWN_UID = "uid-of-our-own-pod"
_HOSTS = "/etc/hosts"


@contextlib.contextmanager
def in_a_pod(kubelet_root: str, uid: str = OWN_UID) -> Iterator[None]:
    """This mount namespace is a pod's, which kubelet has below `kubelet_root`; names resolve as before."""
    directory = os.path.join(kubelet_root, "pods", uid)
    os.makedirs(directory, exist_ok=True)
    file = os.path.join(directory, "etc-hosts")
    shutil.copyfile(_HOSTS, file)
    subprocess.run(["mount", "--bind", file, _HOSTS], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", _HOSTS], check=True)
