"""The node room's command line: upstream's flags in upstream's spelling, and ours."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence

from sscsi import __version__
from sscsi.core.endpoint import Endpoint, parse_endpoint
from sscsi.errors import ConfigError
from sscsi.node.audit import check_destination
from sscsi.process.flags import Flag, Flags, TextRequestedError
from sscsi.process.flags import parse as parse_flags
from sscsi.process.run import LOG_FLAGS

PROGRAM = "sscsi-node"
_MIB = 1024 * 1024
_MAX_CONTENT_BYTES = 1024**4
_LATER = "its feature comes with a later release."
_NO_GO = "it belongs to Go's profiler."
_STDERR = "logs go to stderr only."

_UPSTREAM_FLAGS = (
    Flag(
        name="endpoint",
        default="unix://tmp/csi.sock",
        help="CSI endpoint to listen on: unix:// or tcp://.",
        variable="CSI_ENDPOINT",
    ),
    Flag(
        name="drivername",
        default="secrets-store.csi.k8s.io",
        help="Name of the driver, answered by GetPluginInfo.",
    ),
    Flag(
        name="nodeid",
        default="",
        help="Name of the node, answered by NodeGetInfo; without it the host name.",
        variable="KUBE_NODE_NAME",
    ),
    Flag(
        name="provider-volume",
        default="/var/run/secrets-store-csi-providers",
        help="Directory of provider sockets, searched last.",
    ),
    Flag(
        name="additional-provider-volume-paths",
        default="/etc/kubernetes/secrets-store-csi-providers",
        help="More directories of provider sockets, comma separated, searched first and in this order.",
    ),
    Flag(
        name="enable-secret-rotation",
        default=False,
        help="Fetch content again when kubelet republishes a volume.",
    ),
    Flag(
        name="rotation-poll-interval",
        default=120.0,
        help="Age of the content from which a republish fetches it again; 0 or less: at every republish.",
    ),
    Flag(name="max-call-recv-msg-size", default=4 * _MIB, help="Largest answer of a provider, in bytes."),
    Flag(name="version", default=False, help="Print the version as JSON and leave."),
    Flag(
        name="metrics-addr",
        default=":8095",
        help="Address of the metrics page; 0 switches it off.",
        no_effect=_LATER,
    ),
    Flag(
        name="metrics-backend",
        default="Prometheus",
        help="Kind of the metrics page; only Prometheus.",
        no_effect=_LATER,
    ),
    Flag(
        name="provider-health-check",
        default=False,
        help="Ask every provider for its version now and then, and tell which do not answer.",
    ),
    Flag(name="provider-health-check-interval", default=120.0, help="How often that is done."),
    Flag(
        name="kubeconfig",
        default="",
        help="Path of a kubeconfig file, which `sscsi run` gives to status-sync: the node room does not talk to the API.",
        variable="KUBECONFIG",
    ),
    Flag(name="enable-pprof", default=False, help="Serve profiles.", no_effect=_NO_GO),
    Flag(name="pprof-port", default=6065, help="Port of the profiles.", no_effect=_NO_GO),
    Flag(
        name="vmodule",
        default="",
        help="Verbosity by Go source file.",
        no_effect="there are no Go source files.",
    ),
    Flag(name="logtostderr", default=True, help="Log to stderr.", no_effect=_STDERR),
    Flag(name="alsologtostderr", default=False, help="Log to stderr too.", no_effect=_STDERR),
    Flag(name="stderrthreshold", default="2", help="Least severity on stderr.", no_effect=_STDERR),
    Flag(name="log_dir", default="", help="Directory of log files.", no_effect=_STDERR),
    Flag(name="log_file", default="", help="Log file.", no_effect=_STDERR),
    Flag(name="log_file_max_size", default=1800, help="Largest log file, in MiB.", no_effect=_STDERR),
    Flag(
        name="add_dir_header",
        default=False,
        help="Directory in each line's header.",
        no_effect="the program's name is there.",
    ),
    Flag(name="skip_headers", default=False, help="No headers.", no_effect="every line has one."),
    Flag(name="one_output", default=False, help="One file a severity.", no_effect=_STDERR),
    Flag(name="skip_log_headers", default=False, help="No headers in files.", no_effect=_STDERR),
    Flag(
        name="log_backtrace_at",
        default="",
        help="Stack trace at a line.",
        no_effect="there are no Go source files.",
    ),
)
_OWN_FLAGS = (
    Flag(
        name="run-dir",
        default="/run/sscsi",
        help="Directory of the appliance's own sockets.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(
        name="state-dir",
        default="",
        help="Directory of the records of published volumes; without it `records` beside the endpoint's socket.",
        variable="SSCSI_STATE_DIR",
    ),
    Flag(
        name="provider-dirs",
        default="",
        help="The whole list of provider directories, comma separated, searched left to right; without it "
        "--additional-provider-volume-paths, then --provider-volume. RUN_DIR/providers goes before either.",
        variable="SSCSI_PROVIDER_DIRS",
    ),
    Flag(
        name="content-limit",
        default=64 * _MIB,
        help="Largest content of one volume, in bytes; the tmpfs has twice that, for the swap.",
    ),
    Flag(
        name="provider-timeout",
        default=100.0,
        help="Longest call to a provider; the caller's deadline less 5s if that is sooner.",
    ),
    Flag(
        name="secret-wait",
        default=2.0,
        help="How long a first publish waits for the Secrets of its class; 0: not at all.",
    ),
    Flag(
        name="max-publishes-per-provider",
        default=128,
        help="Publishes that may be with one provider at once.",
    ),
    Flag(
        name="max-waiting-publishes",
        default=1000,
        help="Publishes that may wait for that, over all providers.",
    ),
    Flag(
        name="audit-log",
        default="",
        help="Absolute path of a file, or `-` for stdout, for one JSON line about each delivery and refresh; empty: none.",
        variable="SSCSI_AUDIT_LOG",
    ),
    Flag(name="stop-grace", default=10.0, help="How long calls in flight may go on after SIGTERM."),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Everything the node room is told. Sizes in bytes, times in seconds; checked on construction."""

    endpoint: Endpoint
    driver_name: str
    node_id: str
    provider_directories: tuple[str, ...]
    rotation: bool
    rotation_interval_seconds: float
    max_answer_bytes: int
    run_directory: str
    state_directory: str
    content_limit_bytes: int
    provider_timeout_seconds: float
    secret_wait_seconds: float
    max_publishes_per_provider: int
    max_waiting_publishes: int
    require_shared_propagation: bool
    stop_grace_seconds: float
    audit_log: str
    provider_health_check: bool
    provider_health_check_interval_seconds: float
    log_as_json: bool
    log_verbosity: int
    flags: Flags

    def __post_init__(self) -> None:
        for name, value in (
            ("max-call-recv-msg-size", self.max_answer_bytes),
            ("content-limit", self.content_limit_bytes),
            ("provider-timeout", self.provider_timeout_seconds),
            ("max-publishes-per-provider", self.max_publishes_per_provider),
            ("provider-health-check-interval", self.provider_health_check_interval_seconds),
        ):
            if value <= 0:
                raise ConfigError(f"flag --{name}: must be more than 0, not {value:g}")
        if self.content_limit_bytes > _MAX_CONTENT_BYTES:
            raise ConfigError(
                f"flag --content-limit: must be at most {_MAX_CONTENT_BYTES} (1 TiB), not {self.content_limit_bytes}"
            )
        for name, value in (
            ("max-waiting-publishes", self.max_waiting_publishes),
            ("stop-grace", self.stop_grace_seconds),
        ):
            if value < 0:
                raise ConfigError(f"flag --{name}: must not be negative, not {value:g}")
        for name, path in (("run-dir", self.run_directory), ("state-dir", self.state_directory)):
            if not path.startswith("/"):
                raise ConfigError(f"flag --{name}: must be an absolute path, not {path!r}")
        check_destination(self.audit_log)


def flags_for(environ: Mapping[str, str]) -> tuple[Flag, ...]:
    """Every flag; one default depends on the form of the cluster."""
    in_kubernetes = not environ.get("SSCSI_CLUSTER", "").startswith("dir:")
    propagation = Flag(
        name="require-shared-propagation",
        default=in_kubernetes,
        help="Refuse to publish where a mount would not reach the host; false by default with SSCSI_CLUSTER=dir:PATH.",
    )
    return (*_UPSTREAM_FLAGS, *_OWN_FLAGS, propagation, *LOG_FLAGS)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> NodeConfig:
    """The configuration. Raises ConfigError, TextRequestedError (--help, --version)."""
    flags = parse_flags(PROGRAM, flags_for(environ), argv, environ)
    if flags.boolean("version"):
        raise TextRequestedError(json.dumps({"BuildVersion": __version__, "GitCommit": "", "BuildDate": ""}))
    if flags.text("metrics-backend").lower() != "prometheus":
        raise ConfigError(
            f"flag --metrics-backend: unsupported metrics backend {flags.text('metrics-backend')}; only prometheus"
        )
    endpoint = _endpoint(flags)
    run_directory = flags.text("run-dir")
    return NodeConfig(
        endpoint=endpoint,
        driver_name=flags.text("drivername"),
        node_id=flags.text("nodeid"),
        provider_directories=_provider_directories(flags),
        rotation=flags.boolean("enable-secret-rotation"),
        rotation_interval_seconds=flags.seconds("rotation-poll-interval"),
        max_answer_bytes=flags.integer("max-call-recv-msg-size"),
        run_directory=run_directory,
        state_directory=flags.text("state-dir") or _default_state_directory(endpoint, run_directory),
        content_limit_bytes=flags.integer("content-limit"),
        provider_timeout_seconds=flags.seconds("provider-timeout"),
        secret_wait_seconds=flags.seconds("secret-wait"),
        max_publishes_per_provider=flags.integer("max-publishes-per-provider"),
        max_waiting_publishes=flags.integer("max-waiting-publishes"),
        require_shared_propagation=flags.boolean("require-shared-propagation"),
        stop_grace_seconds=flags.seconds("stop-grace"),
        audit_log=flags.text("audit-log"),
        provider_health_check=flags.boolean("provider-health-check"),
        provider_health_check_interval_seconds=flags.seconds("provider-health-check-interval"),
        log_as_json=flags.boolean("log-format-json"),
        log_verbosity=flags.integer("v"),
        flags=flags,
    )


def _endpoint(flags: Flags) -> Endpoint:
    try:
        return parse_endpoint(flags.text("endpoint"))
    except ValueError as error:
        raise ConfigError(f"flag --endpoint: {error}; write unix:///PATH or tcp://HOST:PORT") from error


def _default_state_directory(endpoint: Endpoint, run_directory: str) -> str:
    """Beside the endpoint's socket: kubelet's plugin directory is on the host, so it survives the container."""
    beside = os.path.dirname(endpoint.address) if endpoint.scheme == "unix" else run_directory
    return os.path.join(beside, "records")


def _provider_directories(flags: Flags) -> tuple[str, ...]:
    """The search list: built-in providers, then the whole list if given, else upstream's two flags.

    Flag over variable: upstream's flags, when given, go before SSCSI_PROVIDER_DIRS.
    """
    upstream = f"{flags.text('additional-provider-volume-paths')},{flags.text('provider-volume')}"
    upstream_given = flags.is_given("provider-volume") or flags.is_given("additional-provider-volume-paths")
    whole = flags.text("provider-dirs")
    use_whole = whole and (flags.is_given("provider-dirs") or not upstream_given)
    listed = (whole if use_whole else upstream).split(",")
    directories = [os.path.join(flags.text("run-dir"), "providers"), *(entry.strip() for entry in listed)]
    return tuple(dict.fromkeys(entry for entry in directories if entry))
