"""Programs whose log nobody reads for a while, as real processes."""

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.support.checkout import ROOT

# About 90 bytes each: more than 1 MiB and a pipe together, or less.
TOO_MANY, MANY = 20_000, 5000
LOST = "lines of this log were lost, because nobody read them"


@contextlib.contextmanager
def chatty(lines: int, form: str = "text", threads: str = "thread") -> Iterator["subprocess.Popen[str]"]:
    """The program, once it has logged; not one byte of its log was read."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.support.chatty", str(lines), form, threads]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout
            expected = {"thread": "logged 2", "alone": "logged 1"}[threads]
            assert process.stdout.readline().rstrip() == expected
            yield process
        finally:
            process.kill()


def parsed(form: str, line: str) -> tuple[str, int]:
    """Message and count of a line."""
    if form == "json":
        entry = json.loads(line)
        assert entry["caller"].startswith("chatty/")
        return entry["message"], entry.get("count", -1)
    match = re.fullmatch(r'[IW]\S+ \S+ +\d+ chatty/\w+\.py:\d+\] "([^"]*)"(?: count=(\d+))?', line)
    assert match, line
    return match[1], int(match[2] or -1)


@pytest.mark.parametrize("threads", ["thread", "alone"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_program_goes_on_and_its_log_later_tells_what_is_missing(form: str, threads: str) -> None:
    with chatty(TOO_MANY, form, threads) as process:
        log = process.communicate("go on\n", timeout=30)[1]
        assert process.returncode == 0
    entries = [parsed(form, line) for line in log.splitlines()]
    arrived = [count for message, count in entries if message == "a line"]
    lost = [count for message, count in entries if message == LOST]
    assert arrived == list(range(len(arrived)))
    # The last line itself may come before there is room again.
    came_last = entries[-1][0] == "the last line"
    assert len(lost) == 1
    assert lost[0] + len(arrived) + came_last == TOO_MANY + 1


def test_a_program_whose_log_nobody_ever_reads_ends_all_the_same() -> None:
    with chatty(TOO_MANY) as process:
        assert process.stdin
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.wait(60) == 0


@pytest.mark.parametrize("threads", ["thread", "alone"])
def test_what_is_pending_at_the_end_is_still_written_when_somebody_reads(threads: str) -> None:
    with chatty(MANY, "text", threads) as process:
        assert process.stderr
        assert process.stdin
        log: list[str] = []
        reader = threading.Thread(target=lambda: log.extend(process.stderr or ()))
        reader.start()
        process.stdin.write("go on\n")
        process.stdin.flush()
        reader.join(60)
        assert process.wait(60) == 0
    entries = [parsed("text", line.rstrip("\n")) for line in log]
    assert entries == [*(("a line", number) for number in range(MANY)), ("the last line", -1)]
