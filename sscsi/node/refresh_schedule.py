"""When each volume is fetched again: one plan a volume, for the room's own clock and for kubelet's republishes."""

import random
import threading
from collections.abc import Callable, Mapping
from concurrent import futures

from sscsi.core.refresh_due import ask_again_seconds, jitter_seconds
from sscsi.core.refresh_outcome import Outcome, RefreshResult
from sscsi.node.audit import COMMAND
from sscsi.node.new_record import boottime
from sscsi.node.refresh_alarm import RefreshAlarm
from sscsi.node.refresh_plan import NEVER, Plan, PlanView
from sscsi.node.refresh_waiters import RefreshWaiters

FOR_KUBELET = "kubelet's next call: the room was started since, and has no request of this volume"
FOR_TOKENS = "kubelet's next call: the service account tokens have expired"


class RefreshSchedule:
    """The plans by target path. Threads may share it. Times are of `clock`, in seconds; `chance` gives 0 to 1.

    Without an `own_clock` only kubelet's republishes fetch, and what is asked for.
    """

    def __init__(
        self,
        *,
        own_clock: bool,
        clock: Callable[[], float] = boottime,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._own_clock = own_clock
        self._clock = clock
        self._chance = chance
        self._condition = threading.Condition()
        self._plans: dict[str, Plan] = {}
        self._waiters = RefreshWaiters()
        self._alarm = RefreshAlarm(self._condition, clock)

    @property
    def now(self) -> float:
        return self._clock()

    def succeeded(
        self,
        target_path: str,
        *,
        provider: str,
        identity: str,
        interval: float,
        due_at: float,
        is_first: bool,
    ) -> None:
        """Content was fetched for a request that is kept: the plan from here on. `interval` 0: at every republish.

        A volume that went while it was refreshed has no plan any more, and gets none unless this `is_first`.
        """
        with self._condition:
            before = self._plans.get(target_path)
            if before is None and not is_first:
                return
            next_at = due_at
            if self._own_clock and interval > 0:
                next_at += jitter_seconds(max(due_at - self._clock(), 0.0), self._chance())
            plan = self._plans[target_path] = Plan(
                provider=provider,
                identity=identity,
                interval=interval,
                due_at=due_at,
                clock_at=next_at if self._own_clock and interval > 0 else NEVER,
                kubelet_at=next_at,
                has_request=True,
            )
            plan.take_over(before)
            self._changed(plan)

    def found(self, target_path: str, *, provider: str, interval: float, due_at: float) -> None:
        """A volume is there whose request is not: nothing before kubelet's next call."""
        with self._condition:
            before = self._plans.get(target_path)
            plan = self._plans[target_path] = Plan(
                provider=provider,
                identity="",
                interval=interval,
                due_at=due_at,
                clock_at=due_at if self._own_clock and interval > 0 else NEVER,
                kubelet_at=due_at,
                has_request=False,
                waits_for=FOR_KUBELET,
            )
            plan.take_over(before)
            if plan.asked:
                plan.clock_at = plan.kubelet_at = plan.asked_for

    def request_kept(self, target_path: str) -> None:
        """Kubelet called: the volume has a request, with fresh tokens."""
        with self._condition:
            plan = self._plans.get(target_path)
            if plan is not None and not plan.has_request:
                plan.has_request, plan.waits_for = True, ""
                self._changed(plan)

    def named(self, target_path: str, provider: str) -> None:
        """The provider of an adopted volume is known now: it goes through that one's gate."""
        with self._condition:
            if plan := self._plans.get(target_path):
                plan.provider = provider

    def provider(self, target_path: str) -> str:
        """Whose gate the volume goes through; empty while nobody knows."""
        with self._condition:
            plan = self._plans.get(target_path)
            return plan.provider if plan is not None else ""

    def needs_request(self, target_path: str, waits_for: str) -> None:
        """What is kept is of no use any more."""
        with self._condition:
            if plan := self._plans.get(target_path):
                plan.has_request, plan.waits_for = False, waits_for
            self._waiters.resolve(
                target_path, RefreshResult(outcome=Outcome.PENDING, message=f"waits for {waits_for}")
            )

    def failed(self, target_path: str, *, passes: bool) -> None:
        """An attempt failed. What `passes` is tried again soon; the rest after the interval, or when kubelet asks.

        Without an interval, what somebody asked for is tried again all the same: kubelet may not call at all then.
        """
        with self._condition:
            if plan := self._plans.get(target_path):
                plan.failed(self._clock(), passes=passes, own_clock=self._own_clock, chance=self._chance())
                self._changed(plan)

    def is_on_clock(self, target_path: str) -> bool:
        """Whether the room itself fetches the volume's content again."""
        with self._condition:
            plan = self._plans.get(target_path)
            return self._own_clock and plan is not None and plan.interval > 0

    def put_off(self, target_path: str, seconds: float, waits_for: str) -> None:
        """Nobody asks the provider for so long."""
        with self._condition:
            if plan := self._plans.get(target_path):
                plan.kubelet_at, plan.waits_for = self._clock() + seconds, waits_for
                if plan.clock_at != NEVER:
                    plan.clock_at = plan.kubelet_at

    def ask(self, target_path: str, by: str) -> bool:
        """Have the content fetched soon, whatever its age; False when there is no such volume.

        `by` is a trigger of `audit`: whoever asks.
        """
        with self._condition:
            plan = self._plans.get(target_path)
            if plan is None:
                return False
            plan.unheard = 0
            self._ask(plan, by)
            return True

    def ask_again(self, target_path: str, by: str) -> None:
        """What was fetched just now is not what was asked for: once more, a little later each time."""
        with self._condition:
            if plan := self._plans.get(target_path):
                plan.unheard += 1
                self._ask(plan, by, ask_again_seconds(plan.unheard))

    def ask_and_tell(self, target_path: str, by: str) -> "futures.Future[RefreshResult]":
        """As `ask`; the future has what became of the next attempt."""
        future: futures.Future[RefreshResult] = futures.Future()
        with self._condition:
            plan = self._plans.get(target_path)
            if plan is None:
                future.set_result(RefreshResult(outcome=Outcome.FAILED, message="the volume has gone"))
            elif not plan.has_request:
                self._ask(plan, by)
                future.set_result(
                    RefreshResult(outcome=Outcome.PENDING, message=f"waits for {plan.waits_for}")
                )
            else:
                self._ask(plan, by)
                self._waiters.add(target_path, plan.asked, future)
        return future

    def is_due_for_kubelet(self, target_path: str) -> bool:
        """Whether a republish is to fetch."""
        with self._condition:
            plan = self._plans.get(target_path)
            if plan is None or plan.is_under_way:
                return False
            return bool(plan.asked or plan.interval >= 0) and self._clock() >= plan.kubelet_at

    def is_pausing(self, target_path: str) -> bool:
        """Whether only a pause after failures keeps the content from being fetched."""
        with self._condition:
            plan = self._plans.get(target_path)
            return plan is not None and plan.failures > 0 and not plan.is_under_way

    def is_under_way(self, target_path: str) -> bool:
        with self._condition:
            plan = self._plans.get(target_path)
            return plan is not None and plan.is_under_way

    def due(self) -> list[tuple[str, str]]:
        """What the clock is to fetch now, the longest due first: target path and provider."""
        with self._condition:
            now = self._clock()
            found = [
                (plan.clock_at, path, plan.provider)
                for path, plan in self._plans.items()
                if plan.clock_at <= now and plan.has_request and not plan.is_under_way
            ]
        return [(path, provider) for _, path, provider in sorted(found)]

    def asked_by(self, target_path: str) -> str:
        """Who asked for the next attempt, or the one under way; empty when nobody did."""
        with self._condition:
            plan = self._plans.get(target_path)
            return plan.asked_by if plan is not None else ""

    def is_forced(self, target_path: str) -> bool:
        """Whether an operator asked, whose command no attempt was made for yet: one goes through an open circuit."""
        with self._condition:
            plan = self._plans.get(target_path)
            return plan is not None and plan.asked_by == COMMAND and plan.asked > plan.begun

    def begin(self, target_path: str) -> bool:
        """An attempt begins; False when one is under way or the volume has gone."""
        with self._condition:
            plan = self._plans.get(target_path)
            if plan is None or plan.is_under_way:
                return False
            plan.begin()
            return True

    def begin_equals(self, target_path: str) -> list[str]:
        """Begin an attempt of every other volume that shares its calls: a group has one moment."""
        with self._condition:
            plan = self._plans.get(target_path)
            if plan is None or not plan.identity:
                return []
            equals = [
                path
                for path, other in self._plans.items()
                if other.identity == plan.identity and other.has_request and not other.is_under_way
            ]
            for path in equals:
                self._plans[path].begin()
            return equals

    def end(self, target_path: str, result: RefreshResult) -> None:
        """The attempt is over."""
        with self._condition:
            if plan := self._plans.get(target_path):
                plan.is_under_way = False
                self._waiters.resolve(target_path, result, plan.begun)
                if plan.asked > plan.begun:
                    plan.clock_at = plan.kubelet_at = plan.asked_for
                elif result.outcome in {Outcome.CHANGED, Outcome.UNCHANGED}:
                    plan.asked, plan.asked_by, plan.unheard = 0, "", 0
                self._changed(plan)

    def tell(self, target_path: str, result: RefreshResult) -> None:
        """No attempt begins for now: whoever waits for one is told why."""
        with self._condition:
            self._waiters.resolve(target_path, result)

    def forget(self, target_path: str) -> None:
        """The volume is gone."""
        with self._condition:
            self._plans.pop(target_path, None)
            self._waiters.resolve(
                target_path, RefreshResult(outcome=Outcome.FAILED, message="the volume has gone")
            )

    def views(self) -> Mapping[str, PlanView]:
        """Every plan, by target path."""
        with self._condition:
            return {
                path: PlanView(interval=plan.interval, due_at=plan.due_at, waits_for=plan.waits_for)
                for path, plan in self._plans.items()
            }

    def lateness(self, target_path: str) -> float:
        """For how long the content is due, in seconds; 0 when it is not, or by no rule but kubelet's."""
        with self._condition:
            plan = self._plans.get(target_path)
            return max(self._clock() - plan.due_at, 0.0) if plan is not None and plan.interval else 0.0

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until the next plan is due, or until one comes before that."""
        with self._condition:
            now = self._clock()
            waiting = [
                plan.clock_at
                for plan in self._plans.values()
                if plan.has_request and not plan.is_under_way and plan.clock_at > now
            ]
            self._alarm.sleep(until=min([now + seconds, *waiting]))

    @property
    def is_asleep(self) -> bool:
        """Whether somebody is in `wait`."""
        return self._alarm.is_asleep

    def wake(self) -> None:
        """End a `wait`."""
        with self._condition:
            self._alarm.ring()

    def _changed(self, plan: Plan) -> None:
        """Each publish plans something, a minute or an hour from now: that is nobody's concern yet."""
        if plan.has_request and not plan.is_under_way and plan.clock_at != NEVER:
            self._alarm.set(plan.clock_at)

    def _ask(self, plan: Plan, by: str, after_seconds: float = 0.0) -> None:
        plan.ask(self._clock(), by, after_seconds)
        self._changed(plan)
