import ctypes
import os
import re
import threading

import pytest

from sscsi.errors import ConfigError
from sscsi.process import privileges
from sscsi.process.privileges import Privileges, drop
from tests.support.forked import in_child
from tests.support.require import require

HEADER = "/usr/include/linux/capability.h"
SETPCAP = 1 << 8


def status() -> dict[str, str]:
    with open("/proc/self/status", encoding="ascii") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def status_after_exec() -> None:
    os.execv("/bin/cat", ["cat", "/proc/self/status"])


def field(text: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*?)\s*$", text, re.MULTILINE)
    assert found
    return found[1]


def without_right_to_bound() -> None:
    """Be root without CAP_SETPCAP, as in a container that was not given it."""
    now = privileges._get()
    less = now.permitted & ~SETPCAP
    privileges._set(privileges._Capabilities(effective=less, permitted=less, inheritable=0))


@pytest.mark.parametrize("name", ["SYS_ADMIN", "CAP_SYS_ADMIN", "cap_sys_admin"])
def test_a_capability_has_its_name_with_or_without_prefix(name: str) -> None:
    assert Privileges(keep=frozenset({name})).kept == 1 << 21


@pytest.mark.parametrize("name", ["SYS_ADMN", "CAP_", "", "CAP_CAP_CHOWN", "21"])
def test_a_name_that_is_no_capability_is_named_in_the_error(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(name))):
        Privileges(keep=frozenset({name}))


def test_the_numbers_are_the_kernels() -> None:
    if not os.path.exists(HEADER):
        pytest.skip(f"no {HEADER}: the kernel's headers are not installed")
    with open(HEADER, encoding="ascii") as file:
        numbers = re.findall(r"^#define CAP_(\w+)\s+(\d+)\s*$", file.read(), re.MULTILINE)
    assert len(numbers) > 40
    for name, number in numbers:
        assert Privileges(keep=frozenset({name})).kept == 1 << int(number)


@pytest.mark.root
def test_done_twice_the_second_time_finds_nothing_to_do_and_nothing_to_say() -> None:
    wanted = Privileges(keep=frozenset({"CHOWN"}))

    def action() -> str:
        assert drop(wanted) == []
        before = status()
        assert drop(wanted) == []
        after = status()
        for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh", "NoNewPrivs", "Groups"):
            assert before[name] == after[name]
        return after["CapPrm"]

    assert int(in_child(action), 16) == 1


@pytest.mark.root
def test_what_was_dropped_cannot_be_kept_and_that_is_said() -> None:
    def action() -> str:
        drop(Privileges(keep=frozenset({"CHOWN"})))
        return "\n".join(drop(Privileges(keep=frozenset({"CHOWN", "FOWNER"}))))

    assert in_child(action) == "CAP_FOWNER cannot be kept: this process does not have it"


@pytest.mark.root
def test_a_bounding_set_that_may_not_be_dropped_gives_nothing_back_at_exec() -> None:
    def action() -> None:
        without_right_to_bound()
        (sentence,) = drop(Privileges(keep=frozenset({"CHOWN"})))
        assert re.fullmatch(
            r"a set of \d+ capabilities stays in the bounding set, out of reach by no_new_privs: Operation not permitted",
            sentence,
        )
        status_after_exec()

    after = in_child(action)
    assert {int(field(after, name), 16) for name in ("CapPrm", "CapEff")} == {1}
    assert int(field(after, "CapBnd"), 16) > 1


@pytest.mark.root
def test_capabilities_that_are_permitted_and_asleep_are_rights_too() -> None:
    def action() -> str:
        now = privileges._get()
        privileges._set(privileges._Capabilities(effective=0, permitted=now.permitted, inheritable=0))
        return "\n".join(drop(Privileges(keep=frozenset({"CHOWN"})))) + status()["CapBnd"]

    assert int(in_child(action), 16) == 1


@pytest.mark.root
def test_inheritable_and_ambient_capabilities_of_the_caller_go() -> None:
    def action() -> str:
        now = privileges._get()
        chown = 1
        privileges._set(
            privileges._Capabilities(effective=now.permitted, permitted=now.permitted, inheritable=chown)
        )
        privileges._prctl(privileges._PR_CAP_AMBIENT, privileges._AMBIENT_RAISE, 0)
        assert int(status()["CapAmb"], 16) == chown
        assert drop(Privileges()) == []
        return "".join(status()[name] for name in ("CapInh", "CapAmb", "CapPrm"))

    assert int(in_child(action), 16) == 0


def test_a_user_without_rights_gets_no_more_and_is_told_so() -> None:
    require("root")

    def action() -> str:
        os.setgroups([7])
        os.setresgid(1234, 1234, 1234)
        os.setresuid(1234, 1234, 1234)
        sentences = drop(Privileges(keep=frozenset({"CHOWN"}), uid=0, gid=0))
        now = status()
        assert (now["CapPrm"], now["NoNewPrivs"]) == ("0" * 16, "1")
        return "\n".join(sentences)

    said = in_child(action).splitlines()
    assert said == [
        "the user stays 1234 and does not become 0: Operation not permitted",
        "the group stays 1234 and does not become 0: Operation not permitted",
        "the supplementary groups 7 stay: Operation not permitted",
        said[3],
        "CAP_CHOWN cannot be kept: this process does not have it",
    ]
    assert "bounding set" in said[3]


def test_the_own_group_once_more_is_no_supplementary_right() -> None:
    require("root")

    def action() -> str:
        os.setgroups([1234])
        os.setresgid(1234, 1234, 1234)
        os.setresuid(1234, 1234, 1234)
        return "\n".join(drop(Privileges()))

    assert "groups" not in in_child(action)


def test_a_kept_capability_works_under_another_user() -> None:
    require("root")

    def action() -> str:
        assert drop(Privileges(keep=frozenset({"CHOWN"}), uid=1234, gid=1234)) == []
        file = os.memfd_create("x")
        os.fchown(file, 5, 6)
        assert os.fstat(file).st_uid == 5
        with pytest.raises(PermissionError):
            os.setuid(0)
        return "done"

    assert in_child(action) == "done"


def test_a_process_with_more_threads_is_refused() -> None:
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with pytest.raises(RuntimeError, match="one thread"):
            drop(Privileges())
    finally:
        end.set()
        other.join()


def test_the_kernels_answer_is_read_whole() -> None:
    """Against the kernel's own text of the same sets, the bounding set's last capability included."""
    now, told = privileges._get(), status()
    assert (now.permitted, now.effective, now.inheritable) == tuple(
        int(told[name], 16) for name in ("CapPrm", "CapEff", "CapInh")
    )
    assert privileges._bounding() == int(told["CapBnd"], 16)
    assert privileges._ambient() == int(told["CapAmb"], 16)


def test_an_error_of_the_kernel_has_its_number() -> None:
    ctypes.set_errno(0)
    with pytest.raises(OSError, match="Invalid argument"):
        privileges._prctl(privileges._PR_CAPBSET_READ, 1000)
