"""What a test needs of the machine: found, or the test is skipped and says so.

SSCSI_REQUIRE lists, with commas, what this machine has (`.ci/run` writes it); a skip for want of something in that
list is a failure. The list is made without this module, so that a search that fails here is noticed there.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import NoReturn

import pytest

from tests.e2e import upstream_build
from tests.support.own_mounts import own_mounts

# What SSCSI_REQUIRE may list.
NAMES = frozenset(
    {
        "root",
        "userns",
        "go",
        "csi-sanity",
        "pypi",
        "openat2",
        "cluster",
        "kube-apiserver",
        "promtool",
        "helm",
        "upstream",
    }
)
CSI_SANITY = "csi-test-v5.6.0"
_INSTALL_SANITY = (
    f"GOBIN=~/.cache/sscsi-tools/{CSI_SANITY} "
    "go install github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v5.6.0"
)


def require(name: str) -> str:
    """The path of `name` on this machine (`root`: itself); the test ends here when it is not there."""
    find, names, cure = _FINDERS[name]
    path = find()
    if not path:
        lacking(*names, reason=f"this machine has no {name}: {cure}")
    return path


def lacking(*names: str, reason: str) -> NoReturn:
    """Skip the running test; fail it when this machine is said to have any of `names`."""
    assert NAMES.issuperset(names), f"add to NAMES: {names}"
    listed = required().intersection(names)
    if listed:
        pytest.fail(f"SSCSI_REQUIRE lists {', '.join(sorted(listed))}, but {reason}", pytrace=False)
    pytest.skip(reason)


def required() -> frozenset[str]:
    """The names in SSCSI_REQUIRE. Raises pytest.UsageError for a name that no test asks for."""
    names = frozenset(filter(None, os.environ.get("SSCSI_REQUIRE", "").split(",")))
    if unknown := sorted(names - NAMES):
        raise pytest.UsageError(f"SSCSI_REQUIRE: no test needs {', '.join(unknown)}")
    return names


def _find_root() -> str:
    return "root" if own_mounts().is_root else ""


@functools.cache
def _find_csi_sanity() -> str:
    go_bin = ""
    if go := shutil.which("go"):
        answer = subprocess.run(
            [go, "env", "GOPATH"], capture_output=True, text=True, check=False, timeout=60
        )
        go_bin = os.path.join(answer.stdout.strip(), "bin", "csi-sanity")
    cached = os.path.expanduser(f"~/.cache/sscsi-tools/{CSI_SANITY}/csi-sanity")
    candidates = (os.environ.get("CSI_SANITY"), shutil.which("csi-sanity"), cached, go_bin)
    return next((path for path in candidates if path and os.access(path, os.X_OK)), "")


def find_kube_apiserver() -> str:
    """Its path, or nothing. The convention for API test binaries: KUBEBUILDER_ASSETS is a directory that has all three."""
    directories = (
        os.environ.get("KUBEBUILDER_ASSETS"),
        os.environ.get("SSCSI_BIN"),
        os.path.expanduser("~/.cache/sscsi-cluster/bin"),
    )
    for directory in filter(None, directories):
        paths = [os.path.join(directory, name) for name in ("kube-apiserver", "etcd", "kubectl")]
        if all(os.access(path, os.X_OK) for path in paths):
            return paths[0]
    return ""


def _find_program(name: str) -> str:
    binaries = (os.environ.get("SSCSI_BIN"), os.path.expanduser("~/.cache/sscsi-cluster/bin"))
    path = os.pathsep.join(filter(None, (os.environ.get("PATH"), *binaries)))
    return shutil.which(name, path=path) or ""


def _find_upstream() -> str:
    path = os.path.join(upstream_build.DIRECTORY, upstream_build.PROGRAM)
    return path if os.access(path, os.X_OK) else ""


# By name: how it is found, which names in SSCSI_REQUIRE promise it, and how to get it.
_FINDERS: dict[str, tuple[Callable[[], str], tuple[str, ...], str]] = {
    "root": (_find_root, ("root",), "run the tests as root"),
    "csi-sanity": (_find_csi_sanity, ("csi-sanity", "go"), _INSTALL_SANITY),
    "kube-apiserver": (
        find_kube_apiserver,
        ("kube-apiserver",),
        "set KUBEBUILDER_ASSETS to a directory with it, etcd and kubectl",
    ),
    "promtool": (
        functools.partial(_find_program, "promtool"),
        ("promtool",),
        "have Prometheus' promtool on PATH",
    ),
    "helm": (functools.partial(_find_program, "helm"), ("helm",), "have Helm 3 (helm) on PATH"),
    "upstream": (_find_upstream, ("upstream",), "python3 tests/e2e/upstream_build.py"),
}
