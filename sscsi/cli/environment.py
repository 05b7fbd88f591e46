"""From what an operator gives to everything that supervisord.conf and the rooms read. Pure.

A flag goes before its variable, a variable before its default; and a flag that more than one room reads
becomes the variable again, so that all of them agree (`--run-dir` is the node room's flag, the directory
everybody's). Each room's own parser checks its part: what it refuses is refused before anything starts.
"""

import dataclasses
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from sidecars.livenessprobe import config as livenessprobe_config
from sidecars.registrar import config as registrar_config
from sidecars.statussync import config as statussync_config
from sidecars.statussync.config import Config as StatusSyncConfig
from sidecars.watchdog import config as watchdog_config
from sscsi.cli import settings
from sscsi.core.listen_address import OFF, OFF_WORDS
from sscsi.errors import ConfigError
from sscsi.node import config as node_config
from sscsi.node.config import NodeConfig
from sscsi.process import launch
from sscsi.process.flags import Flag, Flags
from sscsi.provider_file import config as provider_file_config

# `stopwaitsecs` in supervisord.conf of the programs that take a grace here; a test compares them.
STOP_WAIT_SECONDS = {"sscsi-node": 12.0, "sscsi-statussync": 3.0}
# What a room needs for its own end, when the grace of its calls is over.
STOP_MARGIN_SECONDS = 1.0

C = TypeVar("C")
Parse = Callable[[Sequence[str], Mapping[str, str]], C]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What the programs get: `variables` are those to set; `node` and `statussync` how those two read them.

    `registration_directory` is empty when there is no registrar. `probe_group` is the group that may enter the run
    directory.
    """

    variables: Mapping[str, str]
    node: NodeConfig
    statussync: StatusSyncConfig
    registration_directory: str
    probe_group: int


def complete(arguments: Sequence[str], environ: Mapping[str, str], *, host_name: str) -> Environment:
    """Every variable, from the driver flags `arguments` and `environ`.

    Raises ConfigError (2) with the name of the flag or variable; TextRequestedError for --help and --version.
    """
    variables = settings.given(environ)
    variables["KUBE_NODE_NAME"] = variables["KUBE_NODE_NAME"] or host_name
    if variables["SSCSI_CLUSTER"] == statussync_config.KUBERNETES:
        variables["SSCSI_KUBELET_REGISTRATION_PATH"] = (
            variables["SSCSI_KUBELET_REGISTRATION_PATH"] or settings.KUBELET_REGISTRATION_PATH
        )

    def parsed_by(parse: Parse[C], name: str, *more: str) -> C:
        words = [*_words(variables, name), *more]
        variables[name] = shlex.join(words)
        # Each is started by supervisord, which says so.
        return parse(words, {**environ, **variables, "SUPERVISOR_ENABLED": "1"})

    node = parsed_by(node_config.parse, "SSCSI_NODE_ARGS", *arguments)
    _adopt_flags(variables, node_config.flags_for({**environ, **variables}), node.flags)
    if variables["SSCSI_METRICS_ADDR"] in OFF_WORDS:
        variables["SSCSI_METRICS_ADDR"] = OFF
    variables |= _autostarts(variables)
    # The first is the run directory's own, which goes without saying.
    variables["SSCSI_PROVIDER_DIRS"] = ",".join(node.provider_directories[1:])
    variables["SSCSI_STATE_DIR"] = node.state_directory

    statussync = parsed_by(statussync_config.parse, "SSCSI_STATUSSYNC_ARGS")
    parsed_by(watchdog_config.parse, "SSCSI_WATCHDOG_ARGS")
    _check_grace("sscsi-node", node.stop_grace_seconds)
    _check_grace("sscsi-statussync", statussync.stop_grace_seconds)
    registers = variables[settings.AUTOSTART_REGISTRAR] == "true"
    if registers:
        parsed_by(registrar_config.parse, "SSCSI_REGISTRAR_ARGS")
    if variables[settings.AUTOSTART_LIVENESSPROBE] == "true":
        parsed_by(livenessprobe_config.parse, "SSCSI_LIVENESSPROBE_ARGS")
    if variables[settings.AUTOSTART_FILE_PROVIDER] == "true":
        provider_file_config.parse([], {**environ, **variables})
    return Environment(
        variables=variables,
        node=node,
        statussync=statussync,
        registration_directory=variables["SSCSI_REGISTRATION_DIR"] if registers else "",
        probe_group=_probe_group(variables["SSCSI_PROBE_USER"]),
    )


def put_first(directory: str, path: str) -> str:
    """The search path `path` with `directory` in front: our programs go before namesakes of theirs."""
    others = [entry for entry in path.split(os.pathsep) if entry and entry != directory]
    return os.pathsep.join([directory, *others])


def shell_exports(variables: Mapping[str, str]) -> str:
    """Lines for a shell's `eval`, one a variable."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def _autostarts(variables: Mapping[str, str]) -> dict[str, str]:
    """Which of the programs that are not always there supervisord starts."""
    listens = {variables["SSCSI_HEALTH_ENDPOINT"], variables["SSCSI_METRICS_ADDR"]} != {OFF}
    starts = {
        settings.AUTOSTART_FILE_PROVIDER: bool(variables["SSCSI_FILE_PROVIDER_ROOT"]),
        settings.AUTOSTART_REGISTRAR: bool(variables["SSCSI_KUBELET_REGISTRATION_PATH"]),
        settings.AUTOSTART_LIVENESSPROBE: listens,
    }
    return {name: str(start).lower() for name, start in starts.items()}


def _probe_group(user: str) -> int:
    try:
        group = launch.parse([f"--user={user}", "--", "sscsi-livenessprobe"]).privileges.gid
    except ConfigError as error:
        raise ConfigError(f"variable SSCSI_PROBE_USER: {error}") from error
    if group is None:
        raise ConfigError("variable SSCSI_PROBE_USER: which group? Write USER:GROUP, in numbers")
    return group


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
