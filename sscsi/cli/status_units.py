"""Ages and sizes as people read them."""

_MEBIBYTE = 1024 * 1024


def age_text(seconds: float) -> str:
    """`12s`, `3m12s`, `4h05m`, `12d03h`; a negative age (a clock that was set back) is `0s`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    # Two units are enough: of what is days old nobody asks for the minutes.
    if days:
        return f"{days}d{hours_left:02d}h"
    if hours:
        return f"{hours}h{minutes_left:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def mebibytes(count: int) -> str:
    """Bytes in MiB with one decimal, without the unit."""
    return f"{count / _MEBIBYTE:.1f}"


def counted(number: int, noun: str) -> str:
    """`1 volume`, `12 volumes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
