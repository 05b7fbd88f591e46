"""The families of several rooms as one page has them: each name once, each set of labels once."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence

from sscsi.core.log_keys import OBJECT, PROGRAM, REASON
from sscsi.core.prometheus import Family, Sample

log = logging.getLogger(__name__)


class FamilyMerge:
    """Puts families of one name together. What does not fit is left out, and logged once: a page must be valid."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def merged(self, by_room: Mapping[str, Sequence[Family]]) -> list[Family]:
        """One family a name; the first room to have it decides its kind and its help text."""
        first: dict[str, Family] = {}
        samples: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], Sample]] = {}
        for room, families in by_room.items():
            for family in families:
                if first.setdefault(family.name, family).kind != family.kind:
                    self._log(
                        room,
                        family.name,
                        f"it is a {family.kind} here, and a {first[family.name].kind} of another",
                    )
                    continue
                kept = samples.setdefault(family.name, {})
                for sample in family.samples:
                    key = (sample.suffix, frozenset(sample.labels.items()))
                    if kept.setdefault(key, sample) is not sample:
                        self._log(room, family.name, "these labels are there already")
        return [
            dataclasses.replace(family, samples=list(samples[name].values()))
            for name, family in first.items()
        ]

    def _log(self, room: str, name: str, reason: str) -> None:
        if (room, name) not in self._logged:
            self._logged.add((room, name))
            log.error(
                "a room's metric is left out of the page",
                extra={PROGRAM: room, OBJECT: name, REASON: reason},
            )
