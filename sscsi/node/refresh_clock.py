"""The room's own clock: what is due is refreshed between kubelet's republishes, as fast as its provider allows."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from sscsi.node.audit import COMMAND
from sscsi.node.provider_gates import CIRCUIT, ProviderGates
from sscsi.node.refresh import Refresher
from sscsi.node.refresh_schedule import RefreshSchedule

log = logging.getLogger(__name__)

# Nothing is missed when nothing changes; a clock that was suspended with its machine looks again, too.
_LONGEST_WAIT_SECONDS = 30.0
# A gate that opens in a millisecond is not worth a look of its own.
_SHORTEST_WAIT_SECONDS = 0.02


class RefreshClock:
    """One thread that hands what is due to `submit`, which runs it soon. `timeout_seconds` is for one refresh."""

    def __init__(
        self,
        *,
        schedule: RefreshSchedule,
        refresher: Refresher,
        gates: ProviderGates,
        submit: Callable[..., Any],
        timeout_seconds: float,
    ) -> None:
        self._schedule = schedule
        self._refresher = refresher
        self._gates = gates
        self._submit = submit
        self._timeout_seconds = timeout_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refresh-clock", daemon=True)

    def start(self) -> None:
        """Begin; once the room serves."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no more refreshes. Those under way go on."""
        self._stop.set()
        self._schedule.wake()
        if self._thread.ident is not None:
            self._thread.join()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause = self._look()
            except Exception as error:
                log.error("a fault in the refresh clock", exc_info=error)
                pause = _LONGEST_WAIT_SECONDS
            self._schedule.wait(pause)

    def _look(self) -> float:
        """Begin every refresh that is due and may begin; seconds until the next look."""
        pause = _LONGEST_WAIT_SECONDS
        full: set[str] = set()
        for path, provider in self._schedule.due():
            if provider in full or self._stop.is_set() or self._refresher.tokens_ended(path):
                continue
            by_command = self._schedule.asked_by(path) == COMMAND
            refusal = self._gates.enter(provider, is_forced=by_command)
            if refusal is None:
                self._begin(path, provider)
            elif refusal.reason == CIRCUIT:
                self._schedule.tell(path, self._refresher.refused(path, refusal))
            else:
                full.add(provider)
                pause = min(pause, max(refusal.retry_seconds, _SHORTEST_WAIT_SECONDS))
        return pause

    def _begin(self, path: str, provider: str) -> None:
        if not self._schedule.begin(path):
            self._gates.leave(provider)
            return
        group = [path, *self._schedule.begin_equals(path)]
        self._submit(self._refresher.refresh_group, group, provider, timeout_seconds=self._timeout_seconds)
