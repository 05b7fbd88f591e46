"""Table B1 of the sidecars reference: which command lines are taken, by upstream's program and by ours."""

import dataclasses

import pytest

from sidecars.livenessprobe.config import LivenessProbeConfig, parse
from sscsi.errors import ConfigError
from sscsi.process.flags import TextRequestedError
from tests.livenessprobe.fake_driver import FakeDriver, serving
from tests.livenessprobe.program import Place, Subject, free_address, running

UPSTREAMS_FLAGS = """
    --csi-address --probe-timeout --health-port --http-endpoint --metrics-address --metrics-path --automaxprocs --v
    --vmodule --logging-format --log-flush-frequency --log-text-split-stream --log-text-info-buffer-size
    --log-json-split-stream --log-json-info-buffer-size
"""
RUNS = None
NOT_KNOWN = -1


@dataclasses.dataclass(frozen=True)
class Row:
    """A command line, and the exit codes of both programs; RUNS for none, NOT_KNOWN where nobody has looked."""

    flags: str
    upstream: int | None
    ours: int | None
    says: str = ""


ROWS = [
    Row("--http-endpoint={a}", RUNS, RUNS),
    Row("-http-endpoint {a} -probe-timeout 1s -metrics-path /m", RUNS, RUNS),
    Row(
        "--http-endpoint={a} --v=5 --vmodule=main=2 --logging-format=json --log-flush-frequency=1s "
        "--log-text-split-stream=false --log-text-info-buffer-size=0 --log-json-split-stream=false "
        "--log-json-info-buffer-size=0",
        RUNS,
        RUNS,
    ),
    Row("--health-port={port}", RUNS, RUNS),
    Row("--health-port={port} --metrics-address={b}", RUNS, RUNS),
    Row("--http-endpoint={a} --health-port=9809", 1, 1, "--health-port"),
    # Upstream takes its default for not given.
    Row("--http-endpoint={a} --health-port=9808", RUNS, 1, "--health-port"),
    Row("--http-endpoint={a} --metrics-address={b}", 1, 1, "--metrics-address"),
    Row("--no-such-flag", 2, 2, "--no-such-flag"),
    Row("--version", 2, 2, "--version"),
    Row("--probe-timeout=soon", 2, 2, "--probe-timeout"),
    Row("--logging-format=xml", 1, 1, "--logging-format"),
    # Upstream runs, and no check ever succeeds.
    Row("--http-endpoint={a} --probe-timeout=0s", RUNS, 2, "--probe-timeout"),
    # Upstream's router panics for the first, once the driver is there; for the others nobody has looked.
    Row("--http-endpoint={a} --metrics-path=/healthz", 2, 2, "--metrics-path"),
    Row("--http-endpoint={a} --metrics-path=metrics", NOT_KNOWN, 2, "--metrics-path"),
    Row("--http-endpoint={a} --csi-address=tcp://127.0.0.1:1", NOT_KNOWN, 1, "--csi-address"),
    # Upstream leaves with 0 for a health address where nobody can listen.
    Row("--health-port=99999", 0, 1, "99999"),
    Row("--http-endpoint=nowhere", 0, 1, "nowhere"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.flags)
def test_a_command_line_is_taken_or_refused_as_upstream_does_or_better(
    subject: Subject, place: Place, row: Row
) -> None:
    code = row.ours if subject.is_ours else row.upstream
    if code == NOT_KNOWN:
        pytest.skip("the reference does not say what upstream does")
    a, b = free_address(), free_address()
    flags = row.flags.format(a=a, b=b, port=a.rpartition(":")[2]).split()
    if "--csi-address" not in row.flags:
        flags.append(f"--csi-address={place.driver}")
    with serving(FakeDriver(), place.driver), running(subject, place, *flags) as program:
        if code is RUNS:
            program.listens(a)
            assert program.process.is_alive()
        else:
            assert program.process.wait() == code
            assert not subject.is_ours or row.says in program.log


def config(*argv: str, **environ: str) -> LivenessProbeConfig:
    return parse(argv, environ)


def test_standing_alone_the_defaults_are_upstreams() -> None:
    default = config()
    assert default.driver_socket == "/run/csi/socket"
    assert default.probe_timeout_seconds == 3.0
    assert default.health_address == "0.0.0.0:9808"
    assert not default.health_has_metrics
    assert default.metrics_addresses == ()
    assert default.metrics_path == "/metrics"
    assert default.run_directory == ""
    assert not default.require_registration


def test_every_flag_of_upstreams_is_known() -> None:
    with pytest.raises(TextRequestedError) as request:
        config("--help")
    for flag in UPSTREAMS_FLAGS.split():
        assert f"  {flag}=" in str(request.value)


def test_in_the_appliance_the_variables_are_the_defaults() -> None:
    in_appliance = config(
        SSCSI_RUN_DIR="/run/sscsi",
        SSCSI_HEALTH_ENDPOINT="0.0.0.0:9808",
        SSCSI_METRICS_ADDR=":8095",
        SSCSI_REGISTRAR_AUTOSTART="true",
    )
    assert in_appliance.driver_socket == "/run/sscsi/probe.sock"
    assert in_appliance.health_address == "0.0.0.0:9808"
    assert in_appliance.health_has_metrics
    assert in_appliance.metrics_addresses == (":8095",)
    assert in_appliance.require_registration


def test_a_flag_goes_before_its_variable() -> None:
    both = config(
        "--csi-address=/csi/csi.sock",
        "--http-endpoint=:1",
        "--appliance-metrics-address=:2",
        "--require-registration=false",
        SSCSI_RUN_DIR="/run/sscsi",
        SSCSI_HEALTH_ENDPOINT=":3",
        SSCSI_METRICS_ADDR=":4",
        SSCSI_REGISTRAR_AUTOSTART="true",
    )
    assert (both.driver_socket, both.health_address) == ("/csi/csi.sock", ":1")
    assert both.metrics_addresses == (":2",)
    assert not both.require_registration


@pytest.mark.parametrize("flag", ["--health-port=9808", "--metrics-address=:1"])
def test_the_variable_for_the_endpoint_counts_as_the_endpoint(flag: str) -> None:
    with pytest.raises(ConfigError, match="SSCSI_HEALTH_ENDPOINT") as refusal:
        config(flag, SSCSI_HEALTH_ENDPOINT=":9808")
    assert refusal.value.exit_code == 1


def test_off_turns_a_listener_off() -> None:
    assert config(SSCSI_HEALTH_ENDPOINT="off", SSCSI_METRICS_ADDR=":8095").health_address == ""
    assert config(SSCSI_HEALTH_ENDPOINT=":9808", SSCSI_METRICS_ADDR="off").metrics_addresses == ()


def test_with_every_listener_off_there_is_nothing_to_do() -> None:
    with pytest.raises(ConfigError, match="nothing to do") as refusal:
        config(SSCSI_HEALTH_ENDPOINT="off", SSCSI_METRICS_ADDR="off")
    assert refusal.value.exit_code == 1


def test_two_listeners_have_two_addresses() -> None:
    with pytest.raises(ConfigError, match="two listeners") as refusal:
        config(SSCSI_HEALTH_ENDPOINT=":9808", SSCSI_METRICS_ADDR=":9808")
    assert refusal.value.exit_code == 1


def test_json_is_chosen_by_either_flag() -> None:
    assert config("--logging-format=json").log_as_json
    assert config(SSCSI_LOG_FORMAT_JSON="true").log_as_json
    assert not config().log_as_json


def test_a_registration_can_be_required_only_where_there_is_a_registrar() -> None:
    with pytest.raises(ConfigError, match="--run-dir"):
        config("--require-registration")


def test_a_run_directory_is_absolute() -> None:
    with pytest.raises(ConfigError, match="absolute"):
        config("--run-dir=run")
