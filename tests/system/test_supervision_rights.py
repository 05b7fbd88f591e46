"""What each program of a running appliance may do, and what the liveness probe's user may not."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence

import pytest

from tests.support.appliance_place import SSCSI, AppliancePlace, new_place, started
from tests.support.require import lacking, require
from tests.support.supervised import PROGRAMS, Supervised, status_of, supervised

pytestmark = [pytest.mark.root]

_PROBE_USER = 65532
CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, KILL, SYS_PTRACE, SYS_ADMIN = (
    1 << number for number in (0, 1, 2, 3, 4, 5, 19, 21)
)
# The design's table.
CAPABILITIES = {
    "node": SYS_ADMIN | CHOWN | FOWNER | FSETID | DAC_OVERRIDE,
    "registrar": 0,
    "livenessprobe": 0,
    "statussync": DAC_READ_SEARCH,
    "provider-file": DAC_READ_SEARCH,
    "watchdog": SYS_PTRACE | KILL,
}
# Tries each thing as another user, and prints what became of it: "done", or the error.
_AS_OTHER = """
    import errno, json, os, signal, socket, sys
    user, tries = int(sys.argv[1]), json.loads(sys.argv[2])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    def connect(path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    def make(path):
        open(path, "x").close()
    def end(pid):
        os.kill(pid, signal.SIGKILL)
    def look(pid):
        os.listdir(f"/proc/{pid}/fd")
    def read(path):
        open(path).close()
    found = []
    for action, what in tries:
        try:
            globals()[action](what)
            found.append("done")
        except OSError as error:
            found.append(errno.errorcode[error.errno])
    print(json.dumps(found))
"""


@pytest.fixture
def place() -> Iterator[AppliancePlace]:
    with new_place() as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[Supervised]:
    require("root")
    with new_place() as place, supervised(place) as appliance:
        appliance.wait_running()
        yield appliance


def as_probe_user(tries: Sequence[tuple[str, str | int]]) -> dict[tuple[str, str | int], str]:
    """What becomes of each try under the liveness probe's user and group."""
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_AS_OTHER), str(_PROBE_USER), json.dumps(tries)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return dict(zip(tries, json.loads(answer.stdout), strict=True))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_runs_has_what_the_table_says_and_nothing_else(
    running: Supervised, program: str
) -> None:
    status = status_of(running.pids()[program])
    bits = CAPABILITIES[program]
    assert {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == dict.fromkeys(
        ("CapPrm", "CapEff", "CapBnd"), bits
    )
    user = str(_PROBE_USER if program == "livenessprobe" else 0)
    assert (status["Uid"].split(), status["Gid"].split()) == ([user] * 4, [user] * 4)
    assert (status["Groups"], status["NoNewPrivs"]) == ("", "1")


def test_the_probes_user_can_neither_publish_nor_ask_for_content_nor_touch_another_program(
    running: Supervised,
) -> None:
    place, pids = running.place, running.pids()
    sockets = ("run/node.sock", "run/statussync.sock", "run/providers/file.sock")
    sealed: list[tuple[str, str | int]] = [
        ("connect", place.path("csi.sock")),
        *(("connect", place.path(name)) for name in sockets),
        ("make", place.path("run", "another.sock")),
        *(("look", pid) for name, pid in pids.items() if name != "livenessprobe"),
        ("look", running.pid),
    ]
    assert as_probe_user(sealed) == dict.fromkeys(sealed, "EACCES")
    ends: list[tuple[str, str | int]] = [
        ("end", running.pid),
        *(("end", pid) for name, pid in pids.items() if name != "livenessprobe"),
    ]
    assert as_probe_user(ends) == dict.fromkeys(ends, "EPERM")
    assert running.pids() == pids


def test_the_probes_user_may_ask_how_things_are(running: Supervised) -> None:
    names = ("probe.sock", "node-state.sock", "registrar.sock", "statussync-state.sock")
    tries: list[tuple[str, str | int]] = [
        *(("connect", running.place.path("run", name)) for name in names),
        ("read", running.place.path("run", "watchdog.json")),
    ]
    assert as_probe_user(tries) == dict.fromkeys(tries, "done")


@pytest.mark.parametrize(
    "before",
    [
        ("setpriv", "--bounding-set", "-setpcap"),
        ("setpriv", "--bounding-set", "-setpcap,-setuid,-setgid", "--no-new-privs"),
        ("setpriv", "--bounding-set", "-all,+sys_admin,+dac_override,+chown,+fowner,+fsetid"),
        ("unshare", "--user", "--map-root-user", "--mount"),
    ],
    ids=["without SETPCAP", "with no_new_privs", "with what node needs only", "in a user namespace"],
)
def test_an_appliance_that_may_not_drop_its_rights_serves_all_the_same(
    place: AppliancePlace, before: tuple[str, ...]
) -> None:
    require("root")
    if "--user" in before and subprocess.run([*before, "true"], check=False).returncode:
        lacking("userns", reason="no user namespace here")
    with started(place, command=(*before, SSCSI, "run")):
        assert place.kubelet.is_ready()
        assert place.get("/healthz") == (200, "ok")


def test_somebody_who_may_not_mount_is_told_in_one_line(place: AppliancePlace) -> None:
    require("root")
    # Still as root: who else is there may not read the Python that this machine has.
    answer = subprocess.run(
        ["setpriv", "--bounding-set", "-all", SSCSI, "run"],
        env=place.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, len(answer.stderr.splitlines())) == (1, 1), answer.stderr
    assert answer.stderr.startswith("sscsi run: ") and "CAP_SYS_ADMIN" in answer.stderr
    assert not os.path.exists(place.path("run"))
