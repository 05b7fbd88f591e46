import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

from sscsi.errors import ConfigError
from sscsi.process.flags import HelpRequestedError
from sscsi.process.launch import parse
from tests.support.own_mounts import own_mounts
from tests.support.require import lacking, require

LAUNCH = os.path.join(os.path.dirname(sys.executable), "sscsi-launch")
IN_USER_NAMESPACE = ("unshare", "--user", "--map-root-user")
STATUS = ("cat", "/proc/self/status")
SETS = ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the design's table of privileges."""

    program: str
    flags: tuple[str, ...]
    bits: int
    uid: int = 0


CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, KILL, SYS_PTRACE, SYS_ADMIN = (
    1 << number for number in (0, 1, 2, 3, 4, 5, 19, 21)
)
NODE = CHOWN | DAC_OVERRIDE | FOWNER | FSETID | SYS_ADMIN
TABLE = [
    Row("node", ("--keep=SYS_ADMIN,CHOWN,FOWNER,FSETID,DAC_OVERRIDE",), NODE),
    Row("registrar", (), 0),
    Row("statussync", ("--keep=DAC_READ_SEARCH",), DAC_READ_SEARCH),
    Row("watchdog", ("--keep=SYS_PTRACE,KILL",), SYS_PTRACE | KILL),
]
OTHER_USERS = [
    Row("livenessprobe", ("--user=65532:65531",), 0, uid=65532),
    Row("another", ("--user=65532:65531", "--keep=SYS_PTRACE"), SYS_PTRACE, uid=65532),
]


def launch(
    *words: str, before: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, LAUNCH, *words],
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fields(text: str) -> dict[str, str]:
    return {
        key: " ".join(value.split()) for key, _, value in (line.partition(":") for line in text.splitlines())
    }


def sets(status: Mapping[str, str]) -> dict[str, int]:
    return {name: int(status[name], 16) for name in SETS}


@pytest.mark.root
@pytest.mark.parametrize("before", [(), IN_USER_NAMESPACE], ids=["here", "in a user namespace"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.program)
def test_a_program_has_what_the_table_says_and_nothing_else(row: Row, before: tuple[str, ...]) -> None:
    answer = launch(*row.flags, "--", *STATUS, before=before)
    if before and answer.stderr.startswith("unshare"):
        lacking("userns", reason=f"no user namespace in this one: {answer.stderr}")
    status = fields(answer.stdout)
    assert sets(status) == {
        "CapPrm": row.bits,
        "CapEff": row.bits,
        "CapBnd": row.bits,
        "CapInh": 0,
        "CapAmb": 0,
    }
    assert status["NoNewPrivs"] == "1"
    assert (status["Uid"], status["Gid"]) == ("0 0 0 0", "0 0 0 0")
    if not before and own_mounts().is_root:
        assert (status["Groups"], answer.stderr) == ("", "")


@pytest.mark.parametrize("row", OTHER_USERS, ids=lambda row: row.program)
def test_a_program_under_its_own_user_has_that_user_one_group_and_what_it_keeps(row: Row) -> None:
    require("root")
    answer = launch(*row.flags, "--", *STATUS)
    status = fields(answer.stdout)
    assert sets(status) == dict.fromkeys(SETS, row.bits)
    assert status["NoNewPrivs"] == "1"
    assert status["Uid"] == "65532 65532 65532 65532"
    assert status["Gid"] == "65531 65531 65531 65531"
    assert (status["Groups"], answer.stderr) == ("", "")


def test_a_user_without_a_group_gets_the_group_of_its_number() -> None:
    require("root")
    assert fields(launch("--user=65532", "--", *STATUS).stdout)["Gid"] == "65532 65532 65532 65532"


def test_the_groups_of_the_caller_do_not_pass() -> None:
    require("root")
    answer = launch("--", *STATUS, before=("setpriv", "--groups=6,7"))
    assert fields(answer.stdout)["Groups"] == ""


@pytest.mark.root
def test_a_user_that_the_namespace_does_not_have_is_said_and_the_program_runs_with_no_more_rights() -> None:
    answer = launch("--user=65532", "--keep=CHOWN", "--", *STATUS, before=IN_USER_NAMESPACE)
    if answer.stderr.startswith("unshare"):
        lacking("userns", reason=f"no user namespace in this one: {answer.stderr}")
    status = fields(answer.stdout)
    assert status["Uid"] == "0 0 0 0"
    assert sets(status) == {"CapPrm": CHOWN, "CapEff": CHOWN, "CapBnd": CHOWN, "CapInh": 0, "CapAmb": 0}
    warnings = [line for line in answer.stderr.splitlines() if re.match(r"W.* cat/launch\.py:\d+\] ", line)]
    assert len(warnings) == len(answer.stderr.splitlines())
    assert sum("the user stays 0 and does not become 65532" in line for line in warnings) == 1
    assert sum("the group stays 0 and does not become 65532" in line for line in warnings) == 1


@pytest.mark.root
def test_a_second_launcher_takes_more_away_and_says_what_it_may_not() -> None:
    again = (LAUNCH, "--keep=CHOWN", "--", *STATUS)
    answer = launch("--keep=CHOWN,FOWNER", "--", *again, environ={"SSCSI_LOG_FORMAT_JSON": "true"})
    status = fields(answer.stdout)
    assert (sets(status)["CapPrm"], sets(status)["CapBnd"]) == (CHOWN, CHOWN | FOWNER)
    (line,) = answer.stderr.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["caller"].partition("/")[0]) == ("warning", "cat")
    assert entry["reason"].startswith("CAP_FOWNER stays in the bounding set, out of reach by no_new_privs")


def test_a_program_that_is_not_there_is_code_127_and_a_line() -> None:
    answer = launch("--keep=CHOWN", "--", "no-such-program")
    assert answer.returncode == 127
    assert answer.stderr.splitlines()[-1] == "sscsi-launch: 'no-such-program' is not there, or not on PATH"


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc"])
def test_a_program_that_cannot_be_run_is_code_126_and_a_line(path: str) -> None:
    answer = launch("--", path)
    assert answer.returncode == 126
    assert answer.stderr.splitlines()[-1] == f"sscsi-launch: '{path}' cannot be started: Permission denied"


def test_the_program_gets_its_arguments_and_its_code_is_the_code() -> None:
    answer = launch("--", "sh", "-c", 'echo "$@"; exit 7', "sh", "--keep=x", "--", "a b")
    assert (answer.returncode, answer.stdout) == (7, "--keep=x -- a b\n")


def test_a_program_is_not_made_to_ignore_signals() -> None:
    """Python ignores SIGPIPE; a program that writes to a closed pipe must end all the same."""
    ignored = int(fields(launch("--", *STATUS).stdout)["SigIgn"], 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored >> (number - 1) & 1


def test_the_log_of_another_user_never_blocks() -> None:
    """A pipe of root's can't be opened anew by another user, so that the program finds it unblocking already."""
    require("root")
    script = "grep flags /proc/self/fdinfo/1 /proc/self/fdinfo/2"
    for flags, expected in ((("--user=65532",), [False, True]), ((), [False, False])):
        answer = launch(*flags, "--", "sh", "-c", script)
        found = [int(line.split()[-1], 8) for line in answer.stdout.splitlines()]
        assert [bool(flag & os.O_NONBLOCK) for flag in found] == expected


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "no program"),
        (["--keep=CHOWN"], "no program"),
        (["--keep=CHOWN", "--"], "no program"),
        (["--", ""], "no program"),
        (["sscsi-node"], "'sscsi-node'"),
        (["--keep=CHOWN,SYS_ADMN", "--", "x"], "--keep: 'SYS_ADMN'"),
        (["--user=nobody", "--", "x"], "--user: 'nobody'"),
        (["--user=1:", "--", "x"], "--user: '1:'"),
        (["--user=:1", "--", "x"], "--user: ':1'"),
        (["--user=1:2:3", "--", "x"], "--user: '1:2:3'"),
        (["--user=-1", "--", "x"], "--user: '-1'"),
        (["--user=4294967295", "--", "x"], "--user: '4294967295'"),
        (["--user=\u0663", "--", "x"], "--user"),
        (["--usr=1", "--", "x"], "--usr"),
    ],
)
def test_a_wrong_command_line_is_refused_by_name(argv: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        parse(argv)


def test_a_command_line_is_read_up_to_the_first_end_of_flags() -> None:
    parsed = parse(["--user=5:6", "--keep", "CHOWN, cap_fowner", "--", "sscsi-node", "--v=5", "--", "x"])
    assert parsed.command == ("sscsi-node", "--v=5", "--", "x")
    assert (parsed.privileges.uid, parsed.privileges.gid) == (5, 6)
    assert parsed.privileges.kept == CHOWN | FOWNER


def test_without_flags_nothing_is_kept_and_the_user_stays() -> None:
    privileges = parse(["--", "x"]).privileges
    assert (privileges.uid, privileges.gid, privileges.kept) == (None, None, 0)


def test_help_shows_where_the_program_goes() -> None:
    with pytest.raises(HelpRequestedError, match=r"sscsi-launch \[flags\] -- PROGRAM \[ARGUMENTS\]\n"):
        parse(["--help"])


def test_a_wrong_command_line_starts_nothing_and_is_code_2() -> None:
    answer = launch("--keep=NONSENSE", "--", "echo", "started")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert (
        answer.stderr
        == "sscsi-launch: flag --keep: 'NONSENSE' is no capability; capabilities(7) lists them\n"
    )
