"""The node room's command line: every upstream flag in every Go spelling, ours, and what is refused."""

import json
import logging

import pytest

from sscsi import __version__
from sscsi.core.endpoint import Endpoint
from sscsi.errors import ConfigError
from sscsi.node.config import NodeConfig, flags_for, parse
from sscsi.process.flags import Flag, TextRequestedError

# The flags of upstream 1.6 with their defaults as Go prints them (upstream-driver reference, 1.1).
UPSTREAM = {
    "endpoint": "unix://tmp/csi.sock",
    "drivername": "secrets-store.csi.k8s.io",
    "nodeid": "",
    "log-format-json": "false",
    "provider-volume": "/var/run/secrets-store-csi-providers",
    "additional-provider-volume-paths": "/etc/kubernetes/secrets-store-csi-providers",
    "metrics-addr": ":8095",
    "enable-secret-rotation": "false",
    "rotation-poll-interval": "2m",
    "enable-pprof": "false",
    "pprof-port": "6065",
    "max-call-recv-msg-size": "4194304",
    "version": "false",
    "provider-health-check": "false",
    "provider-health-check-interval": "2m",
    "metrics-backend": "Prometheus",
    "kubeconfig": "",
    "v": "0",
    "vmodule": "",
    "logtostderr": "true",
    "alsologtostderr": "false",
    "stderrthreshold": "2",
    "log_dir": "",
    "log_file": "",
    "log_file_max_size": "1800",
    "add_dir_header": "false",
    "skip_headers": "false",
    "one_output": "false",
    "skip_log_headers": "false",
    "log_backtrace_at": "",
}
FLAGS = {flag.name: flag for flag in flags_for({})}
# A value for each kind that differs from every default.
OTHER = {bool: "true", int: "7", float: "1h1m1s", str: "other"}
SPECIAL = {
    "endpoint": "unix:///other",
    "metrics-addr": "127.0.0.1:9",
    "metrics-backend": "PROMETHEUS",
    "version": "false",
}


def parsed(*arguments: str, **environ: str) -> NodeConfig:
    return parse(arguments, environ)


def value_for(flag: Flag) -> str:
    return SPECIAL.get(flag.name) or OTHER[type(flag.default)]


class TestUpstreamsFlags:
    def test_all_are_there_with_upstreams_defaults(self) -> None:
        with pytest.raises(TextRequestedError) as request:
            parsed("--help")
        usage = str(request.value)
        for name, default in UPSTREAM.items():
            assert f"  --{name}={default}\n" in usage.replace("   [variable", "\n"), name

    @pytest.mark.parametrize("name", UPSTREAM)
    @pytest.mark.parametrize("spelling", ["-{}={}", "--{}={}"])
    def test_each_is_understood_with_one_dash_or_two_and_an_equals_sign(
        self, name: str, spelling: str
    ) -> None:
        config = parsed(spelling.format(name, value_for(FLAGS[name])))
        assert config.flags.is_given(name)

    @pytest.mark.parametrize("name", [name for name in UPSTREAM if not isinstance(FLAGS[name].default, bool)])
    @pytest.mark.parametrize("dashes", ["-", "--"])
    def test_a_value_may_be_an_argument_of_its_own(self, name: str, dashes: str) -> None:
        config = parsed(f"{dashes}{name}", value_for(FLAGS[name]), "--nodeid=after")
        assert config.node_id == "after"

    @pytest.mark.parametrize(
        "name", [name for name in UPSTREAM if isinstance(FLAGS[name].default, bool) and name != "version"]
    )
    @pytest.mark.parametrize(
        "value", ["", "=1", "=t", "=T", "=true", "=TRUE", "=True", "=0", "=f", "=F", "=false"]
    )
    def test_a_boolean_takes_gos_truths_after_an_equals_sign_only(self, name: str, value: str) -> None:
        config = parsed(f"--{name}{value}", "--nodeid=n")
        assert config.flags.boolean(name) is (value not in {"=0", "=f", "=F", "=false"})
        assert config.node_id == "n"

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90s", 90), ("2m", 120), ("1h30m", 5400), ("1.5m", 90), ("100ms", 0.1), ("0", 0)],
    )
    def test_durations_are_gos(self, text: str, seconds: float) -> None:
        assert parsed(f"--rotation-poll-interval={text}").interval.seconds == seconds

    def test_the_last_occurrence_wins(self) -> None:
        assert parsed("--nodeid=a", "-nodeid", "b", "--nodeid=c").node_id == "c"

    def test_upstreams_manifest_parses(self) -> None:
        config = parsed(
            "--endpoint=unix:///csi/csi.sock",
            "--nodeid=worker-1",
            "--provider-volume=/var/run/secrets-store-csi-providers",
            "--additional-provider-volume-paths=/etc/kubernetes/secrets-store-csi-providers",
            "--metrics-addr=:8095",
            "--enable-secret-rotation=true",
            "--rotation-poll-interval=1m",
            "--provider-health-check=false",
            "--provider-health-check-interval=2m",
            "--max-call-recv-msg-size=10485760",
            "-v=5",
        )
        assert config.endpoint == Endpoint(scheme="unix", address="/csi/csi.sock")
        assert config.node_id == "worker-1"
        assert config.rotation
        assert config.interval.seconds == 60
        assert config.max_answer_bytes == 10 * 1024 * 1024
        assert config.log_verbosity == 5


class TestFlagsWithoutEffect:
    NAMES = tuple(name for name, flag in FLAGS.items() if flag.no_effect)

    def test_they_are_marked_in_the_help(self) -> None:
        with pytest.raises(TextRequestedError) as request:
            parsed("-h")
        assert str(request.value).count("Accepted, without effect: ") == len(self.NAMES)

    @pytest.mark.parametrize("name", NAMES)
    def test_each_is_warned_about_once_when_given(self, name: str, caplog: pytest.LogCaptureFixture) -> None:
        value = f"--{name}={value_for(FLAGS[name])}"
        parsed(value, value).flags.warn_without_effect()
        assert [(record.levelno, record.__dict__["flag"]) for record in caplog.records] == [
            (logging.WARNING, name)
        ]

    def test_nothing_is_said_about_flags_that_are_not_given(self, caplog: pytest.LogCaptureFixture) -> None:
        parsed("--nodeid=n", "--enable-secret-rotation").flags.warn_without_effect()
        assert caplog.records == []


class TestVariables:
    @pytest.mark.parametrize(
        ("variable", "value", "field", "expected"),
        [
            (
                "CSI_ENDPOINT",
                "unix:///v/csi.sock",
                "endpoint",
                Endpoint(scheme="unix", address="/v/csi.sock"),
            ),
            ("KUBE_NODE_NAME", "worker-1", "node_id", "worker-1"),
            ("SSCSI_RUN_DIR", "/v/run", "run_directory", "/v/run"),
            ("SSCSI_STATE_DIR", "/v/state", "state_directory", "/v/state"),
            ("SSCSI_LOG_FORMAT_JSON", "true", "log_as_json", True),
            ("SSCSI_LOG_VERBOSITY", "4", "log_verbosity", 4),
        ],
    )
    def test_a_variable_stands_in_for_an_absent_flag(
        self, variable: str, value: str, field: str, expected: object
    ) -> None:
        assert getattr(parsed(**{variable: value}), field) == expected

    def test_a_flag_goes_before_its_variable(self) -> None:
        assert parsed("--nodeid=flag", KUBE_NODE_NAME="variable").node_id == "flag"

    def test_an_empty_variable_is_none(self) -> None:
        assert parsed(KUBE_NODE_NAME="", SSCSI_RUN_DIR="").run_directory == "/run/sscsi"


class TestDirectories:
    def test_providers_are_searched_in_upstreams_order_after_the_built_in_ones(self) -> None:
        assert parsed().provider_directories == (
            "/run/sscsi/providers",
            "/etc/kubernetes/secrets-store-csi-providers",
            "/var/run/secrets-store-csi-providers",
        )

    @pytest.mark.parametrize(
        ("arguments", "environ", "directories"),
        [
            (("--provider-volume=/a",), {}, ("/etc/kubernetes/secrets-store-csi-providers", "/a")),
            (
                ("--additional-provider-volume-paths=/b, /c,,/b", "--provider-volume=/a"),
                {},
                ("/b", "/c", "/a"),
            ),
            (("--additional-provider-volume-paths=", "--provider-volume=/a"), {}, ("/a",)),
            (("--provider-dirs=/x,/y",), {}, ("/x", "/y")),
            (("--provider-dirs=/x", "--provider-volume=/a"), {}, ("/x",)),
            ((), {"SSCSI_PROVIDER_DIRS": "/v,/w"}, ("/v", "/w")),
            (("--provider-dirs=/x",), {"SSCSI_PROVIDER_DIRS": "/v"}, ("/x",)),
            (
                ("--provider-volume=/a",),
                {"SSCSI_PROVIDER_DIRS": "/v"},
                ("/etc/kubernetes/secrets-store-csi-providers", "/a"),
            ),
        ],
    )
    def test_the_list_may_be_given_in_three_ways(
        self, arguments: tuple[str, ...], environ: dict[str, str], directories: tuple[str, ...]
    ) -> None:
        assert parsed(*arguments, **environ).provider_directories == ("/run/sscsi/providers", *directories)

    @pytest.mark.parametrize(
        ("arguments", "directory"),
        [
            ((), "/tmp/records"),
            (("--endpoint=unix:///csi/csi.sock",), "/csi/records"),
            (("--endpoint=tcp://127.0.0.1:9000",), "/run/sscsi/records"),
            (("--state-dir=/state", "--endpoint=unix:///csi/csi.sock"), "/state"),
        ],
    )
    def test_records_are_kept_beside_the_endpoints_socket(
        self, arguments: tuple[str, ...], directory: str
    ) -> None:
        assert parsed(*arguments).state_directory == directory


class TestPropagation:
    @pytest.mark.parametrize(
        ("arguments", "cluster", "required"),
        [
            ((), "", True),
            ((), "kubernetes", True),
            ((), "dir:/classes", False),
            (("--require-shared-propagation=false",), "kubernetes", False),
            (("--require-shared-propagation",), "dir:/classes", True),
        ],
    )
    def test_a_mount_must_reach_the_host_where_there_is_a_cluster(
        self, arguments: tuple[str, ...], cluster: str, required: bool
    ) -> None:
        config = parsed(*arguments, SSCSI_CLUSTER=cluster)
        assert config.require_shared_propagation is required
        assert config.refuses_doubtful_propagation is bool(arguments)


class TestRefused:
    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("--bogus", "unknown flag --bogus; --help lists the flags"),
            ("--filtered-watch-secret=true", "unknown flag --filtered-watch-secret; --help lists the flags"),
            ("stray", "unexpected argument 'stray'; every setting is a flag, see --help"),
            ("--nodeid", "flag --nodeid needs a value"),
            ("--enable-secret-rotation=yes", "flag --enable-secret-rotation: 'yes' is not a boolean"),
            ("--provider-timeout=2", "flag --provider-timeout: '2' is not a duration"),
            ("--provider-timeout=1d", "flag --provider-timeout: '1d' is not a duration"),
            ("--max-call-recv-msg-size=4MiB", "flag --max-call-recv-msg-size: '4MiB' is not a whole number"),
            ("--pprof-port=x", "flag --pprof-port: 'x' is not a whole number"),
            ("--max-call-recv-msg-size=0", "flag --max-call-recv-msg-size: must be more than 0, not 0"),
            ("--content-limit=0", "flag --content-limit: must be more than 0, not 0"),
            (
                "--content-limit=1099511627777",
                "flag --content-limit: must be at most 1099511627776 (1 TiB), not 1099511627777",
            ),
            ("--provider-timeout=-1s", "flag --provider-timeout: must be more than 0, not -1"),
            (
                "--max-publishes-per-provider=0",
                "flag --max-publishes-per-provider: must be more than 0, not 0",
            ),
            ("--max-waiting-publishes=-1", "flag --max-waiting-publishes: must not be negative, not -1"),
            ("--stop-grace=-1s", "flag --stop-grace: must not be negative, not -1"),
            ("--run-dir=run", "flag --run-dir: must be an absolute path, not 'run'"),
            ("--state-dir=state", "flag --state-dir: must be an absolute path, not 'state'"),
            (
                "--endpoint=/csi.sock",
                "flag --endpoint: invalid endpoint: /csi.sock; write unix:///PATH or tcp://",
            ),
            (
                "--endpoint=unix://",
                "flag --endpoint: invalid endpoint: unix://; write unix:///PATH or tcp://",
            ),
            (
                "--endpoint=http://x",
                "flag --endpoint: invalid endpoint: http://x; write unix:///PATH or tcp://",
            ),
            ("--metrics-backend=statsd", "flag --metrics-backend: unsupported metrics backend statsd"),
            ("--metrics-addr=8095", "flag --metrics-addr (variable SSCSI_METRICS_ADDR): '8095' has no port"),
            ("--metrics-addr=:80950", "flag --metrics-addr (variable SSCSI_METRICS_ADDR): ':80950'"),
        ],
    )
    def test_a_bad_value_ends_the_start_with_one_line_that_names_the_flag(
        self, argument: str, message: str
    ) -> None:
        with pytest.raises(ConfigError) as refusal:
            parsed(argument)
        assert str(refusal.value).startswith(message)
        assert "\n" not in str(refusal.value)
        assert refusal.value.exit_code == 2

    def test_a_bad_variable_is_named_too(self) -> None:
        with pytest.raises(ConfigError, match="variable SSCSI_LOG_VERBOSITY: 'x' is not a whole number"):
            parsed(SSCSI_LOG_VERBOSITY="x")


def test_the_version_is_one_line_of_json_with_upstreams_keys() -> None:
    with pytest.raises(TextRequestedError) as request:
        parsed("--version")
    assert list(json.loads(str(request.value)).items()) == [
        ("BuildVersion", __version__),
        ("GitCommit", ""),
        ("BuildDate", ""),
    ]
    assert "\n" not in str(request.value)
