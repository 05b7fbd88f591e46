"""What became of one refresh of one volume."""

import dataclasses
import enum


class Outcome(enum.Enum):
    """As in `sscsi.v1.RefreshResult`: PENDING is not done yet."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    PENDING = "pending"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """`message` says why, redacted; empty for CHANGED and UNCHANGED."""

    outcome: Outcome
    message: str = ""
