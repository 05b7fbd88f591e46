"""How long kubelet may take, and what to make of it when it takes longer."""

import dataclasses

# Kubelet's own loop looks once a second; it may be starting, too.
REMIND_SECONDS = 10.0
# After its question kubelet calls NodeGetInfo for at most 2 minutes and tells us within 5 s (sidecars reference, C3).
# Later than that its word is lost, and it does not say it again for the same socket (C4).
GIVE_UP_SECONDS = 130.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do now. `reminder`: what is waited for, when that is worth a line; `seconds`: when to look again."""

    reminder: str
    is_hopeless: bool
    seconds: float


def judge(
    *,
    now: float,
    published_at: float,
    asked_at: float | None,
    remind_seconds: float = REMIND_SECONDS,
    give_up_seconds: float = GIVE_UP_SECONDS,
) -> Verdict:
    """Of a publication that kubelet has not confirmed since it asked last. All times are of one monotonic clock."""
    waited = now - (published_at if asked_at is None else asked_at)
    if waited < remind_seconds:
        return Verdict(reminder="", is_hopeless=False, seconds=remind_seconds - waited)
    if asked_at is None:
        return Verdict(
            reminder="kubelet has not asked: is it running, and is this directory its plugins_registry?",
            is_hopeless=False,
            seconds=give_up_seconds,
        )
    return Verdict(
        reminder="kubelet has asked and not said how it ended; it is calling NodeGetInfo on the driver",
        is_hopeless=waited >= give_up_seconds,
        seconds=max(give_up_seconds - waited, 0.0),
    )
