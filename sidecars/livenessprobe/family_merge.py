"""The families of several rooms as one page has them: each name once, each set of labels once."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence

from sscsi.core.log_keys import OBJECT, PROGRAM, REASON
from sscsi.core.prometheus import Family, Sample

log = logging.getLogger(__name__)


class FamilyMerge:
    """Puts families of one name together. What does not fit is left out, and logged once: a page must be valid."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def merged(self, by_room: Mapping[str, Sequence[Family]]) -> Iterator[Family]:
        """One family a name, in the order of the names, made when it is taken.

        The first room to have it decides its kind and its help text.
        """
        by_name: dict[str, list[tuple[str, Family]]] = {}
        for room, families in by_room.items():
            for family in families:
                by_name.setdefault(family.name, []).append((room, family))
        for name in sorted(by_name):
            parts = by_name[name]
            yield parts[0][1] if len(parts) == 1 else self._joined(parts)

    def _joined(self, parts: Sequence[tuple[str, Family]]) -> Family:
        first = parts[0][1]
        kept: dict[tuple[str, frozenset[tuple[str, str]]], Sample] = {}
        for room, family in parts:
            if family.kind != first.kind:
                self._log(room, family.name, f"it is a {family.kind} here, and a {first.kind} of another")
                continue
            for sample in family.samples:
                key = (sample.suffix, frozenset(sample.labels.items()))
                if kept.setdefault(key, sample) is not sample:
                    self._log(room, family.name, "these labels are there already")
        return dataclasses.replace(first, samples=list(kept.values()))

    def _log(self, room: str, name: str, reason: str) -> None:
        if (room, name) not in self._logged:
            self._logged.add((room, name))
            log.error(
                "a room's metric is left out of the page",
                extra={PROGRAM: room, OBJECT: name, REASON: reason},
            )
