"""From what an operator gives to everything that supervisord.conf and the rooms read. Pure.

A flag goes before its variable, a variable before its default; and a flag that more than one room reads
becomes the variable again, so that all of them agree (`--run-dir` is the node room's flag, the directory
everybody's). Each room's own parser checks its part: what it refuses is refused before anything starts.
"""

import dataclasses
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence

from sidecars.statussync import config as statussync_config
from sidecars.statussync.config import Config as StatusSyncConfig
from sscsi.cli import settings
from sscsi.errors import ConfigError
from sscsi.node import config as node_config
from sscsi.node.config import NodeConfig
from sscsi.process.flags import Flag, Flags
from sscsi.provider_file import config as provider_file_config

# `stopwaitsecs` in supervisord.conf of the programs that take flags here; a test compares them.
STOP_WAIT_SECONDS = {"sscsi-node": 12.0, "sscsi-statussync": 6.0}
# What a room needs for its own end, when the grace of its calls is over.
STOP_MARGIN_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What the programs get: `variables` are those to set; `node` and `statussync` how those two read them."""

    variables: Mapping[str, str]
    node: NodeConfig
    statussync: StatusSyncConfig


def complete(arguments: Sequence[str], environ: Mapping[str, str], *, host_name: str) -> Environment:
    """Every variable, from the driver flags `arguments` and `environ`.

    Raises ConfigError (2) with the name of the flag or variable; TextRequestedError for --help and --version.
    """
    variables = settings.given(environ)
    variables["KUBE_NODE_NAME"] = variables["KUBE_NODE_NAME"] or host_name
    statussync_arguments = _words(variables, "SSCSI_STATUSSYNC_ARGS")
    node_arguments = [*_words(variables, "SSCSI_NODE_ARGS"), *arguments]
    variables["SSCSI_STATUSSYNC_ARGS"] = shlex.join(statussync_arguments)
    variables["SSCSI_NODE_ARGS"] = shlex.join(node_arguments)

    node = node_config.parse(node_arguments, {**environ, **variables})
    _adopt_flags(variables, node_config.flags_for({**environ, **variables}), node.flags)

    statussync = statussync_config.parse(statussync_arguments, {**environ, **variables})
    _check_grace("sscsi-node", node.stop_grace_seconds)
    _check_grace("sscsi-statussync", statussync.stop_grace_seconds)
    serves_files = bool(variables["SSCSI_FILE_PROVIDER_ROOT"])
    if serves_files:
        provider_file_config.parse([], {**environ, **variables})
    # The first is the run directory's own, which goes without saying.
    directories = node.provider_directories[1:]
    variables |= {
        "SSCSI_STATE_DIR": node.state_directory,
        "SSCSI_PROVIDER_DIRS": ",".join(directories),
        settings.AUTOSTART_FILE_PROVIDER: str(serves_files).lower(),
    }
    return Environment(variables=variables, node=node, statussync=statussync)


def put_first(directory: str, path: str) -> str:
    """The search path `path` with `directory` in front: our programs go before namesakes of theirs."""
    others = [entry for entry in path.split(os.pathsep) if entry and entry != directory]
    return os.pathsep.join([directory, *others])


def shell_exports(variables: Mapping[str, str]) -> str:
    """Lines for a shell's `eval`, one a variable."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def _words(variables: Mapping[str, str], name: str) -> list[str]:
    try:
        return shlex.split(variables[name])
    except ValueError as error:
        raise ConfigError(f"variable {name}: {error}; quote it as for a shell") from error


def _check_grace(program: str, grace_seconds: float) -> None:
    """Refuse a grace that supervisord would cut short without a word."""
    wait = STOP_WAIT_SECONDS[program]
    if grace_seconds > wait - STOP_MARGIN_SECONDS:
        raise ConfigError(
            f"flag --stop-grace: {grace_seconds:g} s is too long: supervisord kills {program} after {wait:g} s; "
            f"give at most {wait - STOP_MARGIN_SECONDS:g}s"
        )


def _adopt_flags(variables: dict[str, str], flags: Iterable[Flag], parsed: Flags) -> None:
    for flag in flags:
        if flag.variable in variables and parsed.is_given(flag.name):
            text = parsed.text(flag.name)
            variables[flag.variable] = text.lower() if isinstance(flag.default, bool) else text
