"""What would keep the rooms from starting, found before they are started: one line instead of a restart loop.

All raise ConfigError with code 1: the command line is right, the machine lacks something.
"""

import errno
import fcntl
import os
import shutil
import sysconfig

from sscsi.cli.programs import LAUNCHER, MODULES
from sscsi.core.endpoint import Endpoint
from sscsi.errors import ConfigError


def check_can_make(directory: str, where: str) -> None:
    """`directory`, or the nearest one above it that is there, must be writable; `where` names what to change."""
    nearest = directory
    while not os.path.exists(nearest):
        nearest = os.path.dirname(nearest)
    if not os.path.isdir(nearest):
        raise ConfigError(f"{nearest!r} is in the way of directory {directory!r}; see {where}", exit_code=1)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{directory!r} can't be written: {nearest!r} is not writable; see {where}", exit_code=1
        )


def check_readable(directory: str, where: str) -> None:
    """`directory` must be there and readable; `where` names what to change."""
    if not os.path.isdir(directory):
        raise ConfigError(f"there is no directory {directory!r}; create it, or see {where}", exit_code=1)
    if not os.access(directory, os.R_OK | os.X_OK):
        raise ConfigError(f"directory {directory!r} is not readable; see {where}", exit_code=1)


def check_writable(directory: str, where: str) -> None:
    """`directory` must be there and writable; `where` names what to change."""
    if not os.path.isdir(directory):
        raise ConfigError(f"there is no directory {directory!r}; create it, or see {where}", exit_code=1)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"directory {directory!r} is not writable; see {where}", exit_code=1)


def check_endpoint(endpoint: Endpoint) -> None:
    """The endpoint's directory must be there, as kubelet expects it in a place of the host's choosing."""
    if endpoint.scheme == "unix":
        check_writable(os.path.dirname(endpoint.address), "the CSI socket's --endpoint, CSI_ENDPOINT")


def scripts_directory(argv0: str) -> str:
    """Where our console scripts are: beside the command that is running, or where this Python installs them."""
    candidates = [os.path.dirname(os.path.abspath(argv0)), sysconfig.get_path("scripts")]
    found = shutil.which(LAUNCHER)
    candidates += [os.path.dirname(os.path.abspath(found))] if found else []
    for directory in candidates:
        if all(os.access(os.path.join(directory, program), os.X_OK) for program in (LAUNCHER, *MODULES)):
            return directory
    raise ConfigError(
        f"the programs {', '.join((LAUNCHER, *MODULES))} are not in {candidates[1]!r} nor on PATH; install with `pip install .`",
        exit_code=1,
    )


def check_output(descriptor: int, name: str) -> None:
    """See that supervisord can open the program's own output by its name in /dev/fd as it does for every room's log."""
    try:
        os.close(os.open(f"/dev/fd/{descriptor}", os.O_WRONLY | os.O_NOCTTY))
    except OSError as error:
        kind = "a socket" if error.errno == errno.ENXIO else error.strerror
        raise ConfigError(
            f"{name} can't be opened by supervisord ({kind}); put a pipe behind it: sscsi run 2>&1 | cat",
            exit_code=1,
        ) from error


def append_output(descriptor: int) -> None:
    """Let every writer of a regular file write at its end: supervisord opens it anew, with a position of its own."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)
