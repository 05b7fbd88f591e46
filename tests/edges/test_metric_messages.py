from hypothesis import given
from hypothesis import strategies as st

from sscsi.core.prometheus import Family, Sample
from sscsi.edges.metric_messages import from_messages, to_messages
from sscsi.pb import sscsi_pb2

# What a message of protobuf takes: no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SAMPLES = st.lists(
    st.builds(Sample, TEXT, st.dictionaries(TEXT, TEXT), st.floats(allow_nan=False)), min_size=1
)
FAMILIES = st.lists(st.builds(Family, TEXT, TEXT, TEXT, SAMPLES))


@given(FAMILIES)
def test_families_come_back_as_they_were_sent(families: list[Family]) -> None:
    sent = sscsi_pb2.RoomMetricsResponse(families=to_messages(families)).SerializeToString()
    assert from_messages(sscsi_pb2.RoomMetricsResponse.FromString(sent).families) == families


def test_labels_keep_their_order() -> None:
    labels = {"z": "1", "a": "2", "le": "3"}
    (family,) = from_messages(to_messages([Family("h", "histogram", "H.", [Sample("_bucket", labels, 1)])]))
    assert list(family.samples[0].labels) == ["z", "a", "le"]


def test_a_family_without_samples_is_not_sent() -> None:
    assert to_messages([Family("a", "gauge", "A.", [])]) == []
