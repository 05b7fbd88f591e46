"""Build the image of deploy/Containerfile without a registry of images: `build_image.py OUT.tar [--name NAME]`.

The root file system is made by the Containerfile's own program, on this machine, which must be Debian bookworm with
/usr/bin/python3.11, python3-venv and the right to fetch packages of Debian and PyPI; entry point, variables and labels are
read from the Containerfile's last stage. `ctr --namespace k8s.io images import OUT.tar` gives it to a node.
"""

import argparse
import os
import subprocess
import sys
import tempfile

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, CHECKOUT)

from tests.e2e import containerfile, oci_archive  # noqa: E402

CONTAINERFILE = os.path.join(CHECKOUT, "deploy", "Containerfile")
RECIPE = os.path.join(CHECKOUT, "deploy", "image", "rootfs.py")
# Debian's own: compiled code is for its version, and venv is its package.
PYTHON = "/usr/bin/python3.11"
# As deploy/daemonset.yaml has it.
NAME = "localhost/sscsi/sscsi:0.1.0"


def lay_out(rootfs: str) -> None:
    """Make the root file system in `rootfs`, which must not be there yet. Raises CalledProcessError."""
    subprocess.run([PYTHON, RECIPE, rootfs], stdin=subprocess.DEVNULL, check=True)


def pack(out: str, *, rootfs: str, name: str = NAME) -> str:
    """Write the archive `out` from `rootfs`; returns the digest of the image."""
    with open(CONTAINERFILE, encoding="utf-8") as file:
        config = containerfile.image_config(file.read())
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return oci_archive.write(out, rootfs=rootfs, config=config, name=name, architecture=architecture)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", metavar="OUT.tar")
    parser.add_argument("--name", default=NAME, help="the image's name with its tag (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sscsi-image.") as scratch:
        rootfs = os.path.join(scratch, "rootfs")
        lay_out(rootfs)
        print(pack(options.out, rootfs=rootfs, name=options.name), options.name)


if __name__ == "__main__":
    main()
