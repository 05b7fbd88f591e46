"""Asks every provider for its version now and then (upstream: `--provider-health-check`), and tells who does not answer.

Upstream logs what it hears, at verbosity 4, and nothing more. Here it is a fact of the room: a provider that hangs is seen
before the next pod needs it.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures

from sscsi.core import log_keys
from sscsi.core.redaction import clean_message
from sscsi.errors import ProviderCallError, ProviderNotFoundError, StoppingError
from sscsi.ports import Providers

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
_CALLS_AT_ONCE = 4
_MAX_TEXT = 100
_SHOWN_PROBLEMS = 10
# Whoever answers so lives, and delivers; it is only older than the call.
_UNIMPLEMENTED = 12


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """What a provider answered last; `error` is empty when it did answer.

    `since`: when it began, or ceased, to answer, as far as the checks saw it, in seconds since the epoch. `runtime_name` and `runtime_version` are empty when it did not tell them; cut.
    """

    answers: bool
    runtime_name: str
    runtime_version: str
    error: str
    since: float


class ProviderHealth:
    """The check, in a thread of its own between `start` and `close`. Any thread may ask for what it found."""

    def __init__(
        self, providers: Providers, *, interval_seconds: float, timeout_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._providers = providers
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="provider-health", daemon=True)
        self._states: Mapping[str, ProviderState] = {}

    def start(self) -> None:
        """Ask now, and again each interval."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; does not wait for the calls under way, which last as long as they may."""
        self._stop.set()

    def close(self) -> None:
        """`stop`, and wait for the calls under way: whoever is in a hurry closes the Providers first."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def found(self) -> Mapping[str, ProviderState]:
        """By name: every provider that was there at the last check."""
        return self._states

    def states(self) -> Mapping[str, bool]:
        """By name: whether the provider answered at the last check."""
        return {name: state.answers for name, state in self._states.items()}

    def facts(self) -> Mapping[str, str]:
        """For the room's state: who answers and who does not, names with commas, and the versions that were told.

        Empty before the first check, and while there are no providers.
        """
        states = self._states
        if not states:
            return {}
        return {
            "providers_that_answer": ",".join(name for name, state in states.items() if state.answers),
            "providers_that_do_not_answer": ",".join(
                name for name, state in states.items() if not state.answers
            ),
            "provider_versions": ", ".join(
                f"{name}={text}" for name, state in states.items() if (text := _version_text(state))
            ),
        }

    def problems(self) -> Sequence[str]:
        """For the room's state: a line for each provider that does not answer."""
        silent = [(name, state) for name, state in self._states.items() if not state.answers]
        lines = [f"provider {name} does not answer: {state.error}" for name, state in silent]
        if len(lines) > _SHOWN_PROBLEMS:
            lines[_SHOWN_PROBLEMS:] = [f"{len(lines) - _SHOWN_PROBLEMS} more providers do not answer"]
        return lines

    def check(self) -> None:
        """Ask everybody once. Returns when all have answered, or had their time."""
        names = self._providers.names()
        if not names:
            self._states = {}
            return
        # Made anew: between the checks there are no threads.
        with futures.ThreadPoolExecutor(_CALLS_AT_ONCE, "provider-health") as pool:
            answers = dict(zip(names, pool.map(self._ask, names), strict=True))
        # None: it is gone, or all of this ends.
        self._states = {name: state for name, state in answers.items() if state is not None}

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.check()
            except RuntimeError as error:
                # The machine gives no more threads: what was found last stands until it does.
                log.error("the providers can't be asked now", exc_info=error)
            self._stop.wait(self._interval_seconds)

    def _ask(self, provider: str) -> ProviderState | None:
        before = self._states.get(provider)
        if self._stop.is_set():
            return before
        try:
            now = self._look(provider)
        except (ProviderNotFoundError, StoppingError):
            return None
        if self._stop.is_set():
            # The call was cancelled; that says nothing.
            return before
        if before is not None and dataclasses.replace(now, since=before.since) == before:
            return before
        _tell(provider, before, now)
        if before is not None and before.answers == now.answers:
            return dataclasses.replace(now, since=before.since)
        return now

    def _look(self, provider: str) -> ProviderState:
        name = version = error = ""
        try:
            answer = self._providers.version(provider, timeout_seconds=self._timeout_seconds)
            name, version = _cleaned(answer.runtime_name), _cleaned(answer.runtime_version)
        except ProviderCallError as failure:
            error = "" if failure.code == _UNIMPLEMENTED else clean_message(str(failure), ())
        return ProviderState(
            answers=not error, runtime_name=name, runtime_version=version, error=error, since=time.time()
        )


def _tell(provider: str, before: ProviderState | None, now: ProviderState) -> None:
    """One line, when a provider begins or ceases to answer, or says that it is another one."""
    about = {log_keys.PROVIDER: provider}
    if not now.answers:
        if before is None or before.answers:
            log.warning("a provider does not answer", extra={**about, log_keys.ERROR: now.error})
    elif before is None or not before.answers:
        log.info("a provider answers", extra={**about, log_keys.STATE: _version_text(now)})
    else:
        log.info("a provider has another version", extra={**about, log_keys.STATE: _version_text(now)})


def _version_text(state: ProviderState) -> str:
    return f"{state.runtime_name} {state.runtime_version}".strip()


def _cleaned(text: str) -> str:
    return clean_message(text, ())[:_MAX_TEXT]
