"""Waiting for a fact, with a deadline and without a fixed sleep."""

import threading
import time
from collections.abc import Callable

_PAUSE_SECONDS = 0.005


def wait_until(fact: Callable[[], object], what: str, *, seconds: float = 60.0) -> None:
    """Return as soon as `fact()` is true; fail, naming `what`, when it is not within `seconds`."""
    never = threading.Event()
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        never.wait(_PAUSE_SECONDS)
