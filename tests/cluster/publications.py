"""When a registration socket appeared in kubelet's directory, as kubelet itself notices it: by inotify."""

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator

from sscsi.edges.inotify import Inotify, Kind

_POLL_MILLISECONDS = 50


@contextlib.contextmanager
def publications(path: str) -> Iterator[list[float]]:
    """The moments (monotonic) at which `path` appeared, the oldest first; it grows while one looks."""
    moments: list[float] = []
    ended = threading.Event()
    inotify = Inotify()
    inotify.add(os.path.dirname(path))

    def watch() -> None:
        poll = select.poll()
        poll.register(inotify.fileno(), select.POLLIN)
        while not ended.is_set():
            if poll.poll(_POLL_MILLISECONDS):
                now = time.monotonic()
                for change in inotify.read():
                    if (change.kind, change.name) == (Kind.CREATED, os.path.basename(path)):
                        moments.append(now)

    watcher = threading.Thread(target=watch, name="publications")
    watcher.start()
    try:
        yield moments
    finally:
        ended.set()
        watcher.join()
        inotify.close()
