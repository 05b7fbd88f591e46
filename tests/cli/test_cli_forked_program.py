"""A program in a forked child, in place of exec. What is tested is what exec, or an interpreter's end, would have done."""

import logging
import os
import signal
import subprocess
import sys
from typing import TextIO

import pytest

from sscsi.cli.forked_program import become, is_ours
from tests.support.forked import in_child


def no_stop() -> bool:
    return False


class Late(logging.StreamHandler[TextIO]):
    """Has a line that nobody took yet, as a log has whose reader is slow."""

    def flush(self) -> None:
        os.write(1, b"the last line\n")


@pytest.mark.parametrize(
    ("argv", "ours"),
    [
        (["/usr/bin/sscsi-launch", "--keep=KILL", "--", "sscsi-watchdog"], True),
        (["sscsi-launch", "--", "/usr/bin/sscsi-node", "--v=4"], True),
        (["sscsi-launch", "--", "sleep", "1"], False),
        (["sleep", "1"], False),
    ],
)
def test_the_launcher_with_one_of_our_programs_is_ours(argv: list[str], ours: bool) -> None:
    assert is_ours(argv) is ours


def test_the_last_lines_of_a_log_are_written_before_the_process_ends() -> None:
    def help_of_node() -> None:
        late = Late()
        logging.getLogger().addHandler(late)
        become(
            ["sscsi-launch", "--", "sscsi-node", "--help"],
            dict(os.environ),
            output=os.dup(1),
            was_asked_to_stop=no_stop,
        )

    assert "the last line\n" in in_child(help_of_node)


@pytest.mark.parametrize(("leaves", "code"), [("sys.exit()", 0), ("sys.exit(7)", 7), ("sys.exit('why')", 1)])
def test_a_program_that_leaves_by_exit_has_the_code_that_an_interpreter_would_give(
    leaves: str, code: int
) -> None:
    script = f"""
import os, sys, types
from sscsi.cli import programs
from sscsi.cli.forked_program import become
leaving = types.ModuleType("leaving")
leaving.main = lambda: {leaves}
sys.modules["leaving"] = leaving
programs.MODULES["sscsi-leaving"] = "leaving"
become(["sscsi-launch", "--", "sscsi-leaving"], dict(os.environ), output=os.dup(2), was_asked_to_stop=bool)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == code


def test_a_child_that_was_asked_to_stop_before_it_was_a_program_ends_as_one_that_was() -> None:
    def asked() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        become(["sscsi-launch", "--", "sscsi-node"], {}, output=1, was_asked_to_stop=lambda: True)

    assert in_child(asked) == ""
