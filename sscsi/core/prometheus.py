"""Metrics in Prometheus' text format, version 0.0.4.

Nothing here is safe for threads; whoever counts in several has a lock. What a library would do besides (registries,
collectors, multi-process files) is not wanted, and costs memory (docs/dependencies.md).
"""

import dataclasses
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

Labels = Mapping[str, str]

UPSTREAM_OS: Labels = {"os_type": "linux"}
"""The label that each of the upstream driver's metrics has."""
UPSTREAM_BOUNDS = (*(0.1 * (2 / 0.1) ** (step / 10) for step in range(10)), 2.0)
"""Seconds: eleven steps from 0.1 to 2, each by the same factor, as the upstream driver's histograms have them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One line: the name's suffix (`_bucket`), the labels, the value."""

    suffix: str
    labels: Labels
    value: float


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """One metric with all of its samples."""

    name: str
    kind: str
    about: str
    samples: Sequence[Sample]


def gauge(name: str, about: str, values: Iterable[tuple[Labels, float]]) -> Family:
    """A metric that goes up and down."""
    return Family(name, "gauge", about, [Sample("", labels, value) for labels, value in values])


def counter(name: str, about: str, values: Iterable[tuple[Labels, float]]) -> Family:
    """A metric that only goes up; its name ends in `_total`."""
    return Family(name, "counter", about, [Sample("", labels, value) for labels, value in values])


class Counter:
    """Numbers that only go up, one for each set of label values that was named. `const` goes behind them in each line."""

    def __init__(
        self, name: str, about: str, *, label_names: Sequence[str] = (), const: Labels | None = None
    ) -> None:
        self._name = name
        self._about = about
        self._label_names = tuple(label_names)
        self._const = dict(const or {})
        self._counts: dict[tuple[str, ...], float] = {}

    def add(self, label_values: tuple[str, ...] = (), n: float = 1) -> None:
        """Count `n` more; `label_values` in the order of the names."""
        self._counts[label_values] = self._counts.get(label_values, 0) + n

    def zero(self, label_values: tuple[str, ...] = ()) -> None:
        """Show these label values from now on, with 0 until they are counted."""
        self._counts.setdefault(label_values, 0)

    def family(self) -> Family:
        """Its present state."""
        return counter(
            self._name,
            self._about,
            [
                ({**dict(zip(self._label_names, label_values, strict=True)), **self._const}, count)
                for label_values, count in sorted(self._counts.items())
            ],
        )


class Histogram:
    """Counts of values by upper bounds, for each set of label values that was named. `const` as for Counter."""

    def __init__(
        self,
        name: str,
        about: str,
        *,
        label_names: Sequence[str] = (),
        bounds: Sequence[float],
        const: Labels | None = None,
    ) -> None:
        self._name = name
        self._about = about
        self._label_names = tuple(label_names)
        self._const = dict(const or {})
        self._bounds = (*bounds, math.inf)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, label_values: tuple[str, ...], value: float) -> None:
        """Count one value; `label_values` in the order of the names."""
        self.zero(label_values)
        self._counts[label_values][bisect_left(self._bounds, value)] += 1
        self._sums[label_values] += value

    def zero(self, label_values: tuple[str, ...] = ()) -> None:
        """Show these label values from now on, with 0 until a value is counted."""
        if label_values not in self._counts:
            self._counts[label_values] = [0] * len(self._bounds)
            self._sums[label_values] = 0.0

    def family(self) -> Family:
        """Its present state."""
        samples: list[Sample] = []
        for label_values, counts in sorted(self._counts.items()):
            labels = {**dict(zip(self._label_names, label_values, strict=True)), **self._const}
            total = 0
            for bound, count in zip(self._bounds, counts, strict=True):
                total += count
                samples.append(Sample("_bucket", {**labels, "le": format_number(bound)}, total))
            samples.append(Sample("_sum", labels, self._sums[label_values]))
            samples.append(Sample("_count", labels, total))
        return Family(self._name, "histogram", self._about, samples)


def text(families: Iterable[Family]) -> str:
    """The page. Families are sorted by name."""
    return "".join(map(family_text, sorted(families, key=lambda family: family.name)))


def family_text(family: Family) -> str:
    """One family's part of the page; one without samples is left out, as Go's library does."""
    if not family.samples:
        return ""
    lines = [f"# HELP {family.name} {_escape(family.about)}", f"# TYPE {family.name} {family.kind}"]
    lines += [_line(family.name, sample) for sample in family.samples]
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    pairs = ",".join(f'{label}="{_escape(value, quote=True)}"' for label, value in sample.labels.items())
    return (
        f"{name}{sample.suffix}{{{pairs}}} " + format_number(sample.value)
        if pairs
        else (f"{name}{sample.suffix} {format_number(sample.value)}")
    )


def _escape(value: str, *, quote: bool = False) -> str:
    value = value.replace("\\", "\\\\").replace("\n", "\\n")
    return value.replace('"', '\\"') if quote else value


def format_number(value: float) -> str:
    """A number as the format has it: `1`, `0.25`, `+Inf`."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
