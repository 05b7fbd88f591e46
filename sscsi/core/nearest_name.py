"""What somebody meant who misspelled a name."""

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like `name`, whatever its case; empty when none does."""
    by_lower = {other.lower(): other for other in sorted(known)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return by_lower[found[0]] if found else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing."""
    near = nearest_name(name, known)
    return f"; did you mean {near}?" if near else ""
