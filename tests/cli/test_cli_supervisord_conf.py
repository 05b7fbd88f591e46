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
from sscsi.provider_file import config as provider_file_config

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONF = os.path.join(ROOT, "supervisord.conf")
KUBERNETES_GRACE_SECONDS = 30
# supervisord looks at its children once a second, so each program may take that much longer.
LOOP_SECONDS = 1


def text() -> str:
    with open(CONF, encoding="utf-8") as file:
        return file.read()


def programs(tmp_path: Any, **environ: str) -> dict[str, Any]:
    given = {"SSCSI_CLUSTER": "dir:/classes", "SSCSI_RUN_DIR": str(tmp_path)} | environ
    options = ServerOptions()
    options.environ_expansions = {
        f"ENV_{name}": value for name, value in complete([], given, host_name="host-1").variables.items()
    }
    options.realize(["--configuration", CONF], doc="")
    return {group.name: group.process_configs[0] for group in options.process_group_configs}


def test_every_variable_in_the_file_is_one_that_sscsi_run_sets() -> None:
    named = set(re.findall(r"%\(ENV_([A-Z_]+)\)s", text()))
    assert named
    assert named <= set(complete([], {"SSCSI_CLUSTER": "dir:/classes"}, host_name="host-1").variables)


def test_the_installed_file_is_the_one_at_the_top() -> None:
    assert (resources.files("sscsi") / "supervisord.conf").read_text() == text()


def test_every_program_is_a_console_script_of_its_own_name(tmp_path: Any) -> None:
    metadata = configparser.ConfigParser()
    metadata.read(os.path.join(ROOT, "setup.cfg"))
    scripts = metadata["options.entry_points"]["console_scripts"]
    for name, program in programs(tmp_path).items():
        assert shlex.split(program.command)[0] == f"sscsi-{name}"
        assert re.search(rf"^sscsi-{name} = ", scripts, re.MULTILINE)


@pytest.mark.parametrize(("root", "starts"), [("", False), ("/secrets", True)])
def test_the_file_provider_starts_when_it_has_a_root(tmp_path: Any, root: str, starts: bool) -> None:
    found = programs(tmp_path, SSCSI_FILE_PROVIDER_ROOT=root)
    assert found["provider-file"].autostart is starts
    assert found["node"].autostart and found["statussync"].autostart


def test_arguments_with_every_special_character_reach_the_program(tmp_path: Any) -> None:
    hard = ["--drivername=a b", "--nodeid=100%(ENV_X)s; # 'x'", '--kubeconfig="$HOME"\\']
    command = programs(tmp_path, SSCSI_NODE_ARGS=shlex.join(hard))["node"].command
    assert shlex.split(command) == ["sscsi-node", *hard]


def test_whatever_ends_is_started_again_for_ever(tmp_path: Any) -> None:
    for program in programs(tmp_path).values():
        assert program.autorestart.__name__ == "RestartUnconditionally"
        assert program.startretries >= 1_000_000
        assert program.startsecs >= 3


def test_node_stops_before_the_programs_that_its_calls_need(tmp_path: Any) -> None:
    found = programs(tmp_path)
    others = [program.priority for name, program in found.items() if name != "node"]
    assert found["node"].priority > max(others)


def test_the_waits_of_a_stop_fit_into_the_grace_of_a_pod(tmp_path: Any) -> None:
    found = programs(tmp_path)
    assert sum(program.stopwaitsecs + LOOP_SECONDS for program in found.values()) < KUBERNETES_GRACE_SECONDS


def test_supervisord_waits_as_long_as_sscsi_run_believes(tmp_path: Any) -> None:
    waits = {f"sscsi-{name}": program.stopwaitsecs for name, program in programs(tmp_path).items()}
    assert {name: waits[name] for name in STOP_WAIT_SECONDS} == STOP_WAIT_SECONDS


def test_the_file_provider_which_takes_no_flags_here_is_given_its_grace(tmp_path: Any) -> None:
    program = programs(tmp_path)["provider-file"]
    assert program.command == "sscsi-provider-file"
    grace = provider_file_config.parse(["--root=/s"], {}).stop_grace_seconds
    assert program.stopwaitsecs >= grace + STOP_MARGIN_SECONDS


def test_no_log_goes_to_a_file_and_nobody_can_give_orders(tmp_path: Any) -> None:
    for program in programs(tmp_path).values():
        assert (program.stdout_logfile, program.stderr_logfile) == ("/dev/fd/1", "/dev/fd/2")
        assert (program.stdout_logfile_maxbytes, program.stderr_logfile_maxbytes) == (0, 0)
    assert not re.search(r"^\[(unix|inet)_http_server\]", text(), re.MULTILINE)
