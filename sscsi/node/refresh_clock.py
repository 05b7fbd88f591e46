"""The room's own clock: what is due is refreshed between kubelet's republishes, as fast as its provider allows."""

import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from sscsi.node.kept_requests import KeptRequests, tokens_end
from sscsi.node.metrics import NodeMetrics
from sscsi.node.provider_gates import CIRCUIT, ProviderGates
from sscsi.node.refresh import Refresher
from sscsi.node.refresh_schedule import FOR_TOKENS, RefreshSchedule
from sscsi.node.volumes import Volumes

log = logging.getLogger(__name__)

# Nothing is missed when nothing changes; a clock that was suspended with its machine looks again, too.
_LONGEST_WAIT_SECONDS = 30.0
# A gate that opens in a millisecond is not worth a look of its own.
_SHORTEST_WAIT_SECONDS = 0.02
# A token that ends this soon may have ended when the store looks at it.
_TOKEN_MARGIN_SECONDS = 5.0


class RefreshClock:
    """One thread that hands what is due to `submit`, which runs it soon. `timeout_seconds` is for one refresh."""

    def __init__(
        self,
        *,
        volumes: Volumes,
        schedule: RefreshSchedule,
        refresher: Refresher,
        gates: ProviderGates,
        kept: KeptRequests,
        metrics: NodeMetrics,
        submit: Callable[..., Any],
        timeout_seconds: float,
    ) -> None:
        self._volumes = volumes
        self._schedule = schedule
        self._refresher = refresher
        self._gates = gates
        self._kept = kept
        self._metrics = metrics
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
            if provider in full or self._stop.is_set() or self._tokens_ended(path, provider):
                continue
            refusal = self._gates.enter(provider, is_forced=self._schedule.is_forced(path))
            if refusal is None:
                self._begin(path, provider)
            elif refusal.reason == CIRCUIT:
                lock = functools.partial(self._volumes.locked, path)
                self._schedule.tell(path, self._refresher.refused(path, provider, refusal, lock))
            else:
                full.add(provider)
                pause = min(pause, max(refusal.retry_seconds, _SHORTEST_WAIT_SECONDS))
        return pause

    def _tokens_ended(self, path: str, provider: str) -> bool:
        """Whether the kept request's tokens are of no use any more; the volume then waits for kubelet's next call."""
        request = self._kept.get(path)
        if request is None or tokens_end(request) - _TOKEN_MARGIN_SECONDS > time.time():
            return False
        self._schedule.needs_request(path, FOR_TOKENS)
        self._metrics.provider_call_spared(provider, "tokens")
        return True

    def _begin(self, path: str, provider: str) -> None:
        if not self._schedule.begin(path):
            self._gates.leave(provider)
            return
        group = [path, *self._schedule.begin_equals(path)]
        self._submit(self._refresher.refresh_group, group, provider, timeout_seconds=self._timeout_seconds)
