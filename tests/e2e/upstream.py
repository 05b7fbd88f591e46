"""Upstream's driver on the node of the cluster, applied over ours and the other way round, as a take-over and a way back do."""

import os
import re
import shutil
import subprocess
import tempfile

from tests.e2e import oci_archive
from tests.e2e.node import Node
from tests.e2e.upstream_manifests import IMAGE
from tests.support.require import require

# Kubelet's pace of republishes is slower by far, so it alone decides.
ARGUMENTS = ("--enable-secret-rotation=true", "--rotation-poll-interval=1s")
_ENTRY_POINT = "/secrets-store-csi"
_LIBRARY = re.compile(r"(/\S+) \(0x")


def import_image(node: Node) -> None:
    """Give the node upstream's driver in an image like upstream's: the program, mount(8), umount(8) and their libraries."""
    program = require("upstream")
    with tempfile.TemporaryDirectory(prefix="sscsi-upstream.", dir="/tmp") as directory:
        rootfs = os.path.join(directory, "rootfs")
        os.makedirs(os.path.join(rootfs, "tmp"))
        shutil.copy(program, f"{rootfs}{_ENTRY_POINT}")
        for path in ("/bin/mount", "/bin/umount", *_libraries("/bin/mount", "/bin/umount")):
            os.makedirs(os.path.dirname(f"{rootfs}{path}"), exist_ok=True)
            shutil.copy(path, f"{rootfs}{path}")
        archive = os.path.join(directory, "image.tar")
        config = {"Entrypoint": [_ENTRY_POINT], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
        architecture = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        oci_archive.write(archive, rootfs=rootfs, config=config, name=IMAGE, architecture=architecture)
        node.import_image(archive)


def _libraries(*programs: str) -> list[str]:
    answer = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True)
    return sorted(set(_LIBRARY.findall(answer.stdout)))
