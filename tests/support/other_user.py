"""Files as another user finds them."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

from tests.support.require import lacking

_NOBODY = 65534


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """This thread, and no other, looks at files as nobody does (setfsuid(2))."""
    libc, before = ctypes.CDLL(None), os.geteuid()
    if before == 0:
        libc.setfsuid(_NOBODY)
        if libc.setfsuid(-1) != _NOBODY:
            lacking("root", reason="this user namespace has no second user, and root may use every socket")
    try:
        yield
    finally:
        libc.setfsuid(before)
