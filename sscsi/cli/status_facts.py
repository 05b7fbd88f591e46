"""The facts that rooms tell, as values. What is none, of another release perhaps, is as if it had not been told."""

import math
import re

_COUNT = re.compile("[0-9]{1,18}")


def count(text: str | None) -> int | None:
    """A number of things."""
    return int(text) if text and _COUNT.fullmatch(text) else None


def boolean(text: str | None) -> bool | None:
    """`true` or `false`."""
    return {"true": True, "false": False}.get(text or "")


def moment(text: str | None) -> float | None:
    """Seconds since the epoch; 0 stands for never."""
    try:
        seconds = float(text or "nan")
    except ValueError:
        return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None


def names(text: str | None) -> tuple[str, ...] | None:
    """Names with commas between them; there may be none."""
    return None if text is None else tuple(name for name in text.split(",") if name)
