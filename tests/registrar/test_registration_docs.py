"""docs/registration.md quotes log lines, states and flags: they are those of the program."""

import os
import re

import pytest

from sidecars.registrar import config
from sidecars.registrar.standing import REGISTERED, WAITING_FOR_DRIVER, WAITING_FOR_KUBELET, Standing
from tests.support.checkout import ROOT

with open(f"{ROOT}/docs/registration.md", encoding="utf-8") as file:
    TEXT = file.read()


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(title: str) -> list[str]:
    """What is quoted in the first column of the section's table."""
    cells = [line.split("|")[1] for line in section(title).splitlines() if line.startswith("| `")]
    return [quoted for cell in cells for quoted in re.findall("`([^`]+)`", cell)]


def sources() -> str:
    names = [f"{ROOT}/sscsi/edges/{name}.py" for name in ("unix_socket", "directory_watch")]
    names += [entry.path for entry in os.scandir(f"{ROOT}/sidecars/registrar") if entry.name.endswith(".py")]
    texts = []
    for name in names:
        with open(name, encoding="utf-8") as source:
            texts.append(source.read())
    return "".join(texts)


def test_the_states_are_those_of_the_program() -> None:
    assert first_cells("States") == [WAITING_FOR_DRIVER, WAITING_FOR_KUBELET, REGISTERED]


def test_the_facts_are_those_of_the_program() -> None:
    facts = section("States").partition("Facts: ")[2]
    assert re.findall(r"`([a-z_]+)`", facts) == list(Standing(endpoint="x").room_status().facts)


@pytest.mark.parametrize("line", first_cells("When a registration fails"))
def test_a_log_line_is_one_of_the_program(line: str) -> None:
    assert f'"{line}' in sources()


def test_a_flag_is_one_of_the_program() -> None:
    known = {flag.name for flag in config._FLAGS}
    others = {"drivername", "root-dir"}
    assert set(re.findall(r"--([a-z][a-z-]+)", TEXT)) <= known | others
