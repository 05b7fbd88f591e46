"""`sscsi.v1.MetricFamily` messages from families, and back."""

from collections.abc import Iterable

from sscsi.core.prometheus import Family, Sample
from sscsi.pb import sscsi_pb2


def to_messages(families: Iterable[Family]) -> list[sscsi_pb2.MetricFamily]:
    """A message for each family that has samples; one without is not shown on any page."""
    return [
        sscsi_pb2.MetricFamily(
            name=family.name,
            kind=family.kind,
            about=family.about,
            samples=[_to_message(sample) for sample in family.samples],
        )
        for family in families
        if family.samples
    ]


def from_messages(messages: Iterable[sscsi_pb2.MetricFamily]) -> list[Family]:
    """The families, with their labels in the order in which they came."""
    return [
        Family(
            name=message.name,
            kind=message.kind,
            about=message.about,
            samples=[
                Sample(sample.suffix, {label.name: label.value for label in sample.labels}, sample.value)
                for sample in message.samples
            ],
        )
        for message in messages
    ]


def _to_message(sample: Sample) -> sscsi_pb2.MetricSample:
    return sscsi_pb2.MetricSample(
        suffix=sample.suffix,
        labels=[sscsi_pb2.MetricLabel(name=name, value=value) for name, value in sample.labels.items()],
        value=sample.value,
    )
