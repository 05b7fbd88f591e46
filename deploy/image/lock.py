"""Write requirements.txt: exact versions and hashes of the wheels that the image gets, on both its architectures.

Run it with a Python whose environment has the versions that the tests ran with: .venv/bin/python deploy/image/lock.py
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ARCHITECTURES = ("x86_64", "aarch64")
# Debian bookworm has glibc 2.36.
MANYLINUX = (
    "manylinux2014",
    "manylinux_2_17",
    "manylinux_2_26",
    "manylinux_2_28",
    "manylinux_2_31",
    "manylinux_2_34",
)
_HEADER = "# Made by lock.py: the wheels of the image, with what they need. Only these bytes are installed.\n"
_BUILD_HEADER = "# Made by lock.py: what builds our own wheel; nothing of it comes into the image.\n"


def main() -> None:
    """Resolve for each architecture, and write both files beside this one."""
    installed = {
        _normal(found.metadata["Name"]): found.version for found in importlib.metadata.distributions()
    }
    ours = [line for line in importlib.metadata.requires("sscsi") or [] if "extra ==" not in line]
    _write("requirements.txt", _HEADER, resolve(ours, installed))
    _write("build-requirements.txt", _BUILD_HEADER, resolve(["setuptools>=77"], {}))


def resolve(wanted: list[str], versions: dict[str, str]) -> dict[str, set[str]]:
    """By `name==version`, the hashes of its wheels; `versions` are kept to where one is named."""
    hashes: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        constraints = os.path.join(scratch, "constraints.txt")
        with open(constraints, "w", encoding="utf-8") as file:
            file.writelines(f"{name}=={version}\n" for name, version in versions.items() if name != "sscsi")
        for architecture in ARCHITECTURES:
            report = os.path.join(scratch, architecture)
            platforms = [f"--platform={kind}_{architecture}" for kind in MANYLINUX]
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"),
                    *(
                        "--only-binary=:all:",
                        "--python-version=3.11",
                        "--implementation=cp",
                        "--target=/nowhere",
                    ),
                    *(*platforms, f"--report={report}", f"--constraint={constraints}", *wanted),
                ],
                check=True,
            )
            with open(report, encoding="utf-8") as file:
                for item in json.load(file)["install"]:
                    name = f"{_normal(item['metadata']['name'])}=={item['metadata']['version']}"
                    hashes.setdefault(name, set()).add(item["download_info"]["archive_info"]["hash"])
    return hashes


def _write(name: str, header: str, hashes: dict[str, set[str]]) -> None:
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write(header)
        for requirement, found in sorted(hashes.items()):
            options = [f"    --hash={hash_.replace('=', ':')}" for hash_ in sorted(found)]
            file.write(" \\\n".join([requirement, *options]) + "\n")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
