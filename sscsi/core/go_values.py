"""Values as Go's flag package reads and writes them: durations and booleans.

Upstream is a Go program, so its manifests carry `2m`, `1h30m` and `=T`; a drop-in reads the same.
Source: the documentation of Go's time.ParseDuration and strconv.ParseBool.
"""

import re

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
# Go keeps a duration as nanoseconds in 64 signed bits: about 292 years.
_MAX_SECONDS = (2**63 - 1) / 1e9


def parse_duration(text: str) -> float:
    """Seconds of a Go duration: `90s`, `1h30m`, `-1.5m`, `0`. Raises ValueError."""
    sign, body = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if body == "0":
        return 0.0
    seconds, position = 0.0, 0
    while match := _DURATION.match(body, position):
        seconds += float(match[1]) * _UNIT_SECONDS[match[2]]
        position = match.end()
    if not body or position != len(body) or seconds > _MAX_SECONDS:
        raise ValueError(f"{text!r} is not a duration; write it like 90s, 2m or 1h30m")
    return sign * seconds


def format_duration(seconds: float) -> str:
    """The duration in Go's spelling, for help texts: 120.0 is `2m`, 5400.0 is `1h30m`, 0.25 is `250ms`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds == 0:
        return "0s"
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = (
        f"{hours:.0f}h" if hours else "",
        f"{minutes:.0f}m" if minutes else "",
        f"{rest:g}s" if rest else "",
    )
    return "".join(parts)


def parse_bool(text: str) -> bool:
    """A Go boolean: 1, t, T, true, TRUE, True and their counterparts. Raises ValueError."""
    if text not in _BOOLEANS:
        raise ValueError(f"{text!r} is not a boolean; write true or false")
    return _BOOLEANS[text]
