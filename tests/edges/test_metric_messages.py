import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.prometheus import Family, Sample
from sscsi.edges.metric_messages import from_message, to_message
from sscsi.pb import sscsi_pb2

# What a message of protobuf takes: no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SAMPLES = st.lists(
    st.builds(Sample, TEXT, st.dictionaries(TEXT, TEXT), st.floats(allow_nan=False)), min_size=1
)
FAMILIES = st.lists(st.builds(Family, TEXT, TEXT, TEXT, SAMPLES))


@given(FAMILIES)
def test_families_come_back_as_they_were_sent(families: list[Family]) -> None:
    sent = to_message(families).SerializeToString()
    received = from_message(sscsi_pb2.RoomMetricsResponse.FromString(sent))
    assert [dataclasses.replace(family, samples=list(family.samples)) for family in received] == families


def test_labels_keep_their_order() -> None:
    labels = {"z": "1", "a": "2", "le": "3"}
    samples = [Sample("_bucket", labels, 1), Sample("_sum", {}, 2), Sample("_count", {}, 3)]
    (family,) = from_message(to_message([Family("h", "histogram", "H.", samples)]))
    assert list(family.samples[0].labels) == ["z", "a", "le"]
    assert len(family.samples) == 3
    assert family.samples[1:] == samples[1:]


def test_a_family_without_samples_is_not_sent() -> None:
    assert from_message(to_message([Family("a", "gauge", "A.", [])])) == []
