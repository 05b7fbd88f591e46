"""What is amiss with the installation is told once, when two looks agree, and is over when it is mended."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import pytest

from sidecars.statussync.installation import InstallationCheck
from sidecars.statussync.problems import ProblemBoard
from sscsi.core.finding import Word, fail, ok, skip, warn
from sscsi.errors import DriverUnreachableError, StoppingError
from tests.fakes.fake_cluster import FakeCluster
from tests.support.waiting import wait_until

DRIVER = "secrets-store.csi.k8s.io"
BROKEN = ("CSIDriver", fail("there is none", "make one"))
OLDER = ("CRDs", warn("they are older", "apply ours"))
UNSEEN = ("CSIDriver", skip("no right to get it", "get the right"))
WELL = ("Rights", ok("all of them"))
_SETTLE, _AGAIN, _RETRY = 0.01, 0.02, 0.01

Find = Callable[[], Sequence[tuple[str, Word]]]


class Checking:
    """A check that runs, with the cluster that it looks at and what it tells."""

    def __init__(self, *findings: tuple[str, Word], find: Find | None = None) -> None:
        self.cluster = FakeCluster()
        self.cluster.findings = list(findings)
        self.cluster.find = find or self.cluster.find
        self.problems = ProblemBoard()

    def wait_looks(self, count: int) -> None:
        """Return once it has looked so many times."""
        wait_until(lambda: len(self.cluster.checked) >= count, f"it has looked {count} times")


@contextlib.contextmanager
def checking(
    *findings: tuple[str, Word],
    ask_name: Callable[[], str] = lambda: DRIVER,
    settle_seconds: float = _SETTLE,
    again_seconds: float = _AGAIN,
    find: Find | None = None,
) -> Iterator[Checking]:
    made, stop = Checking(*findings, find=find), threading.Event()
    check = InstallationCheck(
        made.cluster,
        made.problems,
        ask_name,
        settle_seconds=settle_seconds,
        again_seconds=again_seconds,
        retry_seconds=_RETRY,
    )
    thread = threading.Thread(target=check.run, args=(stop,))
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join()


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Level, message and reason of each line."""
    return [(record.levelname, record.getMessage(), record.__dict__["reason"]) for record in caplog.records]


def test_a_failure_is_a_problem_until_it_is_mended(caplog: pytest.LogCaptureFixture) -> None:
    with checking(BROKEN, WELL) as made:
        wait_until(lambda: made.problems.present(5) == ["CSIDriver: there is none; make one"], "it is told")
        made.wait_looks(5)
        made.cluster.findings = [WELL]
        wait_until(lambda: made.problems.count == 0, "it is over")
    assert messages(caplog) == [("WARNING", "something does not work", "there is none; make one")]


def test_what_is_there_a_moment_later_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with checking(BROKEN, settle_seconds=0.2) as made:
        made.wait_looks(1)
        made.cluster.findings = [WELL, UNSEEN]
        wait_until(lambda: bool(caplog.records), "it has looked again")
        assert made.problems.last == ""
    assert [level for level, _, _ in messages(caplog)] == ["INFO"]


def test_a_warning_is_one_line_and_no_reason_to_ask_again(caplog: pytest.LogCaptureFixture) -> None:
    with checking(OLDER, WELL) as made:
        wait_until(lambda: bool(caplog.records), "it is told")
        assert made.cluster.checked == [DRIVER, DRIVER]
    assert messages(caplog) == [
        ("WARNING", "not all is installed as it should be", "they are older; apply ours")
    ]
    assert made.problems.count == 0
    assert made.cluster.checked == [DRIVER, DRIVER]


def test_where_all_is_well_one_look_is_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with checking(WELL, UNSEEN) as made:
        wait_until(lambda: bool(caplog.records), "what could not be seen is told")
    assert messages(caplog) == [("INFO", "this can't be looked at", "no right to get it; get the right")]
    assert made.cluster.checked == [DRIVER]


def test_a_cluster_that_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made = Checking(BROKEN)
    made.cluster.is_away = True
    stop = threading.Event()
    check = InstallationCheck(
        made.cluster,
        made.problems,
        lambda: DRIVER,
        settle_seconds=_SETTLE,
        again_seconds=_AGAIN,
        retry_seconds=_RETRY,
    )
    thread = threading.Thread(target=check.run, args=(stop,))
    thread.start()
    try:
        made.wait_looks(2)
        made.cluster.is_away = False
        wait_until(lambda: made.problems.count == 1, "it is told")
    finally:
        stop.set()
        thread.join()
    # Why it was away, once.
    assert [message for _, message, _ in messages(caplog)] == [
        "the installation can't be looked at now",
        "something does not work",
    ]


def test_a_look_that_fails_itself_is_told_once_and_made_again(caplog: pytest.LogCaptureFixture) -> None:
    def fall() -> NoReturn:
        raise AttributeError("not of the shape that it should be")

    with checking(find=fall) as made:
        made.wait_looks(3)
        made.cluster.find = lambda: [BROKEN]
        wait_until(lambda: made.problems.count == 1, "what is amiss is told afterwards")
    failed, broken = caplog.records
    assert failed.getMessage().startswith("the look at the installation failed")
    assert failed.exc_info
    assert broken.getMessage() == "something does not work"


def test_a_right_that_is_missing_is_one_line_and_no_problem(caplog: pytest.LogCaptureFixture) -> None:
    with checking(("Rights", fail("no right to list", "apply it"))) as made:
        wait_until(lambda: bool(caplog.records), "it is told")
        assert made.problems.count == 0
        assert made.problems.last == ""
    assert made.cluster.checked == [DRIVER, DRIVER]
    assert messages(caplog) == [
        ("WARNING", "not all is installed as it should be", "no right to list; apply it")
    ]


def test_words_that_differ_each_time_agree_all_the_same() -> None:
    numbers = itertools.count()
    with checking(find=lambda: [("CSIDriver", fail(f"request {next(numbers)} failed", "ask again"))]) as made:
        wait_until(lambda: made.problems.count == 1, "it is told")


def test_another_failure_of_the_same_subject_is_told_in_its_own_words() -> None:
    with checking(BROKEN) as made:
        wait_until(lambda: made.problems.count == 1, "it is told")
        made.cluster.findings = [("CSIDriver", fail("it is of another shape", "apply ours"))]
        wait_until(
            lambda: made.problems.present(5) == ["CSIDriver: it is of another shape; apply ours"],
            "the other one is told",
        )
        assert made.problems.count == 1


def test_the_driver_tells_which_object_it_is() -> None:
    answers = iter((DriverUnreachableError("nobody is there", reason="missing"), "another.example"))

    def ask_name() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with checking(WELL, ask_name=ask_name) as made:
        made.wait_looks(1)
        assert made.cluster.checked == ["another.example"]


def test_without_a_driver_it_ends_when_it_is_asked_to() -> None:
    def ask_name() -> str:
        raise StoppingError("the calls are closed")

    with checking(BROKEN, ask_name=ask_name) as made:
        pass
    assert made.cluster.checked == []
