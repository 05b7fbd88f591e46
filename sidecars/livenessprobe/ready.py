"""`/readyz` and `/livez`, in the style of the Kubernetes API server's own health pages.

`ok` when all is well. With `?verbose`, or when a check failed, one line for each check and the sum of it; why a
check failed is for the log, not for whoever can reach the port. `?exclude=NAME` leaves a check out of the sum.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from sscsi.core.http_message import Page, Query
from sscsi.core.room_status import RoomStatus

REGISTRAR = "registrar"
REGISTERED = "registered"
REGISTRATION = "kubelet-registration"
_SERVING = "serving"


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One line. A check that does not `count` is there for information and fails nothing."""

    name: str
    is_well: bool
    counts: bool = True


PING = Check("ping", is_well=True)


def driver_check(answers: bool) -> Check:
    """Whether the driver answered a Probe, and is ready."""
    return Check("csi-driver", answers)


def registration_check(states: Mapping[str, RoomStatus | None]) -> Check:
    """Whether kubelet has confirmed the registration."""
    registrar = states.get(REGISTRAR)
    return Check(REGISTRATION, registrar is not None and registrar.state == REGISTERED)


def information(states: Mapping[str, RoomStatus | None]) -> list[Check]:
    """What an operator wants to know besides."""
    node, statussync = states.get("node"), states.get("statussync")
    return [
        Check("csi-socket", node is not None and node.state == _SERVING, counts=False),
        Check("providers-found", node is not None and bool(node.facts.get("providers")), counts=False),
        Check(
            "statussync-connected",
            statussync is not None and statussync.facts.get("node_connected") == "true",
            counts=False,
        ),
    ]


def failed(checks: Sequence[Check], query: Query) -> list[str]:
    """The names of the checks that count, are not excluded, and failed."""
    excluded = _excluded(query)
    return [
        check.name for check in checks if check.counts and not check.is_well and check.name not in excluded
    ]


def page(name: str, checks: Sequence[Check], query: Query) -> Page:
    """The page `name` ("readyz")."""
    is_well = not failed(checks, query)
    if is_well and "verbose" not in query:
        return Page(200, "ok")
    excluded = _excluded(query)
    lines = [_line(check, excluded) for check in checks]
    if strangers := sorted(excluded - {check.name for check in checks}):
        names = ",".join(map(_quoted, strangers))
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
    lines.append(f"{name} check {'passed' if is_well else 'failed'}")
    return Page(200 if is_well else 500, "".join(f"{line}\n" for line in lines))


def _excluded(query: Query) -> frozenset[str]:
    return frozenset(filter(None, query.get("exclude", "").split(",")))


def _quoted(text: str) -> str:
    """As Go's %q: whoever asks can forge no line, and write nothing that a terminal acts on."""
    escaped = (
        character.encode("unicode_escape").decode()
        if character == "\\" or not character.isprintable()
        else character
        for character in text
    )
    return '"' + "".join(escaped).replace('"', '\\"') + '"'


def _line(check: Check, excluded: frozenset[str]) -> str:
    if check.name in excluded:
        return f"[+]{check.name} excluded: ok"
    if check.is_well:
        return f"[+]{check.name} ok"
    return f"[-]{check.name} failed: reason withheld" + ("" if check.counts else " (for information)")
