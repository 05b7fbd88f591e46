"""The room's command line."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from sscsi.core import run_files
from sscsi.errors import ConfigError
from sscsi.process.flags import Flag, Flags
from sscsi.process.flags import parse as parse_flags
from sscsi.process.run import LOG_FLAGS

PROGRAM = "sscsi-statussync"
STATUS = "status"
_DIRECTORY_FORM = "dir:"
_FLAGS = (
    Flag(
        name="cluster",
        default="kubernetes",
        help="Where classes, status objects and Secrets are: dir:PATH, a directory of YAML files, or kubernetes, "
        "which comes with a later release.",
        variable="SSCSI_CLUSTER",
    ),
    Flag(
        name="run-dir",
        default="/run/sscsi",
        help="Directory of the rooms' sockets.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(
        name="nodeid",
        default="",
        help="Name of this node, for the label of status objects.",
        variable="KUBE_NODE_NAME",
    ),
    Flag(name="stop-grace", default=2.0, help="How long calls under way may go on when asked to stop."),
    *LOG_FLAGS,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the room needs to know. A bad value raises ConfigError."""

    cluster_directory: str
    """PATH of `--cluster=dir:PATH`."""
    run_directory: str
    """Directory of the rooms' sockets."""
    node_id: str
    """Value of the node label; empty where there is but one node."""
    stop_grace_seconds: float
    log_as_json: bool
    log_verbosity: int
    flags: Flags

    def __post_init__(self) -> None:
        if not self.run_directory:
            raise ConfigError("flag --run-dir must not be empty")
        if self.stop_grace_seconds < 0:
            raise ConfigError("flag --stop-grace must not be negative")

    @property
    def status_directory(self) -> str:
        """Where status objects and Secrets are written: with root's rights only, it must be there already."""
        return os.path.join(self.cluster_directory, STATUS)

    @property
    def node_socket_path(self) -> str:
        return os.path.join(self.run_directory, run_files.NODE)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """The configuration. Raises ConfigError, HelpRequestedError."""
    flags = parse_flags(PROGRAM, _FLAGS, argv, environ)
    return Config(
        cluster_directory=_cluster_directory(flags.text("cluster")),
        run_directory=flags.text("run-dir"),
        node_id=flags.text("nodeid"),
        stop_grace_seconds=flags.seconds("stop-grace"),
        log_as_json=flags.boolean("log-format-json"),
        log_verbosity=flags.integer("v"),
        flags=flags,
    )


def _cluster_directory(cluster: str) -> str:
    if cluster == "kubernetes":
        raise ConfigError(
            "--cluster=kubernetes (the default) comes with a later release; "
            "--cluster=dir:PATH, a directory of YAML files, works today"
        )
    path = cluster.removeprefix(_DIRECTORY_FORM)
    if path == cluster or not path:
        raise ConfigError(f"--cluster={cluster} is neither kubernetes nor dir:PATH")
    return path
