"""`sscsi.v1.MetricFamily` messages from families, and back, with as little memory as that takes.

A page has thousands of samples, of which one at a time is needed as an object: a message is far smaller.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from sscsi.core.prometheus import Family, Sample
from sscsi.pb import sscsi_pb2


def to_message(families: Iterable[Family]) -> sscsi_pb2.RoomMetricsResponse:
    """The families that have samples; one without is not shown on any page."""
    response = sscsi_pb2.RoomMetricsResponse()
    for family in families:
        if not family.samples:
            continue
        message = response.families.add(name=family.name, kind=family.kind, about=family.about)
        for sample in family.samples:
            # Made in place: each message that is made by itself has memory of its own to begin with.
            row = message.samples.add(suffix=sample.suffix, value=sample.value)
            for name, value in sample.labels.items():
                row.labels.add(name=name, value=value)
    return response


def from_message(message: sscsi_pb2.RoomMetricsResponse) -> list[Family]:
    """The families; their samples, with the labels in the order in which they came, are made when they are looked at."""
    return [
        Family(name=family.name, kind=family.kind, about=family.about, samples=_Samples(family.samples))
        for family in message.families
    ]


class _Samples(Sequence[Sample]):
    """Samples that are messages until somebody looks."""

    def __init__(self, messages: Sequence[sscsi_pb2.MetricSample]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Sample]:
        return map(_sample, self._messages)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [_sample(message) for message in self._messages[index]]
        return _sample(self._messages[index])


def _sample(message: sscsi_pb2.MetricSample) -> Sample:
    return Sample(message.suffix, {label.name: label.value for label in message.labels}, message.value)
