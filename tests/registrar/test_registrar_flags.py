"""Flags and the checks of them (sidecars reference, A2 and A3), as a table over upstream's program and ours."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys

import pytest

from sidecars.registrar.config import RegistrarConfig, parse
from sscsi import __version__
from sscsi.errors import ConfigError
from tests.registrar.registrar_place import ENDPOINT, Ours, Place, Subject, running
from tests.registrar.tiny_driver import TinyDriver
from tests.support.checkout import ROOT

PROBE = "--mode=kubelet-registration-probe"
SERVES = None
"""In place of an exit code: it goes on and registers."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One command line. `upstream` and `ours` are exit codes; ours is upstream's where nothing else is said.

    `text`: what our one line must have. `better`: why ours is another, for the docs.
    """

    what: str
    flags: tuple[str, ...]
    upstream: int | None
    ours: int | None = -1
    text: str = ""
    better: str = ""

    def expected(self, subject: Subject) -> int | None:
        return self.ours if subject.is_ours and self.ours != -1 else self.upstream


PATH = f"--kubelet-registration-path={ENDPOINT}"
ROWS = (
    Row(what="no flags", flags=(), upstream=1, text="--kubelet-registration-path is required"),
    Row(what="version goes first", flags=("--version",), upstream=0),
    Row(what="version, one dash", flags=("-version=true", PROBE), upstream=0),
    Row(what="an unknown flag", flags=("--no-such-flag", "--version"), upstream=2, text="--no-such-flag"),
    Row(what="a duration that is none", flags=(PATH, "--timeout=soon"), upstream=2, text="--timeout"),
    Row(
        what="a boolean that is none",
        flags=(PATH, "--enable-pprof=perhaps"),
        upstream=2,
        text="--enable-pprof",
    ),
    Row(what="a port that is no number", flags=(PATH, "--health-port=web"), upstream=2, text="--health-port"),
    Row(what="a verbosity that is none", flags=(PATH, "--v=loud"), upstream=2, text="--v"),
    Row(what="a verbosity below 0", flags=(PATH, "--v=-1", "--version"), upstream=2, text="--v"),
    Row(
        what="a log format that is none",
        flags=(PATH, "--logging-format=yaml"),
        upstream=1,
        text="--logging-format",
    ),
    Row(what="a probe without the path", flags=(PROBE,), upstream=1, text="--kubelet-registration-path"),
    Row(what="a probe", flags=(PATH, PROBE), upstream=0),
    Row(
        what="a probe of a path with a scheme",
        flags=("--kubelet-registration-path=unix:///x", PROBE),
        upstream=0,
    ),
    Row(
        what="a probe with both ways to a health page",
        flags=(PATH, PROBE, "--http-endpoint=127.0.0.1:0", "--health-port=9809"),
        upstream=0,
    ),
    Row(
        what="a probe without a driver or a directory",
        flags=(PATH, PROBE, "--csi-address=/no/such"),
        upstream=0,
    ),
    Row(
        what="both ways to a health page",
        flags=(PATH, "--http-endpoint=127.0.0.1:0", "--health-port=9809"),
        upstream=1,
        text="--health-port",
    ),
)
# With a driver that answers and a directory to register in.
SERVING_ROWS = (
    Row(what="the least", flags=(), upstream=SERVES),
    Row(what="any other mode", flags=("--mode=anything",), upstream=SERVES),
    Row(
        what="no health port with an endpoint",
        flags=("--health-port=0", "--http-endpoint=127.0.0.1:0"),
        upstream=SERVES,
    ),
    Row(what="a negative health port", flags=("--health-port=-1",), upstream=SERVES),
    Row(what="pprof without a page", flags=("--enable-pprof",), upstream=SERVES),
    Row(what="the old connection time-out", flags=("--connection-timeout=15s",), upstream=SERVES),
    Row(
        what="klog's flags",
        flags=(
            "--v=5",
            "--vmodule=main=2",
            "--log-flush-frequency=1s",
            "--automaxprocs",
        ),
        upstream=SERVES,
    ),
    Row(what="a log in JSON", flags=("--v=5", "--logging-format=json"), upstream=SERVES),
    Row(
        what="verbosity by file and a log in JSON",
        flags=("--vmodule=main=2", "--logging-format=json"),
        upstream=1,
        ours=SERVES,
        better="--vmodule changes nothing here, so the two do not contradict each other",
    ),
    Row(
        what="an address with a scheme", flags=("--csi-address=unix://{base}/csi/csi.sock",), upstream=SERVES
    ),
    Row(
        what="an address beside the working directory",
        flags=("--csi-address=unix:csi/csi.sock",),
        upstream=SERVES,
    ),
    Row(
        what="time to answer: none",
        flags=("--timeout=0s",),
        upstream=1,
        text="--timeout",
    ),
    Row(
        what="a registration path with a scheme",
        flags=("--kubelet-registration-path=unix:///x/csi.sock",),
        upstream=SERVES,
        ours=1,
        text="bare absolute path",
        better="kubelet takes it for a file's name, so the registration can only fail",
    ),
    Row(
        what="a registration path that no kubelet can dial",
        flags=("--kubelet-registration-path=/" + "x" * 107,),
        upstream=SERVES,
        ours=1,
        text="too long",
        better="as above",
    ),
    Row(
        what="a directory that is not there",
        flags=("--plugin-registration-path={base}/none",),
        upstream=1,
        text="there is no directory",
    ),
    Row(
        what="a directory whose path leaves no room for a socket's",
        flags=("--plugin-registration-path={base}/reg/{long}",),
        upstream=1,
        text="too long",
    ),
    Row(
        what="a health page where another listens",
        flags=("--http-endpoint={busy}",),
        upstream=1,
        text="cannot listen",
    ),
    Row(what="a health page nowhere", flags=("--http-endpoint=9809",), upstream=1, text="no port"),
)
OUR_ROWS = (
    Row(
        what="a bare relative address",
        flags=("--csi-address=csi/csi.sock",),
        upstream=SERVES,
        better="upstream waits for ever and then exits 1",
    ),
    Row(
        what="an address on the network",
        flags=("--csi-address=localhost:10000",),
        upstream=1,
        text="--csi-address",
    ),
    Row(what="no address", flags=("--csi-address=",), upstream=1, text="--csi-address"),
    Row(
        what="no directory",
        flags=("--plugin-registration-path=",),
        upstream=1,
        text="--plugin-registration-path",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_the_checks_come_in_upstreams_order(subject: Subject, place: Place, row: Row) -> None:
    made = subject.start(place, row.flags)
    assert made.wait() == row.expected(subject), made.log()
    if subject.is_ours and row.text:
        (line,) = made.log().splitlines()
        assert row.text in line
        assert line.startswith("sscsi-registrar: ")


@pytest.mark.parametrize("row", SERVING_ROWS, ids=lambda row: row.what)
def test_a_flag_makes_the_same_difference_as_upstreams(
    subject: Subject, place: Place, driver: TinyDriver, row: Row
) -> None:
    assert_row(subject, place, row)


@pytest.mark.parametrize("row", OUR_ROWS, ids=lambda row: row.what)
def test_a_flag_of_which_upstream_makes_nothing(
    ours: Ours, place: Place, driver: TinyDriver, row: Row
) -> None:
    assert_row(ours, place, row)


def assert_row(subject: Subject, place: Place, row: Row) -> None:
    long = "x" * (106 - len(place.registry))
    os.mkdir(f"{place.registry}/{long}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = f"127.0.0.1:{other.getsockname()[1]}"
        flags = [flag.format(base=place.base, long=long, busy=busy) for flag in row.flags]
        with running(subject, place, *flags) as made:
            if row.expected(subject) is SERVES:
                made.wait_published()
                assert made.end(signal.SIGTERM) == 0
            else:
                assert made.wait() == row.expected(subject), made.log()
                if subject.is_ours:
                    assert row.text in made.log().splitlines()[-1]


def test_the_version_is_one_line_on_stdout() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "sidecars.registrar", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, f"sscsi-registrar {__version__}\n", "")


def test_a_probe_says_nothing(ours: Ours, place: Place) -> None:
    made = ours.start(place, [PATH, PROBE])
    assert made.wait() == 0
    assert made.log() == ""


def config(*flags: str, **environ: str) -> RegistrarConfig:
    return parse([PATH, *flags], environ)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/csi/csi.sock", "/csi/csi.sock"),
        ("unix:///csi/csi.sock", "/csi/csi.sock"),
        ("UNIX:///csi/csi.sock", "/csi/csi.sock"),
        ("unix:/csi/csi.sock", "/csi/csi.sock"),
        ("unix:csi/csi.sock", "csi/csi.sock"),
        ("unix://csi/csi.sock", "csi/csi.sock"),
        ("csi/csi.sock", "csi/csi.sock"),
        ("./a:b.sock", "./a:b.sock"),
        ("/a%20b c.sock", "/a%20b c.sock"),
    ],
)
def test_the_flag_names_the_socket_as_upstreams_registrar_reads_it(address: str, path: str) -> None:
    assert config(f"--csi-address={address}").driver_socket == path


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("unix:///csi/csi.sock", "/csi/csi.sock"),
        ("unix://tmp/csi.sock", "/tmp/csi.sock"),
        ("/csi/csi.sock", "/csi/csi.sock"),
        ("tcp://127.0.0.1:10000", "/run/x/probe.sock"),
    ],
)
def test_the_variable_names_the_socket_as_the_driver_reads_it(endpoint: str, path: str) -> None:
    assert config(CSI_ENDPOINT=endpoint, SSCSI_RUN_DIR="/run/x").driver_socket == path


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "unix:", "unix://", "dns:///driver", "unix-abstract:x"]
)
def test_what_names_no_socket_is_refused(address: str) -> None:
    for flags, environ in (([f"--csi-address={address}"], {}), ([], {"CSI_ENDPOINT": address})):
        with pytest.raises(ConfigError, match="names no unix socket") as refusal:
            config(*flags, **environ)
        assert refusal.value.exit_code == 1
        assert ("CSI_ENDPOINT" in str(refusal.value)) is bool(environ)


def test_the_variables_of_the_appliance_stand_in_for_flags() -> None:
    environ = {
        "SSCSI_KUBELET_REGISTRATION_PATH": "/var/lib/kubelet/plugins/x/csi.sock",
        "SSCSI_REGISTRATION_DIR": "/reg",
        "CSI_ENDPOINT": "unix:///csi/csi.sock",
        "SSCSI_RUN_DIR": "/run/x",
        "SSCSI_LOG_FORMAT_JSON": "true",
        "SSCSI_LOG_VERBOSITY": "4",
    }
    made = parse([], environ)
    assert (made.endpoint, made.registration_directory) == ("/var/lib/kubelet/plugins/x/csi.sock", "/reg")
    assert (made.driver_socket, made.run_directory) == ("/csi/csi.sock", "/run/x")
    assert (made.log_as_json, made.log_verbosity) == (True, 4)
    flags = [
        "--kubelet-registration-path=/a",
        "--plugin-registration-path=/b",
        "--csi-address=/c",
        "--run-dir=",
    ]
    made = parse(flags, environ)
    assert (made.endpoint, made.registration_directory, made.driver_socket) == ("/a", "/b", "/c")
    assert made.run_directory == ""


def test_without_flags_and_variables_the_defaults_are_upstreams() -> None:
    made = config()
    assert (made.driver_socket, made.registration_directory) == ("/run/csi/socket", "/registration")
    assert (made.timeout_seconds, made.health_address, made.run_directory) == (1.0, "", "")


@pytest.mark.parametrize(
    ("flags", "address"),
    [(("--health-port=9809",), ":9809"), (("--http-endpoint=:80", "--health-port=-3"), ":80"), ((), "")],
)
def test_the_health_page_is_where_either_flag_says(flags: tuple[str, ...], address: str) -> None:
    assert config(*flags).health_address == address


@pytest.mark.parametrize("flags", [("--logging-format=json",), ("--log-format-json",)])
def test_the_log_is_json_by_either_flag(flags: tuple[str, ...]) -> None:
    assert config(*flags).log_as_json


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("csi.sock", "not absolute"),
        ("/var/lib/kubelet/plugins_registry/csi.sock", "plugins_registry"),
        ("/var/lib/kubelet/plugins/x/csi.sock", ""),
    ],
)
def test_what_is_seldom_meant_is_doubted(path: str, word: str) -> None:
    doubts = config(f"--kubelet-registration-path={path}").doubts
    assert len(doubts) == bool(word)
    assert word in "".join(doubts)


def test_flags_of_upstreams_that_change_nothing_are_told_so_once(ours: Ours, place: Place) -> None:
    flags = [
        "--enable-pprof",
        "--automaxprocs",
        "--vmodule=x=1",
        "--connection-timeout=1s",
        "--log-flush-frequency=1s",
    ]
    with running(ours, place, *flags, "--plugin-registration-path=/no/such") as made:
        assert made.wait() == 1
        log = made.log()
    for flag in flags:
        name = flag.removeprefix("--").partition("=")[0]
        assert log.count(f'flag="{name}" reason="') == 1
