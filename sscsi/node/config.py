"""The node room's command line: upstream's flags in upstream's spelling, and ours."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence

from sscsi import __version__
from sscsi.core.endpoint import Endpoint, parse_endpoint
from sscsi.core.host_mounts import kubelet_root
from sscsi.core.listen_address import OFF_WORDS, parse_listen_address
from sscsi.core.refresh_interval import NodeInterval, node_interval
from sscsi.errors import ConfigError
from sscsi.node.audit import check_destination
from sscsi.node.node_flags import OWN_FLAGS, UPSTREAM_FLAGS
from sscsi.process.flags import Flag, Flags, TextRequestedError
from sscsi.process.flags import parse as parse_flags
from sscsi.process.run import LOG_FLAGS

PROGRAM = "sscsi-node"
_MAX_CONTENT_BYTES = 1024**4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Everything the node room is told. Sizes in bytes, times in seconds; checked on construction."""

    endpoint: Endpoint
    driver_name: str
    node_id: str
    provider_directories: tuple[str, ...]
    rotation: bool
    interval: NodeInterval
    interval_problems: tuple[str, ...]
    """What is wrong with the flags about it, a line each; the room runs with the defaults."""
    own_clock: bool
    max_refreshes_per_provider: int
    max_refreshes_per_second: int
    sharing_providers: frozenset[str]
    max_answer_bytes: int
    run_directory: str
    state_directory: str
    content_limit_bytes: int
    provider_timeout_seconds: float
    secret_wait_seconds: float
    max_publishes_per_provider: int
    max_waiting_publishes: int
    require_shared_propagation: bool
    refuses_doubtful_propagation: bool
    """The flag was given: what may reach the host, and may not, is refused as well."""
    kubelet_root: str
    """Kubelet's --root-dir; empty where there is none to register with."""
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
            ("max-refreshes-per-provider", self.max_refreshes_per_provider),
            ("max-refreshes-per-second", self.max_refreshes_per_second),
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
        help="Refuse to publish where a mount would not reach the host; without the flag, only where that is certain: in a "
        "pod. false by default with SSCSI_CLUSTER=dir:PATH.",
    )
    return (*UPSTREAM_FLAGS, *OWN_FLAGS, propagation, *LOG_FLAGS)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> NodeConfig:
    """The configuration. Raises ConfigError, TextRequestedError (--help, --version)."""
    flags = parse_flags(PROGRAM, flags_for(environ), argv, environ)
    if flags.boolean("version"):
        raise TextRequestedError(json.dumps({"BuildVersion": __version__, "GitCommit": "", "BuildDate": ""}))
    if flags.text("metrics-backend").lower() != "prometheus":
        raise ConfigError(
            f"flag --metrics-backend: unsupported metrics backend {flags.text('metrics-backend')}; only prometheus"
        )
    _check_metrics_address(flags.text("metrics-addr"))
    endpoint = _endpoint(flags)
    run_directory = flags.text("run-dir")
    interval, interval_problems = _interval(flags)
    return NodeConfig(
        endpoint=endpoint,
        driver_name=flags.text("drivername"),
        node_id=flags.text("nodeid"),
        provider_directories=_provider_directories(flags),
        rotation=flags.boolean("enable-secret-rotation"),
        interval=interval,
        interval_problems=interval_problems,
        own_clock=flags.boolean("refresh-between-republishes"),
        max_refreshes_per_provider=flags.integer("max-refreshes-per-provider"),
        max_refreshes_per_second=flags.integer("max-refreshes-per-second"),
        sharing_providers=frozenset(
            filter(None, map(str.strip, flags.text("share-provider-calls").split(",")))
        ),
        max_answer_bytes=flags.integer("max-call-recv-msg-size"),
        run_directory=run_directory,
        state_directory=flags.text("state-dir") or _default_state_directory(endpoint, run_directory),
        content_limit_bytes=flags.integer("content-limit"),
        provider_timeout_seconds=flags.seconds("provider-timeout"),
        secret_wait_seconds=flags.seconds("secret-wait"),
        max_publishes_per_provider=flags.integer("max-publishes-per-provider"),
        max_waiting_publishes=flags.integer("max-waiting-publishes"),
        require_shared_propagation=flags.boolean("require-shared-propagation"),
        refuses_doubtful_propagation=flags.is_given("require-shared-propagation"),
        kubelet_root=kubelet_root(environ.get("SSCSI_KUBELET_REGISTRATION_PATH", "")),
        stop_grace_seconds=flags.seconds("stop-grace"),
        audit_log=flags.text("audit-log"),
        provider_health_check=flags.boolean("provider-health-check"),
        provider_health_check_interval_seconds=flags.seconds("provider-health-check-interval"),
        log_as_json=flags.boolean("log-format-json"),
        log_verbosity=flags.integer("v"),
        flags=flags,
    )


def _interval(flags: Flags) -> tuple[NodeInterval, tuple[str, ...]]:
    floor = "rotation-poll-interval-floor"
    return node_interval(
        flags.text("rotation-poll-interval"), flags.text(floor) if flags.is_given(floor) else None
    )


def _check_metrics_address(text: str) -> None:
    """Refuse by its own name what sscsi-livenessprobe would have to refuse."""
    if text in OFF_WORDS:
        return
    try:
        parse_listen_address(text)
    except ValueError as error:
        raise ConfigError(f"flag --metrics-addr (variable SSCSI_METRICS_ADDR): {error}") from error


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
