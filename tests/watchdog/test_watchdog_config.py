import pytest

from sidecars.watchdog.config import parse
from sidecars.watchdog.memory_budgets import DEFAULT_BUDGETS
from sscsi.errors import ConfigError

_SUPERVISED = {"SUPERVISOR_ENABLED": "1"}


def test_defaults_are_those_of_the_documentation() -> None:
    config = parse([], _SUPERVISED)
    assert (config.run_directory, config.stop_grace_seconds) == ("/run/sscsi", 12.0)
    assert config.memory_budgets == DEFAULT_BUDGETS
    assert (config.log_as_json, config.log_verbosity) == (False, 0)
    assert config.decides_on_end


def test_variables_stand_in_for_flags_and_flags_win() -> None:
    environ = {**_SUPERVISED, "SSCSI_RUN_DIR": "/a", "SSCSI_MEMORY_BUDGETS": "node=1Gi,registrar=off"}
    config = parse([], environ)
    assert config.run_directory == "/a"
    assert (config.memory_budgets["node"], config.memory_budgets["registrar"]) == (2**30, None)
    config = parse(["--run-dir=/b", "--memory-budgets=node=2Gi", "--stop-grace=0"], environ)
    assert (config.run_directory, config.stop_grace_seconds) == ("/b", 0.0)
    assert config.memory_budgets == {**DEFAULT_BUDGETS, "node": 2**31}


def test_sscsi_run_decides_itself_on_the_containers_end() -> None:
    assert not parse([], {**_SUPERVISED, "SSCSI_SUPERVISOR_PID": "1"}).decides_on_end


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (["--memory-budgets=node=lots"], {}, "flag --memory-budgets: 'node=lots': 'lots' is not a size"),
        (
            [],
            {"SSCSI_MEMORY_BUDGETS": "nod=1Gi"},
            "variable SSCSI_MEMORY_BUDGETS: 'nod=1Gi': there is no program 'nod'",
        ),
        (["--run-dir="], {}, "flag --run-dir must not be empty"),
        (["--stop-grace=-1s"], {}, "flag --stop-grace must not be negative"),
        (["--stop-grace=12"], {}, "flag --stop-grace: '12' is not a duration"),
        (["--memory-budget=x"], {}, "unknown flag --memory-budget"),
    ],
)
def test_a_bad_command_line_ends_with_code_2_and_one_line(
    argv: list[str], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(argv, {**_SUPERVISED, **environ})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_nobody_but_supervisord_starts_it() -> None:
    with pytest.raises(ConfigError, match="is an event listener: supervisord starts it") as caught:
        parse([], {})
    assert caught.value.exit_code == 1
