"""Wakes supervisord's loop, which otherwise looks up once a second only."""

import os
import signal

from supervisor.options import ServerOptions


class Wakeup:
    """A pipe that supervisord's loop polls, as one more entry of its socket map.

    The kernel's signals write to it (signal.set_wakeup_fd), so that a child's death or a request to stop is seen at
    once; `again` makes the loop go round once more without a wait. It has the face that supervisord expects of a
    dispatcher.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._socket_map = options.get_socket_map()
        self._socket_map[self._read] = self
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def again(self) -> None:
        """Let the loop's next poll return at once."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:
            # Full of calls to wake up: one of them will do.
            return

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        del self._socket_map[self._read]
        os.close(self._read)
        os.close(self._write)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            return

    def handle_error(self) -> None:
        """Nothing here fails in a way that supervisord could mend."""
