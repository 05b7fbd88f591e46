"""The file itself, read by supervisord's own parser with the environment that `sscsi run` makes."""

import configparser
import os
import re
import shlex
from importlib import resources
from typing import Any

import pytest
from supervisor.options import ServerOptions

from sscsi.cli.environment import STOP_MARGIN_SECONDS, STOP_WAIT_SECONDS, complete
from sscsi.cli.programs import LAUNCHER, MODULES
from sscsi.cli.run import SUPERVISORD_DESCRIPTORS
from sscsi.core.crash_loop import CRITICAL_PROGRAMS, EXIT_LIMIT
from sscsi.process import launch
from sscsi.provider_file import config as provider_file_config

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONF = os.path.join(ROOT, "supervisord.conf")
KUBERNETES_GRACE_SECONDS = 30
# supervisord looks at its children once a second, so each program may take that much longer.
LOOP_SECONDS = 1


def text() -> str:
    with open(CONF, encoding="utf-8") as file:
        return file.read()


def options_of(tmp_path: Any, **environ: str) -> Any:
    given = {"SSCSI_CLUSTER": "dir:/classes", "SSCSI_RUN_DIR": str(tmp_path)} | environ
    options = ServerOptions()
    options.environ_expansions = {
        f"ENV_{name}": value for name, value in complete([], given, host_name="host-1").variables.items()
    }
    options.realize(["--configuration", CONF], doc="")
    return options


def programs(tmp_path: Any, **environ: str) -> dict[str, Any]:
    options = options_of(tmp_path, **environ)
    return {group.name: group.process_configs[0] for group in options.process_group_configs}


def command(program: Any) -> list[str]:
    """The program's own command line, after the launcher's."""
    words = shlex.split(program.command)
    assert words[0] == LAUNCHER
    return words[words.index("--") + 1 :]


def test_every_variable_in_the_file_is_one_that_sscsi_run_sets() -> None:
    named = set(re.findall(r"%\(ENV_([A-Z_]+)\)s", text()))
    assert named
    assert named <= set(complete([], {"SSCSI_CLUSTER": "dir:/classes"}, host_name="host-1").variables)


def test_the_installed_file_is_the_one_at_the_top() -> None:
    assert (resources.files("sscsi") / "supervisord.conf").read_text() == text()


def test_every_program_is_a_console_script_of_its_own_name_and_module(tmp_path: Any) -> None:
    metadata = configparser.ConfigParser()
    metadata.read(os.path.join(ROOT, "setup.cfg"))
    scripts = dict(
        line.split(" = ") for line in metadata["options.entry_points"]["console_scripts"].strip().splitlines()
    )
    for name, program in programs(tmp_path).items():
        assert command(program)[0] == f"sscsi-{name}"
    assert set(MODULES) == {f"sscsi-{name}" for name in programs(tmp_path)}
    assert {name: scripts[name] for name in MODULES} == {
        name: module + ":main" for name, module in MODULES.items()
    }
    assert LAUNCHER in scripts


@pytest.mark.parametrize(
    ("variable", "value", "program", "starts"),
    [
        ("SSCSI_FILE_PROVIDER_ROOT", "", "provider-file", False),
        ("SSCSI_FILE_PROVIDER_ROOT", "/secrets", "provider-file", True),
        ("SSCSI_KUBELET_REGISTRATION_PATH", "", "registrar", False),
        ("SSCSI_KUBELET_REGISTRATION_PATH", "/plugins/csi.sock", "registrar", True),
        ("SSCSI_HEALTH_ENDPOINT", "off", "livenessprobe", True),
        ("SSCSI_METRICS_ADDR", "off", "livenessprobe", True),
    ],
)
def test_a_program_starts_when_it_has_something_to_do(
    tmp_path: Any, variable: str, value: str, program: str, starts: bool
) -> None:
    assert programs(tmp_path, **{variable: value})[program].autostart is starts


def test_without_pages_and_metrics_there_is_no_liveness_probe(tmp_path: Any) -> None:
    found = programs(tmp_path, SSCSI_HEALTH_ENDPOINT="off", SSCSI_METRICS_ADDR="off")
    assert found["livenessprobe"].autostart is False


def test_node_status_sync_and_watchdog_start_always(tmp_path: Any) -> None:
    found = programs(tmp_path)
    assert all(found[name].autostart for name in ("node", "statussync", "watchdog"))


@pytest.mark.parametrize(
    ("program", "user", "kept"),
    [
        ("registrar", None, set()),
        ("node", None, {"SYS_ADMIN", "CHOWN", "FOWNER", "FSETID", "DAC_OVERRIDE"}),
        ("livenessprobe", 65532, set()),
        ("statussync", None, {"DAC_READ_SEARCH"}),
        ("provider-file", None, {"DAC_READ_SEARCH"}),
        ("watchdog", None, {"SYS_PTRACE", "KILL"}),
    ],
)
def test_each_program_keeps_the_privileges_that_it_needs_and_no_other(
    tmp_path: Any, program: str, user: int | None, kept: set[str]
) -> None:
    words = shlex.split(programs(tmp_path)[program].command)
    privileges = launch.parse(words[1:]).privileges
    assert (privileges.uid, set(privileges.keep)) == (user, kept)


def test_arguments_with_every_special_character_reach_the_program(tmp_path: Any) -> None:
    hard = ["--drivername=a b", "--nodeid=100%(ENV_X)s; # 'x'", '--kubeconfig="$HOME"\\']
    program = programs(tmp_path, SSCSI_NODE_ARGS=shlex.join(hard))["node"]
    assert command(program) == ["sscsi-node", *hard]


def test_whatever_ends_is_started_again_and_only_what_all_depends_on_is_given_up(tmp_path: Any) -> None:
    for name, program in programs(tmp_path).items():
        assert program.autorestart.__name__ == "RestartUnconditionally"
        assert program.startsecs >= 3
        if name in CRITICAL_PROGRAMS:
            # The first start is none of the retries.
            assert program.startretries + 1 == EXIT_LIMIT
        else:
            assert program.startretries >= 1_000_000


def test_the_registrar_stops_first_and_node_before_the_programs_that_its_calls_need(tmp_path: Any) -> None:
    found = programs(tmp_path)
    order = sorted(found, key=lambda name: -found[name].priority)
    assert order == ["registrar", "node", "livenessprobe", "statussync", "provider-file", "watchdog"]


def test_the_waits_of_a_stop_fit_into_the_grace_of_a_pod(tmp_path: Any) -> None:
    found = programs(tmp_path)
    assert sum(program.stopwaitsecs + LOOP_SECONDS for program in found.values()) < KUBERNETES_GRACE_SECONDS


def test_supervisord_waits_as_long_as_sscsi_run_believes(tmp_path: Any) -> None:
    waits = {f"sscsi-{name}": program.stopwaitsecs for name, program in programs(tmp_path).items()}
    assert {name: waits[name] for name in STOP_WAIT_SECONDS} == STOP_WAIT_SECONDS


def test_the_file_provider_which_takes_no_flags_here_is_given_its_grace(tmp_path: Any) -> None:
    program = programs(tmp_path)["provider-file"]
    assert command(program) == ["sscsi-provider-file"]
    grace = provider_file_config.parse(["--root=/s"], {}).stop_grace_seconds
    assert program.stopwaitsecs >= grace + STOP_MARGIN_SECONDS


def test_supervisord_keeps_as_many_descriptors_for_itself_as_sscsi_run_believes(tmp_path: Any) -> None:
    assert options_of(tmp_path).minfds == SUPERVISORD_DESCRIPTORS


def test_no_log_goes_to_a_file_and_nobody_can_give_orders(tmp_path: Any) -> None:
    for name, program in programs(tmp_path).items():
        # A listener's stdout is the protocol.
        assert program.stdout_logfile == (None if name == "watchdog" else "/dev/fd/1")
        assert program.stderr_logfile == "/dev/fd/2"
        assert program.stderr_logfile_maxbytes == 0
        assert program.stdout_logfile is None or program.stdout_logfile_maxbytes == 0
    assert not re.search(r"^\[(unix|inet)_http_server\]", text(), re.MULTILINE)
