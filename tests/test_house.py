"""What holds for the house as a whole; import layers and lint are checked by `make lint`."""

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import sidecars
import sscsi
from sscsi.edges.grpc_status import CODES
from sscsi.errors import SscsiError
from tests.support.checkout import console_scripts, setup_cfg

SCRIPTS = console_scripts()
# Everything that can be run, as the words before its flags.
COMMANDS = [*SCRIPTS, "sscsi run", "sscsi status", "sscsi doctor", "sscsi lint", "sscsi demo"]
# The launcher is what every room is started through, and none itself.
ROOMS = {name: target for name, target in SCRIPTS.items() if name not in {"sscsi", "sscsi-launch"}}


def module_names() -> Iterator[str]:
    for package in (sscsi, sidecars):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield module.name


def all_errors(kind: type[SscsiError] = SscsiError) -> Iterator[type[SscsiError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from all_errors(subclass)


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script as pip installs it, in an environment that sets nothing of ours."""
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("SSCSI_", "CSI_", "KUBE_"))
    }
    return subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), name), *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_module_imports() -> None:
    names = [name for name in module_names() if not name.endswith(".__main__")]
    assert len(names) > 40
    for name in names:
        importlib.import_module(name)


def test_every_error_has_its_row_in_the_table_of_statuses() -> None:
    for name in module_names():
        if not name.endswith(".__main__"):
            importlib.import_module(name)
    errors = set(all_errors())
    assert errors == set(CODES)
    assert {error.__module__ for error in errors} == {"sscsi.errors"}


def test_every_error_says_what_the_reader_should_do() -> None:
    assert [error.__name__ for error in all_errors() if not error.__doc__] == []


@pytest.mark.parametrize("module", sorted({target.partition(":")[0] for target in SCRIPTS.values()}))
def test_grpcs_core_is_told_to_be_silent_before_it_is_imported(module: str) -> None:
    """Once it is imported it does not look again, and writes lines of its own form into our logs."""
    program = (
        "import importlib, os, sys\n"
        "class Witness:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'grpc': print(os.environ.get('GRPC_VERBOSITY'))\n"
        "sys.meta_path.insert(0, Witness())\n"
        f"importlib.import_module({module!r})\n"
        "import grpc\n"
    )
    environ = {key: value for key, value in os.environ.items() if key != "GRPC_VERBOSITY"}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout == "NONE\n"


def test_the_version_is_written_in_one_place() -> None:
    assert setup_cfg()["metadata"]["version"] == "attr: sscsi.__version__"
    assert sscsi.__version__.count(".") == 2


@pytest.mark.parametrize(("name", "target"), SCRIPTS.items())
def test_a_console_script_is_a_main(name: str, target: str) -> None:
    module, _, function = target.partition(":")
    assert function == "main"
    assert module.endswith(".__main__") == (name != "sscsi-launch")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(("name", "target"), ROOMS.items())
def test_a_room_has_one_name_in_all_places(name: str, target: str) -> None:
    folder = target.split(".")[1]
    assert name == f"sscsi-{folder.replace('_', '-')}"


@pytest.mark.parametrize("target", ROOMS.values())
def test_a_room_has_two_doors_and_a_readme(target: str) -> None:
    package = importlib.import_module(target.rpartition(".")[0])
    assert package.__doc__
    assert len(package.__doc__.splitlines()) > 3
    directory = os.path.dirname(str(package.__file__))
    with open(f"{directory}/__main__.py", encoding="utf-8") as file:
        assert len(file.readlines()) < 60
    assert os.path.exists(f"{directory}/config.py")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_on_stdout_with_code_0(command: str) -> None:
    result = run_script(*command.split(), "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert command in result.stdout
    assert len(result.stdout.splitlines()) > 3


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_is_one_line_that_names_it_and_code_2(command: str) -> None:
    result = run_script(*command.split(), "--no-such-flag")
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(command)
    assert "--no-such-flag" in line
    assert "--help" in line
