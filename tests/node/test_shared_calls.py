"""One call for everybody who asks the same at the same moment, and for nobody else."""

import contextlib
import threading
from concurrent import futures

import pytest

from sscsi.core.failure_reason import DEADLINE_EXCEEDED, PERMISSION_DENIED
from sscsi.core.file_plan import PlannedFile
from sscsi.errors import ProviderCallError
from sscsi.node.shared_calls import (
    GATHER_SECONDS,
    QUIET_SECONDS,
    Approaches,
    Gathering,
    Moment,
    SharedCalls,
)
from sscsi.ports import ProviderAnswer
from tests.support.hand_clock import HandClock
from tests.support.waiting import wait_until

FILES = ProviderAnswer(
    object_versions=(("a", "1"),), error_code="", files=(PlannedFile("a", 0o644, b"content"),)
)
NO_FILES = ProviderAnswer(object_versions=(("a", "1"),), error_code="", files=())
REFUSED = ProviderAnswer(object_versions=(), error_code="PermissionDenied", files=())
SECONDS = 60.0


class Asked:
    """A provider that answers when it is let go; how often it was asked."""

    def __init__(self, end: ProviderAnswer | Exception) -> None:
        self.end = end
        self.count = 0
        self.let_go = threading.Event()

    def __call__(self) -> ProviderAnswer:
        self.count += 1
        assert self.let_go.wait(SECONDS)
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


@pytest.fixture
def shared() -> SharedCalls:
    return SharedCalls(gather=lambda: None, waiting=contextlib.nullcontext)


def together(
    shared: SharedCalls, asked: Asked, count: int
) -> list["futures.Future[tuple[ProviderAnswer, bool]]"]:
    """So many callers of one identity, of whom the first asks; let go when all have come."""
    begun = threading.Semaphore(0)

    def call() -> tuple[ProviderAnswer, bool]:
        begun.release()
        return shared.call("same", asked, timeout_seconds=SECONDS)

    with futures.ThreadPoolExecutor(count) as pool:
        first = [pool.submit(call)]
        wait_until(lambda: asked.count == 1, "the first asks")
        others = [pool.submit(call) for _ in range(count - 1)]
        for _ in range(count):
            assert begun.acquire(timeout=SECONDS)
        asked.let_go.set()
        return first + others


class TestInFlight:
    def test_those_who_come_during_a_call_have_its_answer(self, shared: SharedCalls) -> None:
        asked = Asked(FILES)
        ends = [future.result() for future in together(shared, asked, 20)]
        assert [answer for answer, _ in ends] == [FILES] * 20
        # A late one may have come when the call had ended, and asked anew: never with an old answer.
        assert [is_shared for _, is_shared in ends].count(False) == asked.count
        assert asked.count < 20

    def test_who_comes_after_it_asks_anew(self, shared: SharedCalls) -> None:
        asked = Asked(FILES)
        asked.let_go.set()
        for count in (1, 2, 3):
            assert shared.call("same", asked, timeout_seconds=SECONDS) == (FILES, False)
            assert asked.count == count

    def test_another_identity_is_never_given_the_answer(self, shared: SharedCalls) -> None:
        mine, theirs = Asked(FILES), Asked(NO_FILES)
        with futures.ThreadPoolExecutor(2) as pool:
            first = pool.submit(shared.call, "mine", mine, timeout_seconds=SECONDS)
            wait_until(lambda: mine.count == 1, "mine asks")
            second = pool.submit(shared.call, "theirs", theirs, timeout_seconds=SECONDS)
            wait_until(lambda: theirs.count == 1, "theirs asks by itself")
            mine.let_go.set()
            theirs.let_go.set()
            assert (first.result(), second.result()) == ((FILES, False), (NO_FILES, False))

    @pytest.mark.parametrize(
        ("end", "is_for_all"),
        [
            (FILES, True),
            (REFUSED, True),
            (ProviderCallError("denied", code=PERMISSION_DENIED), True),
            (NO_FILES, False),
            (ProviderCallError("late", code=DEADLINE_EXCEEDED), False),
            (RuntimeError("a fault"), False),
        ],
        ids=["files", "error code", "refusal", "no files", "own time over", "fault"],
    )
    def test_what_an_end_says_to_the_others(
        self, shared: SharedCalls, end: ProviderAnswer | Exception, is_for_all: bool
    ) -> None:
        asked = Asked(end)
        ends = []
        for future in together(shared, asked, 5):
            error = future.exception()
            ends.append(error if error is not None else future.result()[0])
        assert ends == [end] * 5
        assert (asked.count < 5) is is_for_all

    def test_who_has_no_more_time_asks_for_itself(self, shared: SharedCalls) -> None:
        slow, quick = Asked(FILES), Asked(FILES)
        quick.let_go.set()
        with futures.ThreadPoolExecutor(1) as pool:
            first = pool.submit(shared.call, "same", slow, timeout_seconds=SECONDS)
            wait_until(lambda: slow.count == 1, "the first asks")
            assert shared.call("same", quick, timeout_seconds=0.01) == (FILES, False)
            slow.let_go.set()
            assert first.result() == (FILES, False)

    def test_others_are_waited_for_before_the_call(self) -> None:
        order = []
        shared = SharedCalls(gather=lambda: order.append("gather"), waiting=contextlib.nullcontext)

        def ask() -> ProviderAnswer:
            order.append("ask")
            return FILES

        shared.call("same", ask, timeout_seconds=SECONDS)
        assert order == ["gather", "ask"]


class TestMoment:
    def test_one_call_for_each_identity(self) -> None:
        moment, mine, theirs = Moment(), Asked(FILES), Asked(FILES)
        mine.let_go.set()
        theirs.let_go.set()
        assert moment.call("mine", mine) == (FILES, False)
        assert moment.call("theirs", theirs) == (FILES, False)
        assert moment.call("mine", mine) == (FILES, True)
        assert (mine.count, theirs.count) == (1, 1)

    def test_what_says_nothing_to_others_is_asked_again(self) -> None:
        moment, asked = Moment(), Asked(NO_FILES)
        asked.let_go.set()
        for count in (1, 2, 3):
            assert moment.call("same", asked) == (NO_FILES, False)
            assert (asked.count, moment.made) == (count, count)

    def test_a_fault_is_not_the_end_for_the_others(self) -> None:
        moment, broken, asked = Moment(), Asked(RuntimeError("a fault")), Asked(FILES)
        broken.let_go.set()
        asked.let_go.set()
        with pytest.raises(RuntimeError):
            moment.call("same", broken)
        assert moment.call("same", asked) == (FILES, False)
        assert moment.call("same", asked) == (FILES, True)
        assert (asked.count, moment.made) == (1, 2)

    def test_a_provider_that_hangs_is_waited_for_once(self) -> None:
        moment, asked = Moment(), Asked(ProviderCallError("late", code=DEADLINE_EXCEEDED))
        asked.let_go.set()
        for _ in range(3):
            with pytest.raises(ProviderCallError):
                moment.call("same", asked)
        assert (asked.count, moment.made) == (1, 1)


class TestApproaches:
    def test_each_counts_once(self) -> None:
        approaches = Approaches()
        first, second = approaches.begin(), approaches.begin()
        assert approaches.count == 2
        first.end()
        first.end()
        assert approaches.count == 1
        second.end()
        assert approaches.count == 0

    def test_kubelets_questions_before_a_publish_announce_it_for_a_moment(self) -> None:
        clock = HandClock()
        approaches = Approaches(clock)
        approaches.announce()
        assert approaches.count == 0
        approaches.announce()
        assert approaches.count == 1
        approach = approaches.begin()
        assert approaches.count == 1
        for _ in range(10):
            approaches.announce()
        assert approaches.count == 6
        approach.end()
        assert approaches.count == 5
        clock.advance(QUIET_SECONDS + 0.001)
        assert approaches.count == 0
        approaches.announce()
        assert approaches.count == 0


class TestGathering:
    @pytest.mark.parametrize(
        ("coming", "seconds"),
        [
            ((), 0.0),
            ((0.0,), QUIET_SECONDS),
            # The second comes when nobody was on the way any more, for less than the little while.
            ((0.0, 0.04, 0.08), 0.08 + QUIET_SECONDS),
            ((0.0, 0.2), QUIET_SECONDS),
        ],
        ids=["nobody", "one", "one after the other", "one who is too late"],
    )
    def test_it_lasts_until_nobody_came_for_a_while(self, coming: tuple[float, ...], seconds: float) -> None:
        clock = HandClock()
        begun = clock()

        def is_anybody_coming() -> bool:
            return any(abs(clock() - begun - at) < 0.001 for at in coming)

        Gathering(is_anybody_coming, waiting=contextlib.nullcontext, clock=clock, pause=clock.advance).wait()
        assert clock() - begun == pytest.approx(seconds, abs=0.003)

    def test_it_ends_though_there_is_always_somebody(self) -> None:
        clock = HandClock()
        begun = clock()
        Gathering(lambda: True, waiting=contextlib.nullcontext, clock=clock, pause=clock.advance).wait()
        assert clock() - begun == pytest.approx(GATHER_SECONDS, abs=0.003)
