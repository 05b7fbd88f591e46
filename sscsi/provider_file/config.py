"""The command line of `sscsi-provider-file`."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from sscsi.errors import ConfigError
from sscsi.process import flags
from sscsi.process.flags import Flag, Flags
from sscsi.process.run import LOG_FLAGS

PROGRAM = "sscsi-provider-file"
# gRPC keeps a message's length in 32 signed bits.
_MAX_MESSAGE_BYTES = 2**31 - 1

_FLAGS = (
    Flag(
        name="root",
        default="",
        help="Directory whose files are served; absolute. Required.",
        variable="SSCSI_FILE_PROVIDER_ROOT",
    ),
    Flag(
        name="by-namespace",
        default=True,
        help="Look for a pod's objects below ROOT/<pod namespace>, so that no namespace reads another's. "
        "May be switched off only with --cluster=dir:PATH.",
        variable="SSCSI_FILE_PROVIDER_BY_NAMESPACE",
    ),
    Flag(
        name="cluster",
        default="kubernetes",
        help="Where classes come from: kubernetes, or dir:PATH. Decides only whether --by-namespace may be off.",
        variable="SSCSI_CLUSTER",
    ),
    Flag(
        name="run-dir",
        default="/run/sscsi",
        help="Directory of the appliance's sockets; this one is providers/file.sock in it.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(
        name="max-response-bytes",
        default=4 * 1024 * 1024,
        help="Largest answer, in bytes. The node room takes answers up to its --max-call-recv-msg-size: "
        "raise both.",
        variable="SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES",
    ),
    Flag(name="stop-grace", default=2.0, help="How long running calls may take to end after SIGTERM."),
    *LOG_FLAGS,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the command line says. Raises ConfigError for values that can't go together."""

    # Absolute path of the directory that is served.
    root: str
    # Whether objects are below ROOT/<pod namespace>.
    by_namespace: bool
    # `kubernetes` or `dir:PATH`, as the other rooms have it.
    cluster: str
    # Absolute path of the appliance's run directory.
    run_dir: str
    # Bytes of a serialized answer; the default is what the node room takes by default.
    max_response_bytes: int
    # Seconds for running calls after the stop signal.
    stop_grace_seconds: float
    log_as_json: bool
    log_verbosity: int
    flags: Flags = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if not os.path.isabs(self.root):
            raise ConfigError(
                "flag --root: set it (or variable SSCSI_FILE_PROVIDER_ROOT) to the absolute path of a directory"
            )
        if self.cluster != "kubernetes" and not self.cluster.startswith("dir:"):
            raise ConfigError("flag --cluster (variable SSCSI_CLUSTER): must be kubernetes or dir:PATH")
        if not self.by_namespace and not self.cluster.startswith("dir:"):
            raise ConfigError(
                "flag --by-namespace=false needs --cluster=dir:PATH (variable SSCSI_CLUSTER): "
                "in a cluster every namespace could read every other's secrets"
            )
        if not os.path.isabs(self.run_dir):
            raise ConfigError("flag --run-dir (variable SSCSI_RUN_DIR): must be an absolute path")
        if not 0 < self.max_response_bytes <= _MAX_MESSAGE_BYTES:
            raise ConfigError(f"flag --max-response-bytes: must be 1 to {_MAX_MESSAGE_BYTES}")
        if self.stop_grace_seconds < 0:
            raise ConfigError("flag --stop-grace: must not be negative")

    @property
    def providers_directory(self) -> str:
        return os.path.join(self.run_dir, "providers")

    @property
    def socket_path(self) -> str:
        return os.path.join(self.providers_directory, "file.sock")

    @property
    def key_path(self) -> str:
        return os.path.join(self.run_dir, "provider-file.key")


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """The configuration. Raises ConfigError, HelpRequestedError."""
    parsed = flags.parse(PROGRAM, _FLAGS, argv, environ)
    return Config(
        root=parsed.text("root"),
        by_namespace=parsed.boolean("by-namespace"),
        cluster=parsed.text("cluster"),
        run_dir=parsed.text("run-dir"),
        max_response_bytes=parsed.integer("max-response-bytes"),
        stop_grace_seconds=parsed.seconds("stop-grace"),
        log_as_json=parsed.boolean("log-format-json"),
        log_verbosity=parsed.integer("v"),
        flags=parsed,
    )
