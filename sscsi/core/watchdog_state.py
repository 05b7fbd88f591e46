"""What the watchdog knows of each supervised program: the content of `watchdog.json`.

One room writes it, and health pages and operators read it, so both directions are here. Readers take nothing for
granted: the file may be of another release, or cut short by a full disk.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

VERSION = 1
# supervisord's own words, in the order of its documentation.
PROGRAM_STATES = ("STOPPED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN")
# It is written every 5 s: two times it may be late. Two clocks of one machine agree better than that.
CURRENT_SECONDS = 15.0
AHEAD_SECONDS = 5.0
_MAX_NUMBER = 2.0**63


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProgramState:
    """One program. Times are seconds since the epoch, memory is in bytes.

    `state` is one of PROGRAM_STATES. `pid` is 0 when there is no process; then `start_time`, `rss_bytes` and
    `cpu_seconds` are 0. None: `pss_bytes` could not be read, `memory_budget_bytes` there is none,
    `last_exit_time` it never ended. `restarts` counts since supervisord started; `over_budget_restarts` are those
    of them that the watchdog made. `recent_exit_times` are the last exits that nobody asked for, a few at most.
    """

    state: str
    pid: int
    start_time: float
    restarts: int
    rss_bytes: int
    pss_bytes: int | None
    cpu_seconds: float
    memory_budget_bytes: int | None
    over_budget_restarts: int
    last_exit_time: float | None
    recent_exit_times: Sequence[float] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ContainerMemory:
    """What the kernel charges to the container's cgroup, the content of volumes (tmpfs) among it; no limit is None."""

    current_bytes: int
    max_bytes: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogState:
    """The whole file. `time` is when it was written, in seconds since the epoch; `pid` is the watchdog's own.

    `container` is None where there is no cgroup v2 to read. `last_event` is the serial number of the last event of
    supervisord's that is counted in here; None before the first.
    """

    time: float
    pid: int
    supervisor_pid: int
    programs: Mapping[str, ProgramState]
    container: ContainerMemory | None = None
    last_event: int | None = None


def is_current(state: WatchdogState, now: float) -> bool:
    """Whether what was written is so at `now`. What is dated ahead was written before the clock was set back."""
    return -AHEAD_SECONDS <= now - state.time <= CURRENT_SECONDS


def to_json(state: WatchdogState) -> str:
    """The file's content, one line."""
    return json.dumps({"version": VERSION, **dataclasses.asdict(state)}, allow_nan=False) + "\n"


def from_json(text: str | bytes) -> WatchdogState:
    """Parse the file's content; keys that nobody knows yet are passed over. Raises ValueError, which says where."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("watchdog state: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"watchdog state: not JSON ({type(error).__name__})") from None
    fields = _Fields(document, "watchdog state")
    if fields.integer("version") != VERSION:
        raise ValueError(f"watchdog state: version {document['version']} is not {VERSION}")
    return WatchdogState(
        time=fields.number("time"),
        pid=fields.integer("pid"),
        supervisor_pid=fields.integer("supervisor_pid"),
        programs={name: _program(name, value) for name, value in fields.mapping("programs").items()},
        container=_container(fields.get("container")),
        last_event=fields.integer("last_event") if fields.get("last_event") is not None else None,
    )


def _container(value: Any) -> ContainerMemory | None:
    if value is None:
        return None
    fields = _Fields(value, "watchdog state, container")
    return ContainerMemory(
        current_bytes=fields.integer("current_bytes"), max_bytes=fields.optional_integer("max_bytes")
    )


def _program(name: str, value: Any) -> ProgramState:
    fields = _Fields(value, f"watchdog state, program {name!r}")
    return ProgramState(
        state=fields.word("state", PROGRAM_STATES),
        pid=fields.integer("pid"),
        start_time=fields.number("start_time"),
        restarts=fields.integer("restarts"),
        rss_bytes=fields.integer("rss_bytes"),
        pss_bytes=fields.optional_integer("pss_bytes"),
        cpu_seconds=fields.number("cpu_seconds"),
        memory_budget_bytes=fields.optional_integer("memory_budget_bytes"),
        over_budget_restarts=fields.integer("over_budget_restarts"),
        last_exit_time=fields.optional_number("last_exit_time"),
        recent_exit_times=fields.numbers("recent_exit_times") if fields.get("recent_exit_times") else (),
    )


class _Fields:
    """A JSON object whose fields are checked as they are taken. All numbers are of things that are not below 0."""

    def __init__(self, document: Any, where: str) -> None:
        if not isinstance(document, dict):
            raise _wrong(where, "an object")
        self._document = document
        self._where = where

    def get(self, key: str) -> Any:
        """The unchecked value; None when there is none."""
        return self._document.get(key)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._take(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return value

    def word(self, key: str, known: tuple[str, ...]) -> str:
        value = self._take(key)
        if not isinstance(value, str) or value not in known:
            raise self._wrong(key, f"one of {', '.join(known)}")
        return value

    def integer(self, key: str) -> int:
        value = self._take(key)
        # A boolean is an integer to Python, and not to JSON.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_NUMBER:
            raise self._wrong(key, "a whole number in reach")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        values = self._take(key)
        if not isinstance(values, list):
            raise self._wrong(key, "a list")
        return tuple(_Fields({key: value}, self._where).number(key) for value in values)

    def number(self, key: str) -> float:
        value = self._take(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(key, "a number")
        # Python reads NaN and Infinity, which are no JSON, and integers too long for a float. This is false for both.
        if not 0 <= value <= _MAX_NUMBER:
            raise self._wrong(key, "a number in reach")
        return float(value)

    def optional_integer(self, key: str) -> int | None:
        return None if self._take(key) is None else self.integer(key)

    def optional_number(self, key: str) -> float | None:
        return None if self._take(key) is None else self.number(key)

    def _take(self, key: str) -> Any:
        if key not in self._document:
            raise ValueError(f"{self._where}: no {key}")
        return self._document[key]

    def _wrong(self, key: str, what: str) -> ValueError:
        return _wrong(f"{self._where}: {key}", what)


def _wrong(where: str, what: str) -> ValueError:
    return ValueError(f"{where} is not {what}")
