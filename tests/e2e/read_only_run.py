"""Run the image's appliance on a read-only root, in a mount namespace of this process's own: `read_only_run.py ROOTFS`.

Ends with 0 when the driver is healthy and has stopped with 0.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_SECONDS = 30.0
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0) -> None:
    """The system call. Raises OSError."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def prepare(root: str) -> None:
    """The root can't be written; what the manifests mount can."""
    if _libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", flags=_MS_REC | _MS_PRIVATE)
    mount(root, root, flags=_MS_BIND)
    mount(root, root, flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY)
    mount("proc", f"{root}/proc", "proc")
    mount("/dev", f"{root}/dev", flags=_MS_BIND | _MS_REC)
    for name in ("run/sscsi", "csi", "secrets"):
        mount("none", f"{root}/{name}", "tmpfs")
    os.mkdir(f"{root}/csi/classes")
    # kubelet makes an emptyDir so.
    os.chmod(f"{root}/run/sscsi", 0o777)


def health(root: str) -> str:
    """What `sscsi status` says first."""
    answer = subprocess.run(
        ["/usr/sbin/chroot", root, "/usr/local/bin/sscsi", "status"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return (answer.stdout or answer.stderr).split("\n", 1)[0]


def main(root: str) -> int:
    """Start, wait for all programs, stop."""
    prepare(root)
    environ = {
        "PATH": "/usr/local/bin:/usr/bin",
        "KUBE_NODE_NAME": "node-1",
        "SSCSI_CLUSTER": "dir:/csi/classes",
        "SSCSI_FILE_PROVIDER_ROOT": "/secrets",
        # Any free ports: the machine's are shared.
        "SSCSI_HEALTH_ENDPOINT": "127.0.0.1:0",
        "SSCSI_METRICS_ADDR": "off",
    }
    run = subprocess.Popen(["/usr/sbin/chroot", root, "/usr/local/bin/sscsi", "run"], env=environ)
    never = threading.Event()
    deadline = time.monotonic() + _SECONDS
    said = ""
    while not said.startswith("HEALTHY") and run.poll() is None and time.monotonic() < deadline:
        never.wait(0.2)
        said = health(root)
    print(said)
    owner = os.stat(f"{root}/run/sscsi").st_gid
    run.send_signal(signal.SIGTERM)
    code = run.wait(_SECONDS)
    print(f"group of the run directory {owner}, exit code {code}")
    return 0 if said.startswith("HEALTHY") and owner == 65532 and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
