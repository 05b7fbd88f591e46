import os
import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.cli import settings
from sscsi.cli.environment import complete, put_first, shell_exports
from sscsi.errors import ConfigError
from sscsi.process.flags import HelpRequestedError, TextRequestedError

DIRECTORY = {"SSCSI_CLUSTER": "dir:/classes"}


def variables(*arguments: str, **environ: str) -> dict[str, str]:
    return dict(complete(arguments, DIRECTORY | environ, host_name="host-1").variables)


def test_every_setting_has_a_value_when_only_the_cluster_is_given() -> None:
    found = variables()
    assert set(found) == {setting.variable for setting in settings.SETTINGS} | {
        settings.AUTOSTART_FILE_PROVIDER,
        settings.AUTOSTART_LIVENESSPROBE,
        settings.AUTOSTART_REGISTRAR,
    }
    assert found["CSI_ENDPOINT"] == "unix:///csi/csi.sock"
    assert found["KUBE_NODE_NAME"] == "host-1"
    assert found["SSCSI_RUN_DIR"] == "/run/sscsi"


def test_an_empty_variable_is_an_unset_one() -> None:
    assert variables(CSI_ENDPOINT="", KUBE_NODE_NAME="", SSCSI_RUN_DIR="") == variables()


@pytest.mark.parametrize(
    ("arguments", "variable", "value"),
    [
        (["--endpoint=unix:///from/flag.sock"], "CSI_ENDPOINT", "unix:///from/flag.sock"),
        (["-endpoint", "unix:///from/flag.sock"], "CSI_ENDPOINT", "unix:///from/flag.sock"),
        (["--nodeid=flag"], "KUBE_NODE_NAME", "flag"),
        (["--run-dir=/from/flag"], "SSCSI_RUN_DIR", "/from/flag"),
        (["--state-dir=/from/flag"], "SSCSI_STATE_DIR", "/from/flag"),
        (["--provider-dirs=/from/flag"], "SSCSI_PROVIDER_DIRS", "/from/flag"),
        (["--log-format-json"], "SSCSI_LOG_FORMAT_JSON", "true"),
        (["--log-format-json=F"], "SSCSI_LOG_FORMAT_JSON", "false"),
        (["--v=5"], "SSCSI_LOG_VERBOSITY", "5"),
        (["--metrics-addr=127.0.0.1:9"], "SSCSI_METRICS_ADDR", "127.0.0.1:9"),
    ],
)
def test_a_flag_goes_before_its_variable_for_every_room(
    arguments: list[str], variable: str, value: str
) -> None:
    given_variable = {
        "SSCSI_LOG_FORMAT_JSON": "true",
        "SSCSI_LOG_VERBOSITY": "1",
        "SSCSI_METRICS_ADDR": ":8",
    }.get(variable, "unix:///from/variable")
    if not variable.startswith("CSI"):
        given_variable = given_variable.removeprefix("unix://")
    assert variables(**{variable: given_variable})[variable] == given_variable
    assert variables(*arguments, **{variable: given_variable})[variable] == value


def test_flags_in_the_variable_come_before_those_of_the_command_line() -> None:
    found = variables("--drivername=b", SSCSI_NODE_ARGS="--drivername=a --v 4")
    assert shlex.split(found["SSCSI_NODE_ARGS"]) == ["--drivername=a", "--v", "4", "--drivername=b"]
    assert found["SSCSI_LOG_VERBOSITY"] == "4"


def test_records_are_beside_the_csi_socket_unless_a_place_is_given() -> None:
    assert variables(CSI_ENDPOINT="unix:///plugins/x/csi.sock")["SSCSI_STATE_DIR"] == "/plugins/x/records"
    assert variables(CSI_ENDPOINT="tcp://127.0.0.1:0")["SSCSI_STATE_DIR"] == "/run/sscsi/records"
    assert variables(SSCSI_STATE_DIR="/state")["SSCSI_STATE_DIR"] == "/state"


def test_provider_directories_are_upstreams_unless_a_list_is_given() -> None:
    upstream = "/etc/kubernetes/secrets-store-csi-providers,/var/run/secrets-store-csi-providers"
    assert variables()["SSCSI_PROVIDER_DIRS"] == upstream
    assert variables(SSCSI_PROVIDER_DIRS="/a, /b")["SSCSI_PROVIDER_DIRS"] == "/a,/b"
    flagged = variables("--provider-volume=/flag", SSCSI_PROVIDER_DIRS="/a")
    assert flagged["SSCSI_PROVIDER_DIRS"] == "/etc/kubernetes/secrets-store-csi-providers,/flag"


def test_the_metrics_page_is_at_upstreams_port_unless_somebody_says_otherwise() -> None:
    assert variables()["SSCSI_METRICS_ADDR"] == ":8095"
    assert variables("--metrics-backend=prometheus")["SSCSI_METRICS_ADDR"] == ":8095"


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["--metrics-addr=0"], {}),
        (["--metrics-addr=off"], {}),
        (["--metrics-addr="], {}),
        (["--metrics-addr=0"], {"SSCSI_METRICS_ADDR": ":8"}),
        ([], {"SSCSI_METRICS_ADDR": "0"}),
        ([], {"SSCSI_METRICS_ADDR": "off"}),
    ],
)
def test_without_a_metrics_page_and_health_pages_nobody_listens(
    arguments: list[str], environ: dict[str, str]
) -> None:
    found = variables(*arguments, **environ)
    assert found["SSCSI_METRICS_ADDR"] == "off"
    assert found[settings.AUTOSTART_LIVENESSPROBE] == "true"
    without_health = variables(*arguments, SSCSI_HEALTH_ENDPOINT="off", **environ)
    assert without_health[settings.AUTOSTART_LIVENESSPROBE] == "false"


def test_the_file_provider_starts_only_with_a_root() -> None:
    assert variables()[settings.AUTOSTART_FILE_PROVIDER] == "false"
    assert variables(SSCSI_FILE_PROVIDER_ROOT="/secrets")[settings.AUTOSTART_FILE_PROVIDER] == "true"


@pytest.mark.parametrize(
    ("arguments", "environ", "named"),
    [
        (["--no-such-flag"], {}, "--no-such-flag"),
        (["word"], {}, "'word'"),
        (["--endpoint"], {}, "--endpoint"),
        (["--endpoint=csi.sock"], {}, "--endpoint"),
        ([], {"CSI_ENDPOINT": "http://x"}, "--endpoint"),
        (["--provider-timeout=2"], {}, "--provider-timeout"),
        (["--enable-secret-rotation=yes"], {}, "--enable-secret-rotation"),
        (["--metrics-backend=graphite"], {}, "--metrics-backend"),
        (["--metrics-addr=8095"], {}, "--metrics-addr"),
        ([], {"SSCSI_METRICS_ADDR": "localhost"}, "SSCSI_METRICS_ADDR"),
        (["--run-dir=relative"], {}, "--run-dir"),
        ([], {"SSCSI_RUN_DIR": "relative"}, "--run-dir"),
        ([], {"SSCSI_NODE_ARGS": "--drivername='open"}, "SSCSI_NODE_ARGS"),
        ([], {"SSCSI_NODE_ARGS": "--no-such-flag"}, "--no-such-flag"),
        ([], {"SSCSI_STATUSSYNC_ARGS": '"'}, "SSCSI_STATUSSYNC_ARGS"),
        ([], {"SSCSI_STATUSSYNC_ARGS": "--no-such-flag"}, "--no-such-flag"),
        (["--stop-grace=11001ms"], {}, "--stop-grace: 11.001 s"),
        ([], {"SSCSI_NODE_ARGS": "--stop-grace=1m"}, "kills sscsi-node after 12 s"),
        ([], {"SSCSI_STATUSSYNC_ARGS": "--stop-grace=6s"}, "--stop-grace: 6 s"),
        ([], {"SSCSI_STATUSSYNC_ARGS": "--stop-grace=6s"}, "kills sscsi-statussync after 3 s"),
        ([], {"SSCSI_CLUSTER": "directory:/classes"}, "--cluster"),
        ([], {"SSCSI_CLUSTER": "dir:"}, "--cluster"),
        ([], {"SSCSI_LOG_VERBOSITY": "much"}, "SSCSI_LOG_VERBOSITY"),
        ([], {"SSCSI_LOG_FORMAT_JSON": "yes"}, "SSCSI_LOG_FORMAT_JSON"),
        ([], {"SSCSI_FILE_PROVIDER_ROOT": "relative"}, "SSCSI_FILE_PROVIDER_ROOT"),
        (
            [],
            {"SSCSI_FILE_PROVIDER_ROOT": "/secrets", "SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES": "4M"},
            "SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES",
        ),
    ],
)
def test_a_wrong_command_line_or_variable_is_named(
    arguments: list[str], environ: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        complete(arguments, DIRECTORY | environ, host_name="host-1")
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_a_grace_that_supervisord_waits_for_is_taken() -> None:
    found = variables("--stop-grace=11s", SSCSI_STATUSSYNC_ARGS="--stop-grace=2s")
    assert (found["SSCSI_NODE_ARGS"], found["SSCSI_STATUSSYNC_ARGS"]) == (
        "--stop-grace=11s",
        "--stop-grace=2s",
    )


@pytest.mark.parametrize(
    ("argument", "kind"), [("--help", HelpRequestedError), ("--version", TextRequestedError)]
)
def test_a_text_is_asked_for_with_a_flag(argument: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        complete([argument], DIRECTORY, host_name="host-1")


@given(st.lists(st.text(), max_size=5))
def test_arguments_reach_the_node_room_word_for_word(names: list[str]) -> None:
    arguments = [f"--drivername={name}" for name in names]
    assert shlex.split(variables(*arguments)["SSCSI_NODE_ARGS"]) == arguments


def test_exports_survive_a_shell_whatever_is_in_them() -> None:
    hard: dict[str, str] = {
        "SSCSI_A": 'it\'s "quoted" $HOME `id` \\ %(ENV_X)s',
        "SSCSI_B": "two\nlines\ttab",
        "SSCSI_C": "",
        "SSCSI_D": "ünïcode *",
    }
    script = 'eval "$1" && exec env -0'
    output = subprocess.run(
        ["sh", "-c", script, "sh", shell_exports(hard)],
        stdout=subprocess.PIPE,
        check=True,
        env={"PATH": os.environ["PATH"]},
    ).stdout.decode()
    seen: dict[str, Any] = dict(entry.split("=", 1) for entry in output.split("\0") if entry)
    assert {name: seen.get(name) for name in hard} == hard


def test_our_programs_come_first_on_the_search_path_and_only_once() -> None:
    assert put_first("/ours", "/bin:/ours:/usr/bin") == "/ours:/bin:/usr/bin"
    assert put_first("/ours", "") == "/ours"
