"""The latest answers to a few questions, for pages that must not wait for whoever does not answer."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from sscsi.core.log_keys import REASON

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 0.4
# For a question whose last answer was late: long enough for one who is well again.
_LITTLE_PATIENCE_SECONDS = 0.05

T = TypeVar("T")


class Answers(Generic[T]):
    """Asks each question in a thread of its own, one at a time, and again when its answer is no longer fresh.

    A question is a function that returns None when there was no answer, after a time-out of its own. `latest` waits
    for answers up to `patience_seconds`, for all questions together; for a question that was late, hardly at all
    until it is answered again. In the place of an answer that is late, the one before it counts for
    `lasting_seconds`: who answers slowly does answer.
    """

    def __init__(
        self,
        questions: Mapping[str, Callable[[], T | None]],
        *,
        fresh_seconds: float = FRESH_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        lasting_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._questions = {name: _Question(name, ask) for name, ask in questions.items()}
        self._fresh_seconds = fresh_seconds
        self._patience_seconds = patience_seconds
        self._lasting_seconds = lasting_seconds
        self._clock = clock
        self._condition = threading.Condition()
        self._closed = False

    def ask(self) -> None:
        """Ask what is not fresh and not being asked. Returns at once."""
        with self._condition:
            if self._closed:
                return
            for question in self._questions.values():
                age = self._clock() - question.answered_at
                if not question.is_pending and age >= self._fresh_seconds:
                    self._start(question)

    def latest(self) -> dict[str, T | None]:
        """The answer to each question by its name; None where there is none now."""
        self.ask()
        with self._condition:
            # Each is taken when it is there: while the next one is waited for, another page may ask it anew.
            return {name: self._wait(question) for name, question in self._questions.items()}

    def is_pending(self, name: str) -> bool:
        """Whether the question is being asked just now."""
        with self._condition:
            return self._questions[name].is_pending

    def close(self) -> None:
        """Ask nobody any more. To be called before whatever the questions use is closed."""
        with self._condition:
            self._closed = True

    def _start(self, question: "_Question[T]") -> None:
        patience = _LITTLE_PATIENCE_SECONDS if question.is_late else self._patience_seconds
        question.wait_until = self._clock() + patience
        question.is_pending = True
        thread = threading.Thread(
            target=self._ask, args=(question,), name=f"ask {question.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            log.warning("cannot start a thread; nobody is asked", extra={REASON: str(error)})
            self._note(question, None)

    def _ask(self, question: "_Question[T]") -> None:
        answer = None
        try:
            answer = question.ask()
        except Exception:
            if not self._closed:
                log.exception("a question for a page failed")
        finally:
            with self._condition:
                self._note(question, answer)
                self._condition.notify_all()

    def _note(self, question: "_Question[T]", answer: T | None) -> None:
        question.answer = answer
        question.answered_at = self._clock()
        question.is_pending = False
        if answer is not None:
            question.is_late = False

    def _wait(self, question: "_Question[T]") -> T | None:
        while question.is_pending and (seconds := question.wait_until - self._clock()) > 0:
            self._condition.wait(seconds)
        if question.is_pending:
            question.is_late = True
            is_lasting = self._clock() - question.answered_at < self._lasting_seconds
            return question.answer if is_lasting else None
        return question.answer


class _Question(Generic[T]):
    """One question and what is known of it; guarded by the condition of its Answers."""

    def __init__(self, name: str, ask: Callable[[], T | None]) -> None:
        self.name = name
        self.ask = ask
        self.answer: T | None = None
        self.answered_at = float("-inf")
        self.wait_until = 0.0
        self.is_pending = False
        self.is_late = False
