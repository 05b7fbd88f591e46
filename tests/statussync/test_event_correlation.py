"""Equal Events are counted, similar ones put together, each pod has a limit, and memory has one, too."""

import dataclasses

from sidecars.statussync.kube.event_correlation import COMBINED, Correlator, Occurrence
from sscsi.core.pod_event import FAILED_SECRET, PodEvent
from tests.statussync.making import make_event

START = 1_764_000_000.0


class Told:
    """A correlator with a clock; `tell` is what the API shall have then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.correlator = Correlator(lambda: self.now)

    def tell(self, event: PodEvent) -> Occurrence | None:
        occurrence = self.correlator.take_in(event, START + self.now)
        return dataclasses.replace(occurrence) if occurrence else None

    def certainly(self, event: PodEvent) -> Occurrence:
        occurrence = self.tell(event)
        assert occurrence is not None
        return occurrence


def test_an_equal_event_within_ten_minutes_is_the_same_with_a_higher_count() -> None:
    told = Told()
    first = told.certainly(make_event())
    told.now = 599.0
    second = told.certainly(make_event())
    assert (second.name, second.first_at, second.last_at) == (first.name, START, START + 599.0)
    assert (first.count, second.count) == (1, 2)


def test_after_ten_minutes_without_it_an_equal_event_is_a_new_one() -> None:
    told = Told()
    first = told.certainly(make_event())
    told.now = 601.0
    again = told.certainly(make_event())
    assert again.name != first.name
    assert (again.count, again.first_at) == (1, START + 601.0)


def test_events_of_another_pod_reason_or_message_are_others() -> None:
    told = Told()
    events = [
        make_event(),
        make_event(pod_uid="uid-2"),
        make_event(reason=FAILED_SECRET),
        make_event(message="other"),
    ]
    assert len({told.certainly(event).name for event in events}) == len(events)


def test_more_than_ten_similar_messages_are_put_together_under_one_event() -> None:
    told = Told()
    occurrences = [told.certainly(make_event(message=f"no {number}")) for number in range(15)]
    assert len({occurrence.name for occurrence in occurrences}) == 11
    assert [occurrence.count for occurrence in occurrences[10:]] == [1, 2, 3, 4, 5]
    assert occurrences[-1].message == COMBINED + "no 14"
    assert told.certainly(make_event(message="no 3")).message == "no 3"
    told.now = 601.0
    assert told.certainly(make_event(message="no 15")).message == "no 15"


def test_a_combined_message_is_cut_like_any_other() -> None:
    told = Told()
    for number in range(11):
        last = told.certainly(make_event(message=f"{number:02}" + "x" * 1022))
    assert len(last.message) == 1024


def test_a_pod_has_twenty_five_at_once_and_one_in_five_minutes() -> None:
    told = Told()
    assert sum(told.tell(make_event()) is not None for _ in range(100)) == 25
    assert told.tell(make_event(pod_uid="another")) is not None
    told.now = 301.0
    allowed = told.certainly(make_event())
    assert allowed.count == 101
    assert told.tell(make_event()) is None


def test_what_is_remembered_is_bounded() -> None:
    told = Told()
    for number in range(3000):
        told.tell(make_event(pod_uid=f"uid-{number}", message=f"no {number}"))
    parts = (told.correlator._similar, told.correlator._occurrences, told.correlator._allowed)
    assert [len(part._entries) for part in parts] == [1000, 1000, 1000]
    assert told.certainly(make_event(pod_uid="uid-0", message="no 0")).count == 1


def test_a_long_pod_name_leaves_room_for_what_is_behind_it() -> None:
    name = Told().certainly(make_event(pod_name="p" * 219 + "." + "p" * 33)).name
    assert len(name) <= 253
    assert ".." not in name
