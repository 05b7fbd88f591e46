"""Waiting until something changes in one directory, or until another thread says so."""

import errno
import logging
import os
import select
from collections.abc import Callable

from sscsi.core.log_keys import PATH, REASON
from sscsi.edges.inotify import Inotify, Kind

log = logging.getLogger(__name__)

_WITHOUT_INOTIFY_SECONDS = 1.0
# Each user's; what the errors say by themselves leads astray (inotify_init(2), inotify_add_watch(2)).
_LIMITS = {
    errno.EMFILE: "; see fs.inotify.max_user_instances",
    errno.ENOSPC: "; see fs.inotify.max_user_watches",
}


class DirectoryWatch:
    """The directory at `path`, which may go and come again.

    One thread arms and waits; any thread may wake it. Where the machine has no inotify to give (`open_inotify`
    raises OSError: a node with many pods can be at its limit), `wait` returns once a second instead, and the caller
    looks for itself.
    """

    def __init__(self, path: str, *, open_inotify: Callable[[], Inotify] = Inotify) -> None:
        self._path = path
        self._open_inotify = open_inotify
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._inotify: Inotify | None = None
        self._is_told = False

    def arm(self) -> None:
        """Watch the directory that is at the path now. Raises FileNotFoundError, NotADirectoryError."""
        self._disarm()
        try:
            self._inotify = self._open_inotify()
            self._inotify.add(self._path)
        except (FileNotFoundError, NotADirectoryError):
            self._disarm()
            raise
        except OSError as error:
            self._disarm()
            if not self._is_told:
                self._is_told = True
                log.warning(
                    "the directory can't be watched; looking once a second instead",
                    extra={PATH: self._path, REASON: f"{error.strerror}{_LIMITS.get(error.errno or 0, '')}"},
                )

    def wait(self, seconds: float) -> None:
        """Return after a change, after `wake`, or after `seconds`. A change since `arm` is never missed."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._inotify is None:
            seconds = min(seconds, _WITHOUT_INOTIFY_SECONDS)
        else:
            poll.register(self._inotify.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(max(seconds, 0.0) * 1000)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._inotify is not None and self._inotify.fileno() in ready:
            changes = self._inotify.read()
            if any(change.kind is Kind.ENDED for change in changes):
                # Nothing more comes from it; until it is armed anew there is the look once a second.
                self._disarm()

    def wake(self) -> None:
        """End the wait under way, or the next one. For any thread, before `close`."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        self._disarm()
        os.close(self._wake)

    def _disarm(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
