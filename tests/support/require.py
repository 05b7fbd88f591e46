"""What a test needs of the machine: found, or the test is skipped and says so.

SSCSI_REQUIRE lists, with commas, what this machine has (`.ci/run` writes it); a skip for want of something in that
list is a failure. The list is made without this module, so that a search that fails here is noticed there.
"""

import functools
import glob
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from tests.support.own_mounts import own_mounts

CSI_SANITY = "csi-test-v5.6.0"


def require(name: str) -> str:
    """The path of `name` on this machine (for `root` and the like: its name); else the test ends here."""
    path = _find(name)
    if not path:
        lacking(name, reason=f"this machine has no {name}: {_CURES.get(name, f'install {name}')}")
    return path


def lacking(*names: str, reason: str) -> NoReturn:
    """Skip the running test; fail it when this machine is said to have any of `names`."""
    listed = required().intersection(names)
    if listed:
        pytest.fail(f"SSCSI_REQUIRE lists {', '.join(sorted(listed))}, but {reason}", pytrace=False)
    pytest.skip(reason)


def required() -> frozenset[str]:
    """The names in SSCSI_REQUIRE. Raises pytest.UsageError for a name that no test can ask for."""
    names = frozenset(filter(None, os.environ.get("SSCSI_REQUIRE", "").split(",")))
    unknown = sorted(name for name in names if name not in _FINDERS and not _PYTHON.fullmatch(name))
    if unknown:
        raise pytest.UsageError(f"SSCSI_REQUIRE: no test needs {', '.join(unknown)}")
    return names


@functools.cache
def _find(name: str) -> str:
    return _find_python(name) if _PYTHON.fullmatch(name) else _FINDERS[name]()


def _find_root() -> str:
    return "root" if own_mounts().is_root else ""


def _find_userns() -> str:
    return "userns" if _succeeds("unshare", "--user", "--map-root-user", "--mount", "true") else ""


def _find_go() -> str:
    return shutil.which("go") or ""


def _find_csi_sanity() -> str:
    go_bin = ""
    if go := _find_go():
        answer = subprocess.run(
            [go, "env", "GOPATH"], capture_output=True, text=True, check=False, timeout=60
        )
        go_bin = os.path.join(answer.stdout.strip(), "bin", "csi-sanity")
    cached = os.path.expanduser(f"~/.cache/sscsi-tools/{CSI_SANITY}/csi-sanity")
    candidates = (os.environ.get("CSI_SANITY"), shutil.which("csi-sanity"), go_bin, cached)
    return next((path for path in candidates if path and os.access(path, os.X_OK)), "")


@functools.cache
def _find_pypi() -> str:
    """The package index that pip is set up to use: whether it answers for a package that we install anyway."""
    asked = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--timeout=10", "--retries=0")
    return "pypi" if _succeeds(*asked, "index", "versions", "iniconfig") else ""


def _find_python(name: str) -> str:
    """`python3.N`: the running one, one on PATH, or one of pyenv's."""
    places = os.path.expanduser(f"~/.pyenv/versions/{name.removeprefix('python')}.*/bin/python")
    running = sys.executable if name == f"python3.{sys.version_info.minor}" else None
    # pyenv's shims are on PATH for every version, and fail for those that are not chosen.
    for path in (running, shutil.which(name), *sorted(glob.glob(places))):
        if path and _succeeds(path, "-c", "import venv, ensurepip"):
            return path
    return ""


def _succeeds(*command: str) -> bool:
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
        )
    except OSError:
        return False
    return answer.returncode == 0


_PYTHON = re.compile(r"python3\.[0-9]+")
_FINDERS: dict[str, Callable[[], str]] = {
    "root": _find_root,
    "userns": _find_userns,
    "go": _find_go,
    "csi-sanity": _find_csi_sanity,
    "pypi": _find_pypi,
}
_CURES = {
    "root": "run the tests as root",
    "userns": "allow user namespaces to unprivileged users, or run the tests as root",
    "go": "install Go",
    "csi-sanity": f"GOBIN=~/.cache/sscsi-tools/{CSI_SANITY} "
    "go install github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v5.6.0",
    "pypi": "pip can't reach its package index",
}
