"""How many publishes may be with one provider at once, and how many may wait for that.

Publishes of one provider never stand in the way of another's (design P10): each provider has its own places.
The rest wait, bounded, and are told UNAVAILABLE before kubelet gives up, which then tries again.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sscsi.errors import OverloadedError, StoppingError


class _Provider:
    """One provider's places; the condition shares the lock of all."""

    __slots__ = ("freed", "taken", "waiting")

    def __init__(self, lock: threading.Lock) -> None:
        self.freed = threading.Condition(lock)
        self.taken = 0
        self.waiting = 0


class Admission:
    """Places for publishes, by provider."""

    def __init__(self, *, places_per_provider: int, max_waiting: int) -> None:
        self._places = places_per_provider
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._providers: dict[str, _Provider] = {}
        self._closed = False

    @contextlib.contextmanager
    def place(
        self, name: str, *, timeout_seconds: float, waiting: Callable[[], AbstractContextManager[None]]
    ) -> Iterator[None]:
        """Hold one of the provider's places; `waiting` wraps the wait, if there is one.

        Raises OverloadedError, StoppingError.
        """
        provider = self._take_free(name)
        if provider is None:
            with waiting():
                provider = self._wait(name, timeout_seconds)
        try:
            yield
        finally:
            with self._lock:
                provider.taken -= 1
                provider.freed.notify()
                if not provider.taken and not provider.waiting:
                    self._providers.pop(name, None)

    def close(self) -> None:
        """Take no more publishes and turn away those that wait."""
        with self._lock:
            self._closed = True
            for provider in self._providers.values():
                provider.freed.notify_all()

    def _take_free(self, name: str) -> _Provider | None:
        """A place of the provider if one is free now."""
        with self._lock:
            self._check_open()
            provider = self._providers.setdefault(name, _Provider(self._lock))
            if provider.taken >= self._places:
                return None
            provider.taken += 1
            return provider

    def _wait(self, name: str, timeout_seconds: float) -> _Provider:
        with self._lock:
            waiting = sum(each.waiting for each in self._providers.values())
            if waiting >= self._max_waiting:
                raise OverloadedError(
                    f"{waiting} publishes wait already (--max-waiting-publishes); try again later"
                )
            provider = self._providers.setdefault(name, _Provider(self._lock))
            provider.waiting += 1
            try:
                free = provider.freed.wait_for(
                    lambda: self._closed or provider.taken < self._places, timeout_seconds
                )
            finally:
                provider.waiting -= 1
            self._check_open()
            if not free:
                raise OverloadedError(
                    f"provider {name!r} has {self._places} publishes under way (--max-publishes-per-provider) "
                    f"and none ended in {timeout_seconds:.0f} s; try again later"
                )
            provider.taken += 1
            return provider

    def _check_open(self) -> None:
        if self._closed:
            raise StoppingError("the driver is stopping; try again later")
