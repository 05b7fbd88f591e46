"""How the last attempt at each Secret went, for the condition `Synced` of the volumes whose classes ask for it."""

import threading
from collections.abc import Iterable

from sidecars.statussync.secret_plan import Conflict
from sscsi.ports import ClassName, ObjectKey

_Outcome = tuple[str, tuple[Conflict, ...]]


class SecretOutcomes:
    """Outcomes by Secret. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: dict[ObjectKey, _Outcome] = {}

    def note(self, key: ObjectKey, *, failure: str = "", conflicts: tuple[Conflict, ...] = ()) -> bool:
        """Remember the last attempt; True when it went otherwise than the one before, or was the first."""
        outcome = (failure, conflicts)
        with self._lock:
            before = self._outcomes.get(key)
            self._outcomes[key] = outcome
        return before != outcome

    def problems(self, keys: Iterable[ObjectKey], class_name: ClassName) -> list[str] | None:
        """What is wrong with these Secrets for that class, a line each; None while one was not attempted yet."""
        found = []
        with self._lock:
            for key in sorted(keys):
                if key not in self._outcomes:
                    return None
                failure, conflicts = self._outcomes[key]
                found += [failure] if failure else []
                found += [conflict.text for conflict in conflicts if conflict.class_name == class_name]
        return found

    def forget(self, key: ObjectKey) -> None:
        """Nobody is known to want this one now."""
        with self._lock:
            self._outcomes.pop(key, None)

    def forget_all_but(self, keys: Iterable[ObjectKey]) -> None:
        """Nobody wants the others any more."""
        kept = set(keys)
        with self._lock:
            self._outcomes = {key: outcome for key, outcome in self._outcomes.items() if key in kept}
