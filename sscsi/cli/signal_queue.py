"""The signals that `sscsi run` is sent: none is lost, from its first instruction to its last."""

import collections
import signal
from types import FrameType

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# All that supervisord has handlers for, but for a child's end, which nobody minds.
_HELD_SIGNALS = (*_STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR2)


def hold() -> None:
    """Let the kernel keep what comes until `release`.

    Process 1 of a container, which `sscsi run` is, does not get what it has no handler for (pid_namespaces(7)), unless
    it is blocked; and supervisord's handlers are there only when everything has been imported.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_SIGNALS)


def release() -> None:
    """Take what was held, and all that comes from now on; there are handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_SIGNALS)


class SignalQueue:
    """What supervisord's handlers have taken and its loop has not looked at yet; true while there is something.

    It has the face of supervisord's own, of which each life between two reloads has a new one: what came to the last
    one was lost.
    """

    def __init__(self) -> None:
        self._numbers: collections.deque[int] = collections.deque()

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """The handler. A signal that waits already is not taken twice: children may end by the hundred."""
        if number not in self._numbers:
            self._numbers.append(number)

    def get_signal(self) -> int | None:
        """The one that waits longest; None when there is none."""
        return self._numbers.popleft() if self._numbers else None

    def take_stop(self) -> bool:
        """Whether a request to stop was among those that wait. None waits after that."""
        asked = any(number in _STOP_SIGNALS for number in self._numbers)
        self._numbers.clear()
        return asked
