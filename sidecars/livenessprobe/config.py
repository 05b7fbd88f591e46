"""The liveness probe's command line: upstream's flags in upstream's spelling, and ours."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from sscsi.core import run_files
from sscsi.core.csi_address import parse_csi_address
from sscsi.core.listen_address import OFF, OFF_WORDS, parse_listen_address
from sscsi.errors import ConfigError
from sscsi.process.flags import Flag, Flags
from sscsi.process.flags import parse as parse_flags
from sscsi.process.run import LOG_FLAGS

PROGRAM = "sscsi-livenessprobe"
HEALTHZ = "/healthz"
LIVEZ = "/livez"
READYZ = "/readyz"

_STDERR = "each line goes to stderr at once."
_UPSTREAM_FLAGS = (
    Flag(
        name="csi-address",
        default="/run/csi/socket",
        help="Socket of the CSI driver, a path or unix:PATH; with a run directory, probe.sock in there by default.",
    ),
    Flag(
        name="probe-timeout",
        default=3.0,
        help="How long one health check may take, connecting and CSI Probe together. Keep it below kubelet's "
        "timeoutSeconds.",
    ),
    Flag(
        name="http-endpoint",
        default="",
        help="Address of the health pages and of the metrics, HOST:PORT or :PORT; off: no such listener.",
        variable="SSCSI_HEALTH_ENDPOINT",
    ),
    Flag(
        name="health-port",
        default="9808",
        help="Port of the health pages, on all IPv4 interfaces, without metrics; where --http-endpoint is not "
        "given. Old: use that.",
    ),
    Flag(
        name="metrics-address",
        default="",
        help="Address of a listener for the metrics alone; not with --http-endpoint. Old: use that.",
    ),
    Flag(
        name="metrics-path", default="/metrics", help="Path of the metrics, on each listener that has them."
    ),
    Flag(name="logging-format", default="text", help="Form of the log: text or json."),
    Flag(
        name="automaxprocs",
        default=False,
        help="Fit Go's threads to the CPU limit.",
        no_effect="there is no Go runtime to fit.",
    ),
    Flag(
        name="vmodule",
        default="",
        help="Verbosity by Go source file.",
        no_effect="there are no Go source files.",
    ),
    Flag(name="log-flush-frequency", default=5.0, help="How often to flush the log.", no_effect=_STDERR),
    Flag(name="log-text-split-stream", default=False, help="Info lines to stdout.", no_effect=_STDERR),
    Flag(name="log-text-info-buffer-size", default="0", help="Buffer for them.", no_effect=_STDERR),
    Flag(name="log-json-split-stream", default=False, help="Info lines to stdout.", no_effect=_STDERR),
    Flag(name="log-json-info-buffer-size", default="0", help="Buffer for them.", no_effect=_STDERR),
)
_OWN_FLAGS = (
    Flag(
        name="run-dir",
        default="",
        help="Directory of the appliance's own sockets; empty: standing alone, beside any CSI driver.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(
        name="appliance-metrics-address",
        default="",
        help="Address of one more listener for the metrics alone; empty, 0 or off: none.",
        variable="SSCSI_METRICS_ADDR",
    ),
    Flag(
        name="require-registration",
        default=False,
        help="Not ready while kubelet has not confirmed the registration; needs a run directory.",
        variable="SSCSI_REGISTRAR_AUTOSTART",
    ),
)
_FLAGS = (*_UPSTREAM_FLAGS, *_OWN_FLAGS, *LOG_FLAGS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LivenessProbeConfig:
    """Everything the liveness probe is told. A bad value raises ConfigError."""

    driver_socket: str
    """Path of the socket at which the driver is probed."""
    probe_timeout_seconds: float
    health_address: str
    """Where the health pages are; empty for nowhere."""
    health_has_metrics: bool
    """Whether the metrics are there, too."""
    metrics_addresses: tuple[str, ...]
    """Listeners that have the metrics alone."""
    metrics_path: str
    run_directory: str
    """Where the other rooms' sockets and `watchdog.json` are; empty when standing alone."""
    require_registration: bool
    log_as_json: bool
    log_verbosity: int
    flags: Flags

    def __post_init__(self) -> None:
        if self.probe_timeout_seconds <= 0:
            raise ConfigError(
                f"flag --probe-timeout: must be more than 0, not {self.probe_timeout_seconds:g}s; 3s is the default"
            )
        if not self.metrics_path.startswith("/") or self.metrics_path in {HEALTHZ, LIVEZ, READYZ}:
            raise ConfigError(
                f"flag --metrics-path: {self.metrics_path!r} must start with a slash and be none of "
                f"{HEALTHZ}, {LIVEZ} and {READYZ}; /metrics is the default"
            )
        if self.run_directory and not self.run_directory.startswith("/"):
            raise ConfigError(f"flag --run-dir: must be an absolute path, not {self.run_directory!r}")
        if self.require_registration and not self.run_directory:
            raise ConfigError(
                "flag --require-registration: the registrar is asked at its socket in --run-dir; give that, too"
            )
        self._check_addresses([a for a in (self.health_address, *self.metrics_addresses) if a])

    def _check_addresses(self, addresses: Sequence[str]) -> None:
        """As upstream, code 1 for an address at which nobody could listen (for the health port it has 0)."""
        if not addresses:
            raise ConfigError(
                "--http-endpoint (SSCSI_HEALTH_ENDPOINT) is off and there is no listener for metrics "
                "(SSCSI_METRICS_ADDR): nothing to do; give one of them, or do not start this program",
                exit_code=1,
            )
        if len(set(addresses)) < len(addresses):
            raise ConfigError(
                f"two listeners have the address {addresses[-1]}; --http-endpoint has the metrics, too",
                exit_code=1,
            )
        for address in addresses:
            try:
                parse_listen_address(address)
            except ValueError as error:
                raise ConfigError(f"cannot listen: {error}", exit_code=1) from error


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> LivenessProbeConfig:
    """The configuration. Raises ConfigError, HelpRequestedError."""
    flags = parse_flags(PROGRAM, _FLAGS, argv, environ)
    if flags.text("logging-format") not in {"text", "json"}:
        raise ConfigError(
            f"flag --logging-format: {flags.text('logging-format')!r} is neither text nor json", exit_code=1
        )
    _check_conflicts(flags)
    endpoint = flags.text("http-endpoint")
    own_metrics_address = flags.text("metrics-address")
    more = flags.text("appliance-metrics-address")
    return LivenessProbeConfig(
        driver_socket=_driver_socket(flags),
        probe_timeout_seconds=flags.seconds("probe-timeout"),
        health_address="" if endpoint == OFF else endpoint or f"0.0.0.0:{flags.text('health-port')}",
        health_has_metrics=bool(endpoint),
        metrics_addresses=tuple(
            address for address in (own_metrics_address, "" if more in OFF_WORDS else more) if address
        ),
        metrics_path=flags.text("metrics-path"),
        run_directory=flags.text("run-dir"),
        require_registration=flags.boolean("require-registration"),
        log_as_json=flags.boolean("log-format-json") or flags.text("logging-format") == "json",
        log_verbosity=flags.integer("v"),
        flags=flags,
    )


def _check_conflicts(flags: Flags) -> None:
    """Upstream's, with its code; it does not notice --health-port=9808, which is its default."""
    if not flags.text("http-endpoint"):
        return
    for name, is_there in (
        ("health-port", flags.is_given("health-port")),
        ("metrics-address", bool(flags.text("metrics-address"))),
    ):
        if is_there:
            raise ConfigError(
                f"flags --http-endpoint (variable SSCSI_HEALTH_ENDPOINT) and --{name}: give one of them; "
                f"--{name} is the old one",
                exit_code=1,
            )


def _driver_socket(flags: Flags) -> str:
    if flags.text("run-dir") and not flags.is_given("csi-address"):
        return os.path.join(flags.text("run-dir"), run_files.PROBE)
    try:
        return parse_csi_address(flags.text("csi-address"))
    except ValueError as error:
        raise ConfigError(f"flag --csi-address: {error}", exit_code=1) from error
