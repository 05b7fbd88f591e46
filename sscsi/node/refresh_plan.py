"""When one volume is fetched again: what the schedule keeps of it."""

import dataclasses


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
