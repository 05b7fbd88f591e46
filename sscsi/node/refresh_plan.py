"""When one volume is fetched again: what the schedule keeps of it."""

import dataclasses

from sscsi.core.refresh_due import WITHOUT_INTERVAL_SECONDS, jitter_seconds, pause_seconds
from sscsi.node.audit import COMMAND

NEVER = float("inf")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """A plan for others to see. Seconds of the schedule's clock; `interval` below 0: never, `due_at` NEVER then."""

    interval: float
    due_at: float
    waits_for: str


@dataclasses.dataclass(slots=True, kw_only=True)
class Plan:
    """`due_at` is when the content is due by the rules. The two others say who may fetch it from when.

    Attempts are counted: `begun` so many, and `asked` is the number of the one that somebody waits for, 0 for none. An
    attempt that began before it was asked for may have missed what the asker means. `asked_for` is when it is to begin;
    `unheard` attempts in a row did not honour the wish.
    """

    provider: str
    identity: str
    interval: float
    due_at: float
    clock_at: float
    kubelet_at: float
    has_request: bool
    failures: int = 0
    begun: int = 0
    asked: int = 0
    asked_by: str = ""
    asked_for: float = 0.0
    unheard: int = 0
    is_under_way: bool = False
    waits_for: str = ""

    def take_over(self, before: "Plan | None") -> None:
        """Keep the attempts and the wishes of the volume's plan before this one."""
        if before is not None:
            self.begun, self.is_under_way = before.begun, before.is_under_way
            self.asked, self.asked_by, self.asked_for = before.asked, before.asked_by, before.asked_for
            self.unheard = before.unheard

    def begin(self) -> None:
        """An attempt begins."""
        self.is_under_way, self.waits_for = True, ""
        self.begun += 1

    def ask(self, now: float, by: str, after_seconds: float) -> None:
        """Somebody wants an attempt that begins after `now`, so much later."""
        at = now + after_seconds
        if self.asked > self.begun:
            # Somebody else waits for that attempt already: what he asked for holds.
            at, by = min(at, self.asked_for), by if self.asked_by != COMMAND else COMMAND
        self.asked, self.asked_by, self.asked_for = self.begun + 1, by, at
        self.due_at = min(self.due_at, now)
        self.clock_at = self.kubelet_at = at

    def failed(self, now: float, *, passes: bool, own_clock: bool, chance: float) -> None:
        """As RefreshSchedule.failed; `chance` is of 0 to 1."""
        if passes:
            self.failures += 1
            next_at = self.kubelet_at = now + pause_seconds(self.failures, self.interval, chance)
        else:
            self.failures, self.kubelet_at = 0, now
            interval = self.interval if self.interval > 0 else WITHOUT_INTERVAL_SECONDS
            next_at = now + interval + jitter_seconds(interval, chance)
        self.clock_at = next_at if self.asked or (own_clock and self.interval > 0) else NEVER
