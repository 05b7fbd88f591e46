"""When volumes are fetched: by the room's own clock, by kubelet's calls, when asked."""

import threading

import pytest

from sscsi.core.refresh_due import WITHOUT_INTERVAL_SECONDS
from sscsi.core.refresh_outcome import Outcome, RefreshResult
from sscsi.node.audit import ASK, COMMAND
from sscsi.node.refresh_plan import NEVER
from sscsi.node.refresh_schedule import FOR_KUBELET, RefreshSchedule
from tests.support.hand_clock import HandClock
from tests.support.waiting import wait_until

MINUTE = 60.0
UNCHANGED = RefreshResult(outcome=Outcome.UNCHANGED)
FAILED = RefreshResult(outcome=Outcome.FAILED, message="no")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def schedule(clock: HandClock) -> RefreshSchedule:
    return RefreshSchedule(own_clock=True, clock=clock, chance=lambda: 1.0)


def plan(
    schedule: RefreshSchedule,
    path: str = "/v",
    *,
    interval: float = MINUTE,
    identity: str = "",
    is_first: bool = True,
) -> None:
    due_at = schedule.now + interval if interval >= 0 else NEVER
    schedule.succeeded(
        path, provider="vault", identity=identity, interval=interval, due_at=due_at, is_first=is_first
    )


class TestClock:
    def test_due_after_the_interval_and_its_jitter(self, schedule: RefreshSchedule, clock: HandClock) -> None:
        plan(schedule)
        clock.advance(MINUTE + 2.9)
        assert schedule.due() == []
        assert not schedule.is_due_for_kubelet("/v")
        clock.advance(0.2)
        assert schedule.due() == [("/v", "vault")]
        assert schedule.is_due_for_kubelet("/v")
        assert schedule.lateness("/v") == pytest.approx(3.1)

    def test_the_longest_due_goes_first(self, schedule: RefreshSchedule, clock: HandClock) -> None:
        for path in ("/b", "/a", "/c"):
            plan(schedule, path)
            clock.advance(1.0)
        clock.advance(2 * MINUTE)
        assert [path for path, _ in schedule.due()] == ["/b", "/a", "/c"]

    def test_an_interval_of_nothing_is_kubelets_alone(
        self, schedule: RefreshSchedule, clock: HandClock
    ) -> None:
        plan(schedule, interval=0.0)
        assert schedule.is_due_for_kubelet("/v")
        clock.advance(1e6)
        assert schedule.due() == []
        assert schedule.lateness("/v") == 0

    def test_without_rotation_nothing_is_ever_due(self, schedule: RefreshSchedule, clock: HandClock) -> None:
        plan(schedule, interval=-1.0)
        clock.advance(1e9)
        assert schedule.due() == []
        assert not schedule.is_due_for_kubelet("/v")

    def test_without_an_own_clock_kubelet_fetches_and_it_alone(self, clock: HandClock) -> None:
        schedule = RefreshSchedule(own_clock=False, clock=clock, chance=lambda: 1.0)
        plan(schedule)
        clock.advance(MINUTE - 0.1)
        assert not schedule.is_due_for_kubelet("/v")
        clock.advance(0.1)
        assert schedule.is_due_for_kubelet("/v")
        assert schedule.due() == []

    def test_what_is_under_way_is_not_begun_again(self, schedule: RefreshSchedule, clock: HandClock) -> None:
        plan(schedule)
        clock.advance(2 * MINUTE)
        assert schedule.begin("/v")
        assert not schedule.begin("/v")
        assert schedule.due() == []
        assert not schedule.is_due_for_kubelet("/v")
        assert schedule.is_under_way("/v")
        schedule.end("/v", UNCHANGED)
        assert not schedule.is_under_way("/v")

    def test_a_volume_that_is_gone_is_nobodys(self, schedule: RefreshSchedule, clock: HandClock) -> None:
        plan(schedule)
        clock.advance(2 * MINUTE)
        assert schedule.begin("/v")
        schedule.forget("/v")
        schedule.failed("/v", passes=True)
        schedule.end("/v", FAILED)
        assert schedule.due() == []
        assert not schedule.begin("/v")
        assert not schedule.ask("/v", ASK)
        assert schedule.views() == {}

    def test_a_volume_that_went_while_it_was_refreshed_stays_nobodys(
        self, schedule: RefreshSchedule, clock: HandClock
    ) -> None:
        plan(schedule)
        schedule.begin("/v")
        schedule.forget("/v")
        plan(schedule, is_first=False)
        schedule.end("/v", UNCHANGED)
        clock.advance(2 * MINUTE)
        assert schedule.due() == []
        assert schedule.views() == {}


class TestFoundVolumes:
    def test_wait_for_kubelets_call_and_go_on_then(self, schedule: RefreshSchedule, clock: HandClock) -> None:
        schedule.found("/v", provider="vault", interval=MINUTE, due_at=clock() + MINUTE)
        clock.advance(2 * MINUTE)
        assert schedule.due() == []
        assert schedule.views()["/v"].waits_for == FOR_KUBELET
        assert schedule.is_due_for_kubelet("/v")
        schedule.request_kept("/v")
        assert schedule.due() == [("/v", "vault")]
        assert schedule.views()["/v"].waits_for == ""

    def test_keep_what_is_asked_for_and_under_way(self, schedule: RefreshSchedule) -> None:
        plan(schedule)
        schedule.begin("/v")
        future = schedule.ask_and_tell("/v", COMMAND)
        schedule.found("/v", provider="vault", interval=MINUTE, due_at=schedule.now + MINUTE)
        assert schedule.is_under_way("/v")
        schedule.end("/v", FAILED)
        schedule.request_kept("/v")
        assert schedule.due() == [("/v", "vault")]
        schedule.begin("/v")
        schedule.end("/v", UNCHANGED)
        assert future.result(0) == UNCHANGED


class TestFailures:
    def test_what_passes_is_tried_again_soon_and_not_sooner_by_kubelet(
        self, schedule: RefreshSchedule, clock: HandClock
    ) -> None:
        plan(schedule)
        clock.advance(2 * MINUTE)
        for pause in (1.0, 2.0, MINUTE / 16, MINUTE / 16):
            assert schedule.begin("/v")
            schedule.failed("/v", passes=True)
            schedule.end("/v", FAILED)
            clock.advance(pause - 0.01)
            assert schedule.due() == []
            assert not schedule.is_due_for_kubelet("/v")
            clock.advance(0.02)
            assert schedule.due() == [("/v", "vault")]
            assert schedule.is_due_for_kubelet("/v")

    def test_what_somebody_must_mend_waits_an_interval_or_for_kubelet(
        self, schedule: RefreshSchedule, clock: HandClock
    ) -> None:
        plan(schedule)
        clock.advance(2 * MINUTE)
        assert schedule.begin("/v")
        schedule.failed("/v", passes=False)
        schedule.end("/v", FAILED)
        assert schedule.is_due_for_kubelet("/v")
        assert schedule.due() == []
        clock.advance(MINUTE + 3.01)
        assert schedule.due() == [("/v", "vault")]

    @pytest.mark.parametrize(("own_clock", "interval"), [(False, MINUTE), (True, 0.0)])
    def test_put_off_where_there_is_no_clock_it_stays_kubelets(
        self, clock: HandClock, own_clock: bool, interval: float
    ) -> None:
        schedule = RefreshSchedule(own_clock=own_clock, clock=clock, chance=lambda: 1.0)
        plan(schedule, interval=interval)
        clock.advance(MINUTE)
        schedule.put_off("/v", 5.0, "a provider that is away")
        assert not schedule.is_due_for_kubelet("/v")
        clock.advance(5.0)
        assert schedule.is_due_for_kubelet("/v")
        assert schedule.due() == []

    def test_put_off_what_somebody_asked_for_is_fetched_all_the_same(
        self, schedule: RefreshSchedule, clock: HandClock
    ) -> None:
        plan(schedule, interval=-1.0)
        schedule.ask("/v", ASK)
        schedule.put_off("/v", 5.0, "a provider that is away")
        assert schedule.due() == []
        clock.advance(5.0)
        assert schedule.due() == [("/v", "vault")]


class TestAsking:
    def test_is_done_at_once_whatever_the_interval(self, schedule: RefreshSchedule) -> None:
        plan(schedule, interval=-1.0)
        assert schedule.ask("/v", ASK)
        assert schedule.due() == [("/v", "vault")]
        assert schedule.asked_by("/v") == ASK
        schedule.begin("/v")
        schedule.end("/v", UNCHANGED)
        assert schedule.asked_by("/v") == ""

    def test_a_failure_does_not_end_the_wish(self, schedule: RefreshSchedule, clock: HandClock) -> None:
        plan(schedule, interval=-1.0)
        schedule.ask("/v", ASK)
        schedule.begin("/v")
        schedule.failed("/v", passes=True)
        schedule.end("/v", FAILED)
        assert schedule.due() == []
        clock.advance(1.01)
        assert schedule.due() == [("/v", "vault")]
        schedule.begin("/v")
        schedule.failed("/v", passes=False)
        schedule.end("/v", FAILED)
        assert schedule.is_due_for_kubelet("/v")
        assert schedule.due() == []
        # Without rotation, kubelet may have no reason to call.
        clock.advance(WITHOUT_INTERVAL_SECONDS * 1.05)
        assert schedule.due() == [("/v", "vault")]

    def test_who_asks_during_an_attempt_means_the_next(self, schedule: RefreshSchedule) -> None:
        plan(schedule)
        assert schedule.begin("/v")
        future = schedule.ask_and_tell("/v", COMMAND)
        plan(schedule)
        schedule.end("/v", UNCHANGED)
        assert not future.done()
        assert schedule.due() == [("/v", "vault")]
        assert schedule.begin("/v")
        schedule.end("/v", FAILED)
        assert future.result(0) == FAILED

    def test_what_was_not_honoured_waits_longer_each_time(
        self, schedule: RefreshSchedule, clock: HandClock
    ) -> None:
        """While status-sync is away, the class that is known is older than the wish."""
        plan(schedule)
        schedule.ask("/v", ASK)
        for seconds in (5.0, 10.0, 20.0, 40.0):
            schedule.begin("/v")
            plan(schedule, interval=60 * MINUTE)
            schedule.ask_again("/v", ASK)
            schedule.end("/v", UNCHANGED)
            assert not schedule.is_due_for_kubelet("/v")
            clock.advance(seconds - 0.1)
            assert schedule.due() == []
            clock.advance(0.1)
            assert schedule.due() == [("/v", "vault")]
        schedule.ask("/v", ASK)
        schedule.begin("/v")
        plan(schedule, interval=60 * MINUTE)
        schedule.ask_again("/v", ASK)
        schedule.end("/v", UNCHANGED)
        clock.advance(5.0)
        assert schedule.due() == [("/v", "vault")]

    def test_again_takes_nothing_from_one_who_asks_for_now(self, schedule: RefreshSchedule) -> None:
        plan(schedule)
        schedule.begin("/v")
        future = schedule.ask_and_tell("/v", COMMAND)
        plan(schedule)
        schedule.ask_again("/v", ASK)
        schedule.end("/v", UNCHANGED)
        assert schedule.due() == [("/v", "vault")]
        assert schedule.asked_by("/v") == COMMAND
        schedule.begin("/v")
        schedule.end("/v", UNCHANGED)
        assert future.done()
        assert schedule.asked_by("/v") == ""

    def test_a_commands_force_is_spent_with_its_first_attempt(
        self, schedule: RefreshSchedule, clock: HandClock
    ) -> None:
        plan(schedule)
        schedule.ask("/v", COMMAND)
        assert schedule.is_forced("/v")
        schedule.begin("/v")
        schedule.failed("/v", passes=True)
        schedule.end("/v", FAILED)
        clock.advance(MINUTE)
        assert schedule.due() == [("/v", "vault")]
        assert not schedule.is_forced("/v")
        schedule.ask("/v", ASK)
        assert not schedule.is_forced("/v")
        schedule.ask("/v", COMMAND)
        assert schedule.is_forced("/v")

    def test_without_a_request_it_waits_for_kubelet_and_says_so(self, schedule: RefreshSchedule) -> None:
        schedule.found("/v", provider="vault", interval=-1.0, due_at=NEVER)
        result = schedule.ask_and_tell("/v", COMMAND).result(0)
        assert result.outcome is Outcome.PENDING
        assert FOR_KUBELET in result.message
        assert schedule.is_due_for_kubelet("/v")

    def test_a_volume_that_goes_meanwhile_is_told(self, schedule: RefreshSchedule) -> None:
        plan(schedule)
        future = schedule.ask_and_tell("/v", COMMAND)
        schedule.forget("/v")
        assert future.result(0).outcome is Outcome.FAILED
        assert schedule.ask_and_tell("/v", COMMAND).result(0).outcome is Outcome.FAILED

    def test_one_who_gave_up_is_not_told(self, schedule: RefreshSchedule) -> None:
        plan(schedule)
        future = schedule.ask_and_tell("/v", COMMAND)
        assert future.cancel()
        schedule.begin("/v")
        schedule.end("/v", UNCHANGED)
        assert future.cancelled()


class TestGroups:
    def test_equals_go_together_whatever_their_age(self, schedule: RefreshSchedule) -> None:
        for path, identity in (("/a", "x"), ("/b", "x"), ("/c", "y"), ("/d", ""), ("/e", "x")):
            plan(schedule, path, identity=identity)
        assert schedule.begin("/e")
        assert schedule.begin("/a")
        assert schedule.begin_equals("/a") == ["/b"]
        assert schedule.is_under_way("/b")
        assert schedule.begin("/d")
        assert schedule.begin_equals("/d") == []


class TestWaiting:
    """The clock's thread sleeps until the next plan, or one that comes before it."""

    def waiting(self, schedule: RefreshSchedule) -> "tuple[threading.Thread, threading.Event]":
        ended = threading.Event()

        def wait() -> None:
            schedule.wait(60.0)
            ended.set()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread, ended

    @pytest.mark.parametrize("change", ["ask", "an earlier plan", "wake"])
    def test_what_comes_before_its_end_ends_it(self, schedule: RefreshSchedule, change: str) -> None:
        plan(schedule, "/later", interval=1000.0)
        thread, ended = self.waiting(schedule)
        wait_until(lambda: schedule.is_asleep, "it sleeps")
        if change == "ask":
            schedule.ask("/later", ASK)
        elif change == "an earlier plan":
            plan(schedule, "/sooner", interval=1.0)
        else:
            schedule.wake()
        wait_until(ended.is_set, "it is woken")
        thread.join()

    def test_what_comes_later_does_not(self, schedule: RefreshSchedule) -> None:
        plan(schedule, "/first", interval=10.0)
        thread, ended = self.waiting(schedule)
        wait_until(lambda: schedule.is_asleep, "it sleeps")
        for number in range(10):
            plan(schedule, f"/{number}", interval=1000.0)
            plan(schedule, f"/kubelet/{number}", interval=0.0)
            plan(schedule, f"/never/{number}", interval=-1.0)
        assert schedule.is_asleep
        assert not ended.is_set()
        schedule.wake()
        thread.join()

    def test_what_became_due_while_it_was_awake_is_not_slept_over(self, schedule: RefreshSchedule) -> None:
        plan(schedule, "/later", interval=1000.0)
        schedule.ask("/later", ASK)
        schedule.wait(60.0)
        assert schedule.due() == [("/later", "vault")]
