"""What is amiss with the driver's installation in the cluster: told at a start, and when it is mended."""

import logging
import threading
from collections.abc import Callable

from sidecars.statussync.problems import ProblemBoard
from sscsi.core import log_keys
from sscsi.core.backoff import delays
from sscsi.core.cluster_rights import SUBJECT as RIGHTS
from sscsi.core.finding import Outcome, Word
from sscsi.errors import ClusterUnavailableError, DriverCallError, DriverUnreachableError, StoppingError
from sscsi.ports import Cluster, ObjectKey

log = logging.getLogger(__name__)

# While all of an installation is applied at once, its parts are there one after the other.
_SETTLE_SECONDS = 10.0
_AGAIN_SECONDS = 300.0
_RETRY_SECONDS = 1.0
_AMISS = frozenset({Outcome.WARN, Outcome.FAIL})

Findings = list[tuple[str, Word]]


class InstallationCheck:
    """Looks at the start, and every `again_seconds` while something fails; only what two looks agree on is told.

    A look that can't be made is made again after `retry_seconds` at first, later once a minute.

    A failure is a problem of the room for as long as it lasts; a warning, with which all works, is one line in the log. So
    is a right that is missing, which may be on purpose: what can't be done without it is a problem of its own.
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
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._problems = problems
        self._ask_name = ask_name
        self._settle_seconds = settle_seconds
        self._again_seconds = again_seconds
        self._retry_seconds = retry_seconds
        self._told: set[ObjectKey] = set()
        self._trouble = ""
        self._said: set[tuple[str, Word]] = set()

    def run(self, stop: threading.Event) -> None:
        """Return once `stop` is set."""
        name = self._wait_for_name(stop)
        before: Findings = []
        pauses = delays(first_seconds=self._retry_seconds, factor=2.0, max_seconds=60.0)
        while name and not stop.is_set():
            found = self._look(name)
            if found is None:
                stop.wait(next(pauses))
                continue
            amiss = [finding for finding in found if finding[1].outcome in _AMISS]
            agreed = _agreed(amiss, before)
            self._tell(agreed, found)
            if agreed != amiss:
                stop.wait(self._settle_seconds)
            elif any(_is_problem(finding) for finding in amiss):
                stop.wait(self._again_seconds)
            else:
                break
            before = amiss
        stop.wait()

    def _look(self, name: str) -> Findings | None:
        """What is found; None when it can't be looked at now, which is said once for as long as it has the same reason."""
        try:
            found = [*self._cluster.check_installation(name)]
        except ClusterUnavailableError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                log.info("the installation can't be looked at now", extra={log_keys.REASON: self._trouble})
            return None
        except Exception as error:
            # Who looks and only tells must not end status-sync, whatever a proxy or an aggregated API answers.
            if self._trouble != repr(error):
                self._trouble = repr(error)
                log.exception("the look at the installation failed: report it, this is a fault of the driver")
            return None
        self._trouble = ""
        return found

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
            if not _is_problem((subject, word)) and self._is_new(subject, word):
                log.warning(
                    "not all is installed as it should be",
                    extra={log_keys.OBJECT: subject, log_keys.REASON: _text(word)},
                )
        # What was told, and is not amiss any more, is over.
        problems: dict[ObjectKey, list[str]] = {key: [] for key in self._told}
        for subject, word in agreed:
            if _is_problem((subject, word)):
                problems.setdefault(ObjectKey(subject, "", ""), []).append(_text(word))
        for key, texts in problems.items():
            self._problems.report(key, texts)
        self._told = {key for key, texts in problems.items() if texts}
        for subject, word in found:
            if word.outcome is Outcome.SKIP and self._is_new(subject, word):
                log.info(
                    "this can't be looked at", extra={log_keys.OBJECT: subject, log_keys.REASON: _text(word)}
                )
        self._said.intersection_update(found)

    def _is_new(self, subject: str, word: Word) -> bool:
        """Whether that was not said yet, since it was found for the first time."""
        is_new = (subject, word) not in self._said
        self._said.add((subject, word))
        return is_new


def _agreed(amiss: Findings, before: Findings) -> Findings:
    """Those that the look before had as well, in whatever words: an API server may put a new number in each answer."""
    seen = {(subject, word.outcome) for subject, word in before}
    return [(subject, word) for subject, word in amiss if (subject, word.outcome) in seen]


def _is_problem(finding: tuple[str, Word]) -> bool:
    subject, word = finding
    return word.outcome is Outcome.FAIL and subject != RIGHTS


def _text(word: Word) -> str:
    return f"{word.found}; {word.cure}"
