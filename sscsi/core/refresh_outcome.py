"""What became of one refresh of one volume."""

import dataclasses
import enum

from sscsi.errors import SscsiError


class Outcome(enum.Enum):
    """As in `sscsi.v1.RefreshResult`: PENDING is not done yet."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    PENDING = "pending"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """`message` says why, redacted; empty for CHANGED and UNCHANGED. `error` is what the attempt ended with, if it did."""

    outcome: Outcome
    message: str = ""
    error: SscsiError | None = None
