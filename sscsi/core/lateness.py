"""When content that is due is late: one rule for `sscsi status` and for metrics. Pure."""

# A room's own clock adds up to a twentieth of the interval on purpose, and a store takes its time.
LATE_PART = 0.1
LATE_SECONDS = 5.0


def is_late(due_time: float, *, interval: float, now: float) -> bool:
    """Whether content has been due for more than a tenth of its interval, and for more than 5 s.

    Times in seconds of any one clock. `due_time` of 0: nobody knows or never. An `interval` of 0 (whenever kubelet asks) or
    less (never) is never late.
    """
    return due_time > 0 and interval > 0 and now - due_time > max(interval * LATE_PART, LATE_SECONDS)
