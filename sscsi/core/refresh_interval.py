"""How often the content of a volume is fetched again: said by the pod's volume, by its class, or by the node's flag."""

import dataclasses
from collections.abc import Mapping

from sscsi.core.annotations import INTERVAL, INTERVAL_ATTRIBUTE
from sscsi.core.go_values import format_duration, parse_duration

DEFAULT_SECONDS = 120.0
"""Upstream's default of --rotation-poll-interval."""
DEFAULT_FLOOR_SECONDS = 10.0
_SHOWN_CHARACTERS = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeInterval:
    """What the node's flags say, both in seconds. An interval of 0 fetches whenever kubelet asks (upstream)."""

    seconds: float
    floor_seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The interval that counts for a volume, in seconds, and what is wrong with those that do not, a line each."""

    seconds: float
    problems: tuple[str, ...] = ()


def node_interval(interval: str, floor: str | None) -> tuple[NodeInterval, tuple[str, ...]]:
    """The flags --rotation-poll-interval and, where given, --rotation-poll-interval-floor, and what is wrong with them.

    Nonsense does not stop a driver that pods wait for: the default is used, and the operator is told. The floor's own
    default never contradicts the interval; a floor that is given does.
    """
    problems: list[str] = []
    floor_seconds = DEFAULT_FLOOR_SECONDS
    if floor is not None:
        try:
            floor_seconds = _seconds(floor)
        except ValueError as error:
            problems.append(_problem("flag --rotation-poll-interval-floor", error, DEFAULT_FLOOR_SECONDS))
            floor = None
    try:
        seconds = _seconds(interval)
        if floor is not None:
            _check_floor(seconds, floor_seconds)
    except ValueError as error:
        seconds = max(DEFAULT_SECONDS, floor_seconds)
        problems.append(_problem("flag --rotation-poll-interval", error, seconds))
    if floor is None and seconds:
        floor_seconds = min(floor_seconds, seconds)
    return NodeInterval(seconds=seconds, floor_seconds=floor_seconds), tuple(problems)


def choose_interval(node: NodeInterval, attributes: Mapping[str, str], annotation: str) -> Interval:
    """The interval of a volume with `attributes` whose class has the `annotation` (empty: has none)."""
    refused: list[tuple[str, ValueError]] = []
    seconds, used = node.seconds, "default"
    for where, text in (
        (
            f"volumeAttributes.{INTERVAL_ATTRIBUTE} of the pod's volume",
            attributes.get(INTERVAL_ATTRIBUTE, ""),
        ),
        (f"annotation {INTERVAL} of the SecretProviderClass", annotation),
    ):
        if not text:
            continue
        try:
            said = _seconds(text)
            _check_floor(said, node.floor_seconds)
        except ValueError as error:
            refused.append((where, error))
        else:
            # After one that was refused, this is the class's.
            seconds, used = said, "class's interval"
            break
    problems = tuple(_problem(where, error, seconds, used) for where, error in refused)
    return Interval(seconds=seconds, problems=problems)


def _seconds(text: str) -> float:
    """Seconds of a text from outside. Raises ValueError."""
    if len(text) > _SHOWN_CHARACTERS:
        raise ValueError(f"{text[:_SHOWN_CHARACTERS]!r}... is not a duration; write it like 90s, 2m or 1h30m")
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError(f"{text!r} is negative; 0 fetches whenever kubelet asks")
    return seconds


def _check_floor(seconds: float, floor_seconds: float) -> None:
    if 0 < seconds < floor_seconds:
        raise ValueError(
            f"{format_duration(seconds)} is below the floor of this node, {format_duration(floor_seconds)} "
            "(--rotation-poll-interval-floor)"
        )


def _problem(where: str, error: ValueError, used_seconds: float, used: str = "default") -> str:
    return f"{where}: {error}; the {used} of {format_duration(used_seconds)} is used"
