"""How long to wait before the next publication, after one that ended."""

import itertools
from collections.abc import Iterator

from sscsi.core.backoff import delays

# A socket that is gone sooner than this is somebody's work, who will do it again.
_SHORT_SECONDS = 1.0


class Pauses:
    """Seconds, one after the other. Kubelet's own loop ticks each second, so less than that is of no use to it.

    They grow while kubelet does not confirm, from 1 to 30; a confirmation ends that. A socket that somebody removed
    comes back at once, unless it is removed again as soon as it is there.
    """

    def __init__(self) -> None:
        self._unconfirmed = _growing()
        self._removed = _at_once_then_growing()

    def after_refusal(self, *, was_confirmed: bool) -> float:
        """Kubelet said no, or nothing; `was_confirmed` says that it had said yes to the same socket before."""
        if was_confirmed:
            self._unconfirmed = _growing()
        return next(self._unconfirmed)

    def after_removal(self, *, lived_seconds: float) -> float:
        """The socket is gone or somebody else's."""
        if lived_seconds >= _SHORT_SECONDS:
            self._removed = _at_once_then_growing()
        return next(self._removed)


def _growing() -> Iterator[float]:
    return delays(first_seconds=1.0, factor=2.0, max_seconds=30.0)


def _at_once_then_growing() -> Iterator[float]:
    return itertools.chain((0.0,), _growing())
