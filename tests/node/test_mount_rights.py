"""A machine that does not let the appliance mount is told so at the start, in one line, and not at the first pod."""

import os
import subprocess
import sys

import pytest

from tests.support.node_place import NodePlace
from tests.support.node_room import NODE, clean_environ

pytestmark = pytest.mark.root

# Takes CAP_SYS_ADMIN out of the bounding set and becomes its arguments: a container that is not privileged.
WITHOUT_MOUNTS = (
    sys.executable,
    "-c",
    (
        "import ctypes, os, sys\n"
        "PR_CAPBSET_DROP, CAP_SYS_ADMIN = 24, 21\n"
        "assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) == 0\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    ),
)
SSCSI = os.path.join(os.path.dirname(sys.executable), "sscsi")
CURE = (
    "this process may not mount: CAP_SYS_ADMIN is missing: run privileged, or in a user namespace of your own"
)


def run(*command: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*WITHOUT_MOUNTS, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=clean_environ(environ),
    )


def test_the_node_room_says_so_and_makes_nothing(place: NodePlace) -> None:
    result = run(*NODE, *place.flags())
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"sscsi-node: {CURE}\n")
    assert os.listdir(place.run_directory) == []
    assert os.listdir(os.path.dirname(place.endpoint)) == []
    assert not os.path.exists(place.state_directory)


def test_sscsi_run_says_so_and_starts_no_program(place: NodePlace) -> None:
    os.mkdir(f"{place.base}/classes")
    result = run(
        SSCSI,
        "run",
        CSI_ENDPOINT=f"unix://{place.endpoint}",
        SSCSI_CLUSTER=f"dir:{place.base}/classes",
        SSCSI_RUN_DIR=place.run_directory,
        SSCSI_STATE_DIR=place.state_directory,
    )
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.endswith(CURE)
    assert os.listdir(place.run_directory) == []


def test_help_needs_no_rights() -> None:
    result = run(*NODE, "--help")
    assert (result.returncode, result.stderr) == (0, "")
