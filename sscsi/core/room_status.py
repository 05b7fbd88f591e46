"""What a room tells about itself, as others see it."""

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RoomStatus:
    """The answer of `sscsi.v1.Room/Status`. Nothing in it is secret.

    `state`: what the room does now, in a few words ("serving", "waiting for kubelet"). `problems`: what does not
    work now, one line each. `facts`: named values in the room's own words. `room`, `version`, `pid` and
    `start_time` (seconds since the epoch) are filled in by the service.
    """

    state: str
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problems: Sequence[str] = ()
    room: str = ""
    version: str = ""
    pid: int = 0
    start_time: float = 0.0
