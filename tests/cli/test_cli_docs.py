"""The tables in README.md and docs/configuration.md, held against the code that they describe."""

import os

import pytest

from sidecars.livenessprobe import config as livenessprobe_config
from sidecars.registrar import config as registrar_config
from sidecars.statussync import config as statussync_config
from sidecars.watchdog import config as watchdog_config
from sscsi.cli.settings import SETTINGS, Setting
from sscsi.node import config as node_config
from sscsi.process import launch
from sscsi.process.flags import Flag, usage
from sscsi.provider_file import config as provider_file_config

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NODE_FLAGS = sorted(node_config.flags_for({}), key=lambda flag: flag.name)


def document(name: str) -> str:
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def escaped(text: str) -> str:
    """Markdown takes <word> for a tag and shows nothing."""
    return text.replace("<", "&lt;")


def setting_row(setting: Setting) -> str:
    default = setting.shown_default or (f"`{setting.default}`" if setting.default else "empty")
    return f"| `{setting.variable}` | {default} | {escaped(setting.about)} |"


def flag_row(flag: Flag) -> str:
    (line,) = (line for line in usage("x", [flag]).splitlines() if line.startswith("  --"))
    default = line.partition("=")[2].partition("   [variable")[0]
    variable = f"`{flag.variable}`" if flag.variable else ""
    shown = f"`{default}`" if default else "empty"
    about = flag.help + (f" No effect: {flag.no_effect}" if flag.no_effect else "")
    return f"| `--{flag.name}` | {shown} | {variable} | {escaped(about)} |"


def flag_table(flags: tuple[Flag, ...], *, given_effect: bool) -> str:
    rows = [flag_row(flag) for flag in flags if bool(flag.no_effect) != given_effect]
    return "\n".join(["| flag | default | variable | meaning |", "|---|---|---|---|", *rows])


def setting_table() -> str:
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *map(setting_row, SETTINGS)])


def test_readme_has_the_table_of_variables_as_the_program_has_it() -> None:
    assert setting_table() in document("README.md")


@pytest.mark.parametrize(
    ("flags", "given_effect"),
    [
        (tuple(NODE_FLAGS), True),
        (tuple(NODE_FLAGS), False),
        (statussync_config._FLAGS, True),
        (provider_file_config._FLAGS, True),
        (registrar_config._FLAGS, True),
        (registrar_config._FLAGS, False),
        (livenessprobe_config._FLAGS, True),
        (livenessprobe_config._FLAGS, False),
        (watchdog_config._FLAGS, True),
        (launch._FLAGS, True),
    ],
)
def test_the_flags_are_documented_as_the_programs_have_them(
    flags: tuple[Flag, ...], given_effect: bool
) -> None:
    assert flag_table(flags, given_effect=given_effect) in document("docs/configuration.md")


def test_the_two_commands_come_first() -> None:
    readme = document("README.md")
    assert readme.index("make demo") < readme.index("make test") < 1500
