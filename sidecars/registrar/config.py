"""The registrar's command line: upstream's flags in upstream's spelling and order of checks, and ours."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

from sscsi import __version__
from sscsi.core import run_files
from sscsi.core.endpoint import parse_endpoint
from sscsi.errors import ConfigError
from sscsi.process.flags import Flag, Flags, TextRequestedError
from sscsi.process.flags import parse as parse_flags
from sscsi.process.run import LOG_FLAGS

PROGRAM = "sscsi-registrar"
_PROBE_MODE = "kubelet-registration-probe"
_MAX_SOCKET_PATH_BYTES = 107
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_STDERR = "each line goes to stderr at once."

_FLAGS = (
    Flag(
        name="csi-address",
        default="/run/csi/socket",
        help="Socket of the CSI driver: a path, absolute or not, or unix:PATH. With a tcp:// endpoint in the "
        "variable, RUN_DIR/probe.sock is asked.",
        variable="CSI_ENDPOINT",
    ),
    Flag(
        name="kubelet-registration-path",
        default="",
        help="Path of the CSI driver's socket on the host, which kubelet is told. Required.",
        variable="SSCSI_KUBELET_REGISTRATION_PATH",
    ),
    Flag(
        name="plugin-registration-path",
        default="/registration",
        help="Directory of kubelet's registration sockets, as this program sees it.",
        variable="SSCSI_REGISTRATION_DIR",
    ),
    Flag(
        name="timeout",
        default=1.0,
        help="How long the driver may take to tell its name, at first; each time it is late it gets twice as long, "
        "up to 30s. Also how long the health page waits for our own socket.",
    ),
    Flag(
        name="http-endpoint", default="", help="Address of the health page, HOST:PORT or :PORT; empty: none."
    ),
    Flag(
        name="health-port",
        default=0,
        help="Port of the health page, on all interfaces; 0 or less: none. Old: use --http-endpoint.",
    ),
    Flag(
        name="mode",
        default="",
        help=f"{_PROBE_MODE}: leave with code 0, for manifests with that probe. Anything else: register.",
    ),
    Flag(name="version", default=False, help="Print the version and leave."),
    Flag(
        name="run-dir",
        default="",
        help="Directory of the appliance's own sockets; empty: no state socket, as when standing alone.",
        variable="SSCSI_RUN_DIR",
    ),
    Flag(name="logging-format", default="text", help="Form of the log: text or json."),
    *LOG_FLAGS,
    Flag(
        name="connection-timeout",
        default=0.0,
        help="Once a bound for connecting.",
        no_effect="the driver is waited for as long as it takes.",
    ),
    Flag(
        name="enable-pprof",
        default=False,
        help="Serve profiles.",
        no_effect="it belongs to Go's profiler.",
    ),
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarConfig:
    """Everything the registrar is told. A bad value raises ConfigError; a probe is not looked at further."""

    is_probe: bool
    """Leave at once with code 0: the mode that old manifests run as an exec probe."""
    driver_socket: str
    """Path of the CSI driver's socket here."""
    endpoint: str
    """Path of the CSI driver's socket on the host, told to kubelet word for word."""
    registration_directory: str
    timeout_seconds: float
    health_address: str
    """Where the health page listens; empty for none."""
    run_directory: str
    """Where the state socket is; empty for none."""
    log_as_json: bool
    log_verbosity: int
    flags: Flags

    def __post_init__(self) -> None:
        if self.is_probe:
            return
        if scheme := _SCHEME.match(self.endpoint):
            raise ConfigError(
                f"flag --kubelet-registration-path: kubelet takes {self.endpoint!r} for the name of a file; "
                f"write the bare absolute path on the host, without {scheme[1]}:",
                exit_code=1,
            )
        for name, path in (
            ("kubelet-registration-path", self.endpoint),
            ("csi-address", self.driver_socket),
        ):
            if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
                raise ConfigError(
                    f"flag --{name}: {path!r} is too long: a unix socket's path has at most "
                    f"{_MAX_SOCKET_PATH_BYTES} bytes",
                    exit_code=1,
                )
        if not self.registration_directory:
            raise ConfigError(
                "flag --plugin-registration-path must not be empty; the usual directory is /registration",
                exit_code=1,
            )
        if self.timeout_seconds <= 0:
            raise ConfigError(
                f"flag --timeout: must be more than 0, not {self.timeout_seconds:g}s; 1s is the default",
                exit_code=1,
            )

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is allowed and seldom meant, one line each, for the log."""
        found = []
        if not self.endpoint.startswith("/"):
            found.append(
                f"--kubelet-registration-path={self.endpoint} is not absolute: kubelet looks for it in its own "
                "working directory"
            )
        if os.path.basename(os.path.dirname(self.endpoint)) == "plugins_registry":
            found.append(
                "the driver's socket is in kubelet's plugins_registry: kubelet takes it for a registration socket "
                "and keeps calling it; put it below /var/lib/kubelet/plugins"
            )
        return tuple(found)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> RegistrarConfig:
    """The configuration. Raises ConfigError, TextRequestedError."""
    flags = parse_flags(PROGRAM, _FLAGS, argv, environ)
    if flags.integer("v") < 0:
        raise ConfigError(f"flag --v: must be 0 or more, not {flags.integer('v')}")
    # Upstream's order of checks (sidecars reference, A3): an old probe's command line must keep its exit code.
    if flags.text("logging-format") not in {"text", "json"}:
        raise ConfigError(
            f"flag --logging-format: {flags.text('logging-format')!r} is neither text nor json", exit_code=1
        )
    if flags.boolean("version"):
        raise TextRequestedError(f"{PROGRAM} {__version__}")
    if not flags.text("kubelet-registration-path"):
        raise ConfigError(
            "flag --kubelet-registration-path is required: the path of the driver's socket on the host, as in "
            "/var/lib/kubelet/plugins/DRIVER/csi.sock",
            exit_code=1,
        )
    is_probe = flags.text("mode") == _PROBE_MODE
    return RegistrarConfig(
        is_probe=is_probe,
        driver_socket="" if is_probe else _driver_socket(flags, environ),
        endpoint=flags.text("kubelet-registration-path"),
        registration_directory=flags.text("plugin-registration-path"),
        timeout_seconds=flags.seconds("timeout"),
        health_address="" if is_probe else _health_address(flags),
        run_directory=flags.text("run-dir"),
        log_as_json=flags.boolean("log-format-json") or flags.text("logging-format") == "json",
        log_verbosity=flags.integer("v"),
        flags=flags,
    )


def _health_address(flags: Flags) -> str:
    address, port = flags.text("http-endpoint"), flags.integer("health-port")
    if address and port > 0:
        raise ConfigError(
            "flags --http-endpoint and --health-port: give one of them; --health-port is the old one",
            exit_code=1,
        )
    return address or (f":{port}" if port > 0 else "")


def _driver_socket(flags: Flags, environ: Mapping[str, str]) -> str:
    """Path of the driver's socket: the flag is written as upstream's registrar reads it, the variable as the driver."""
    address = flags.text("csi-address")
    if flags.is_given("csi-address") or not environ.get("CSI_ENDPOINT"):
        where = "flag --csi-address"
        path = _path_of_address(address)
    else:
        where = "variable CSI_ENDPOINT"
        path = _path_of_endpoint(address)
    if path is None:
        path = os.path.join(flags.text("run-dir"), run_files.PROBE) if flags.text("run-dir") else ""
    if not path:
        raise ConfigError(
            f"{where}: {address!r} names no unix socket, and kubelet dials nothing else; write its path, or "
            "unix:///PATH (tcp:// is good only with --run-dir, where the node room has probe.sock)",
            exit_code=1,
        )
    return path


def _path_of_address(address: str) -> str | None:
    """`/path`, `unix:///path`, `unix://rel`, `unix:rel`, `rel`; None for tcp://, empty for what is none."""
    scheme = _SCHEME.match(address)
    if not scheme:
        return address
    if scheme[1].lower() == "unix":
        return scheme[2].removeprefix("//")
    return None if scheme[1].lower() == "tcp" else ""


def _path_of_endpoint(text: str) -> str | None:
    """Path of a CSI endpoint; None for tcp://, empty for what is none."""
    try:
        endpoint = parse_endpoint(text)
    except ValueError:
        # An endpoint without a scheme is what upstream's registrar takes.
        return _path_of_address(text)
    return endpoint.address if endpoint.scheme == "unix" else None
