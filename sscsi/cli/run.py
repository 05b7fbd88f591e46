"""`sscsi run [driver flags]`: the whole appliance, in the foreground."""

import logging
import os
import resource
import socket
import sys
import textwrap
from collections.abc import Mapping, Sequence

from sidecars.statussync.credentials import kubeconfig_paths
from sscsi.cli import checks, environment
from sscsi.cli.environment import Environment
from sscsi.cli.settings import SETTINGS
from sscsi.cli.shared_memory import import_shared
from sscsi.core import log_keys, run_files
from sscsi.edges.linux_mounts import check_mount_rights
from sscsi.edges.run_directory import make_private_directory, make_run_directory, share_run_directory
from sscsi.errors import ConfigError
from sscsi.node.config import flags_for
from sscsi.process import logs
from sscsi.process.flags import HelpRequestedError, TextRequestedError, usage

log = logging.getLogger(__name__)

PRINT_ENV = ("--print-env", "-print-env")
# Seven times the publishes that the node room takes in by default, waiting ones among them.
_DESCRIPTORS = 8192
# `minfds` in supervisord.conf, which keeps those below for itself; a test compares them.
SUPERVISORD_DESCRIPTORS = 256
_ABOUT = (
    "Runs every program of the appliance until SIGTERM or SIGINT. The flags are the node room's, upstream's "
    "among them; everything else is set by environment variables. A flag goes before its variable. "
    "With --print-env it only prints every variable as a shell export, for a stock supervisord, and leaves."
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the appliance; its exit code. Raises ConfigError, TextRequestedError."""
    arguments = [argument for argument in argv if argument not in PRINT_ENV]
    try:
        complete = environment.complete(arguments, environ, host_name=socket.gethostname())
    except HelpRequestedError as request:
        raise HelpRequestedError(help_text(environ)) from request
    scripts = checks.scripts_directory(sys.argv[0])
    path = environment.put_first(scripts, environ.get("PATH", os.defpath))
    variables = {**complete.variables, "PATH": path}
    if len(arguments) < len(argv):
        raise TextRequestedError(environment.shell_exports(variables).rstrip("\n"))
    # Without a thread of its log: who forks has one thread, also when nobody reads what it says.
    logs.configure(
        "supervisord",
        as_json=complete.node.log_as_json,
        verbosity=complete.node.log_verbosity,
        has_thread=False,
    )
    _prepare(complete, variables)
    os.environ.update(variables)
    # supervisord tries a temporary directory out before it reads its file; a read-only root has none but this.
    os.environ.setdefault("TMPDIR", complete.node.run_directory)
    import_shared()
    # Imported here: supervisord is 15 MiB that neither --help nor --print-env needs.
    from sscsi.cli.supervise import supervise  # noqa: PLC0415

    return supervise()


def help_text(environ: Mapping[str, str]) -> str:
    """What `sscsi run --help` prints: the variables, then the flags."""
    first_line, rest = usage("sscsi run", flags_for(environ)).split("\n", 1)
    lines = [first_line, "", *textwrap.wrap(_ABOUT, width=100), "", "Variables, with their defaults:"]
    for setting in SETTINGS:
        lines.append(f"  {setting.variable}={setting.shown_default or setting.default}")
        lines += textwrap.wrap(
            setting.about, width=100, initial_indent="        ", subsequent_indent="        "
        )
    return "\n".join(lines) + "\n" + rest


def _prepare(complete: Environment, variables: dict[str, str]) -> None:
    """Make what must be there and look for what would keep a room from starting. Raises ConfigError."""
    node = complete.node
    check_mount_rights()
    make_run_directory(node.run_directory)
    checks.check_can_make(node.state_directory, "--state-dir, SSCSI_STATE_DIR")
    checks.check_endpoint(node.endpoint)
    if complete.statussync.cluster_directory:
        checks.check_readable(complete.statussync.cluster_directory, "--cluster, SSCSI_CLUSTER")
        # Its room may not write to directories of others, so this one is made here.
        make_private_directory(complete.statussync.status_directory, "--cluster, SSCSI_CLUSTER")
    else:
        kubeconfig_paths(complete.statussync.kubeconfig, os.environ)
    if complete.registration_directory:
        checks.check_writable(complete.registration_directory, "SSCSI_REGISTRATION_DIR")
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        checks.check_output(descriptor, name)
        checks.append_output(descriptor)
    _allow_connections()
    # From here on nothing is refused any more: who is refused has one line to read.
    if problem := share_run_directory(node.run_directory, complete.probe_group):
        log.warning(
            "the liveness probe runs as this user: nobody else can be let into the run directory",
            extra={log_keys.PATH: node.run_directory, log_keys.REASON: problem},
        )
        variables["SSCSI_PROBE_USER"] = f"{os.geteuid()}:{os.getegid()}"
    make_run_directory(os.path.join(node.run_directory, run_files.PROVIDERS))


def _allow_connections() -> None:
    """Let the rooms have as many descriptors as many publishes at once need: each comes on its own connection.

    Container runtimes give 1024 to begin with, and leave it to the program to ask for more. Raises ConfigError (1) for
    a limit below which nothing works.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= SUPERVISORD_DESCRIPTORS:
        raise ConfigError(
            f"the hard limit of open files (RLIMIT_NOFILE) is {hard}, and at least {SUPERVISORD_DESCRIPTORS + 1} are "
            f"needed, {_DESCRIPTORS} for many pods at once: raise it (ulimit -H -n, or the container runtime's setting)",
            exit_code=1,
        )
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
