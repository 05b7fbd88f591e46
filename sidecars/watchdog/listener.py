"""The listener's loop: events in, answers out, until asked to stop."""

import logging
import os
import select
import threading
from typing import Protocol

from sidecars.watchdog.events import DONE, READY, Event, EventStream
from sscsi.core import log_keys

log = logging.getLogger(__name__)

# An event has some 300 bytes, and they come one by one.
_READ_BYTES = 4096


class Room(Protocol):
    """Who wants the events."""

    is_stopping: bool

    def note(self, event: Event) -> None:
        """Take the event in: quickly, supervisord waits for the answer with its next event."""

    def go_on(self, event: Event) -> None:
        """Do what the event is the occasion for; it has been answered."""


class Listener:
    """supervisord's other end. `stdin` and `stdout` are the descriptors that the protocol is spoken on.

    It waits for two things at once, so whoever sets `stop` ends it while it reads: a thread turns the event into
    the end of a pipe.
    """

    def __init__(self, stop: threading.Event, *, stdin: int = 0, stdout: int = 1) -> None:
        self._stop = stop
        self._stdin = stdin
        self._stdout = stdout

    def say_ready(self) -> None:
        """Ask for the first event; supervisord takes a listener that never said so for busy. Raises OSError."""
        # Were it closed, the next descriptor that is made would be taken for it.
        os.fstat(self._stdin)
        os.write(self._stdout, READY)

    def listen(self, room: Room) -> int:
        """Give `room` every event until asked to stop; the exit code."""
        wake_read, wake_write = os.pipe()
        waker = threading.Thread(target=self._close_when_stopped, args=(wake_write,), name="stop-waker")
        waker.start()
        try:
            return self._listen(room, wake_read)
        finally:
            self._stop.set()
            waker.join()
            os.close(wake_read)

    def _listen(self, room: Room, wake: int) -> int:
        poll = select.poll()
        poll.register(self._stdin, select.POLLIN)
        poll.register(wake, select.POLLIN)
        stream = EventStream()
        while wake not in (descriptor for descriptor, _ in poll.poll()):
            data = os.read(self._stdin, _READ_BYTES)
            if not data:
                return self._end_of_events(room)
            try:
                events = stream.feed(data)
            except ValueError as error:
                log.error("supervisord sent what is no event", extra={log_keys.REASON: str(error)})
                return 1
            for event in events:
                room.note(event)
                if not self._answer():
                    return 1
                room.go_on(event)
        return 0

    def _answer(self) -> bool:
        try:
            os.write(self._stdout, DONE)
        except OSError as error:
            log.error("supervisord takes no answer", extra={log_keys.ERROR: error.strerror})
            return False
        return True

    def _end_of_events(self, room: Room) -> int:
        if room.is_stopping:
            return 0
        log.error("supervisord closed the events' pipe")
        return 1

    def _close_when_stopped(self, wake_write: int) -> None:
        self._stop.wait()
        os.close(wake_write)
