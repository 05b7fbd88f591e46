import os

import psutil
import pytest

from sscsi.process.process_title import set_title
from tests.support.forked import in_child


def room() -> int:
    """Bytes of this process's command line."""
    with open("/proc/self/cmdline", "rb") as file:
        return len(file.read())


def title_of(title: str, *, then: str = "cmdline") -> list[str]:
    def action() -> str:
        set_title(title)
        # A process whose memory nobody may look at is the same to `ps`.
        return "\n".join(
            getattr(psutil.Process(), then)() if then == "cmdline" else [psutil.Process().name()]
        )

    return in_child(action).rstrip("\n").split("\n")


def test_a_forked_process_is_shown_by_its_own_name() -> None:
    assert title_of("sscsi-node")[0] == "sscsi-node"


def test_its_arguments_follow() -> None:
    assert title_of("sscsi-x --a=1 -b") == ["sscsi-x", "--a=1", "-b"]


def test_the_short_name_is_the_programs_too() -> None:
    def action() -> str:
        set_title("sscsi-provider-file --a=1")
        with open("/proc/self/comm", encoding="ascii") as file:
            return file.read()

    assert in_child(action) == "sscsi-provider-\n"
    assert title_of("sscsi-provider-file", then="name") == ["sscsi-provider-file"]


@pytest.mark.parametrize("title", ["", " ", "x" * 100_000, "x " * 50_000, "é" * 9])
def test_no_title_is_written_beyond_the_command_line(title: str) -> None:
    """The environment lies right behind it."""
    before = room()

    def action() -> str:
        with open("/proc/self/environ", "rb") as file:
            environ = file.read()
        set_title(title)
        with open("/proc/self/environ", "rb") as file:
            assert file.read() == environ
        with open("/proc/self/cmdline", "rb") as file:
            line = file.read()
        assert line.endswith(b"\0")
        return str(len(line))

    assert int(in_child(action)) == before


def test_arguments_that_do_not_fit_whole_are_left_out() -> None:
    long = "--" + "x" * room()
    assert title_of(f"sscsi-node --a {long} --b") == ["sscsi-node", "--a"]


def test_the_process_itself_goes_on_as_before() -> None:
    def action() -> str:
        set_title("sscsi-node")
        return os.environ.get("PATH", "") + " ".join(os.listdir("/"))

    assert in_child(action) == os.environ.get("PATH", "") + " ".join(os.listdir("/"))
