"""What is amiss with the driver's installation in the cluster: told at a start, and when it is mended."""

import logging
import threading
from collections.abc import Callable

from sidecars.statussync.problems import ProblemBoard
from sscsi.core import log_keys
from sscsi.core.backoff import delays
from sscsi.core.finding import Outcome, Word
from sscsi.errors import ClusterUnavailableError, DriverCallError, DriverUnreachableError, StoppingError
from sscsi.ports import Cluster, ObjectKey

log = logging.getLogger(__name__)

# While all of an installation is applied at once, its parts are there one after the other.
_SETTLE_SECONDS = 10.0
_AGAIN_SECONDS = 300.0
_AMISS = frozenset({Outcome.WARN, Outcome.FAIL})

Findings = list[tuple[str, Word]]


class InstallationCheck:
    """Looks at the start, and every `again_seconds` while something fails; only what two looks agree on is told.

    A failure is a problem of the room for as long as it lasts; a warning, with which all works, is one line in the log.
    `ask_name` is the driver's name as the node room tells it.
    """

    def __init__(
        self,
        cluster: Cluster,
        problems: ProblemBoard,
        ask_name: Callable[[], str],
        *,
        settle_seconds: float = _SETTLE_SECONDS,
        again_seconds: float = _AGAIN_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._problems = problems
        self._ask_name = ask_name
        self._settle_seconds = settle_seconds
        self._again_seconds = again_seconds
        self._told: set[ObjectKey] = set()
        self._said: set[tuple[str, Word]] = set()

    def run(self, stop: threading.Event) -> None:
        """Return once `stop` is set."""
        name = self._wait_for_name(stop)
        before: Findings = []
        pauses = delays(first_seconds=1.0, factor=2.0, max_seconds=60.0)
        while name and not stop.is_set():
            try:
                found = [*self._cluster.check_installation(name)]
            except ClusterUnavailableError:
                stop.wait(next(pauses))
                continue
            amiss = [finding for finding in found if finding[1].outcome in _AMISS]
            agreed = [finding for finding in amiss if finding in before]
            self._tell(agreed, found)
            if agreed != amiss:
                stop.wait(self._settle_seconds)
            elif any(word.outcome is Outcome.FAIL for _, word in amiss):
                stop.wait(self._again_seconds)
            else:
                break
            before = amiss
        stop.wait()

    def _wait_for_name(self, stop: threading.Event) -> str:
        for delay in delays(first_seconds=0.5, factor=2.0, max_seconds=5.0):
            try:
                return self._ask_name()
            except StoppingError:
                return ""
            except (DriverUnreachableError, DriverCallError):
                # Who waits for the driver says so: registrar and liveness probe do.
                if stop.wait(delay):
                    return ""
        raise AssertionError("delays never end")

    def _tell(self, agreed: Findings, found: Findings) -> None:
        for subject, word in agreed:
            if word.outcome is Outcome.WARN and self._is_new(subject, word):
                log.warning(
                    "not all is installed as it should be",
                    extra={log_keys.OBJECT: subject, log_keys.REASON: _text(word)},
                )
        # What was told, and is not amiss any more, is over.
        problems: dict[ObjectKey, list[str]] = {key: [] for key in self._told}
        for subject, word in agreed:
            if word.outcome is Outcome.FAIL:
                problems.setdefault(ObjectKey(subject, "", ""), []).append(_text(word))
        for key, texts in problems.items():
            self._problems.report(key, texts)
        self._told = {key for key, texts in problems.items() if texts}
        for subject, word in found:
            if word.outcome is Outcome.SKIP and self._is_new(subject, word):
                log.info(
                    "this can't be looked at", extra={log_keys.OBJECT: subject, log_keys.REASON: _text(word)}
                )

    def _is_new(self, subject: str, word: Word) -> bool:
        """Whether that was not said yet in the life of this process."""
        is_new = (subject, word) not in self._said
        self._said.add((subject, word))
        return is_new


def _text(word: Word) -> str:
    return f"{word.found}; {word.cure}"
