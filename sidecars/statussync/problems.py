"""What does not work now: one log line when it begins or changes, one when it is over."""

import logging
import threading
from collections.abc import Sequence

from sscsi.core import log_keys
from sscsi.ports import ObjectKey

log = logging.getLogger(__name__)


class ProblemBoard:
    """Present problems by subject; the last that began is kept for the room's status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._problems: dict[ObjectKey, tuple[str, ...]] = {}
        self._last = ""

    @property
    def count(self) -> int:
        """Subjects that have a problem now."""
        with self._lock:
            return len(self._problems)

    @property
    def last(self) -> str:
        """The problem that began last, also when it is over; empty when there was none."""
        with self._lock:
            return self._last

    def present(self, at_most: int) -> list[str]:
        """Of the subjects that have a problem now, the `at_most` whose began last: a line each, the latest first."""
        with self._lock:
            latest = list(self._problems.items())[::-1][:at_most]
        return [f"{subject}: {'; '.join(problems)}" for subject, problems in latest]

    def subjects(self) -> set[ObjectKey]:
        """What has a problem now."""
        with self._lock:
            return set(self._problems)

    def report(self, subject: ObjectKey, problems: Sequence[str]) -> None:
        """What is wrong with the subject now; nothing, when `problems` is empty."""
        after = tuple(problems)
        with self._lock:
            before = self._problems.pop(subject, ())
            if after:
                self._problems[subject] = after
            new = [problem for problem in after if problem not in before]
            if new:
                self._last = new[-1]
        for problem in new:
            log.warning(
                "something does not work", extra={log_keys.OBJECT: str(subject), log_keys.REASON: problem}
            )
        if before and not after:
            log.info("it works again", extra={log_keys.OBJECT: str(subject)})
