"""Waiting for a fact about another process, with a deadline."""

import threading
import time
from collections.abc import Callable

_PAUSE_SECONDS = 0.05


def wait_for(fact: Callable[[], bool], *, timeout_seconds: float) -> bool:
    """Look again and again until `fact` holds; False when it still does not after `timeout_seconds`."""
    never = threading.Event()
    deadline = time.monotonic() + timeout_seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        never.wait(_PAUSE_SECONDS)
    return True
