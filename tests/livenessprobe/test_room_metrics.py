"""What the rooms count, on the page: put together, and whatever becomes of a room."""

import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecars.livenessprobe.family_merge import FamilyMerge
from sscsi.core.prometheus import Counter, Family, Histogram, counter, gauge, text
from tests.livenessprobe.metrics_text import Samples, named, names, parse
from tests.livenessprobe.program import Ours, Place, Running, get, metrics, running
from tests.livenessprobe.rooms import FakeRoom, fake_room, fake_rooms
from tests.support.waiting import wait_until


def families(room: str, value: float = 1.0) -> list[Family]:
    histogram = Histogram("shared_seconds", "Shared.", label_names=("room",), bounds=(1,))
    histogram.observe((room,), value)
    return [
        histogram.family(),
        counter("shared_total", "Shared.", [({"room": room}, value)]),
        gauge(f"own_of_{room}", "Its own.", [({}, value)]),
    ]


@pytest.fixture
def rooms(place: Place) -> Iterator[dict[str, FakeRoom]]:
    with fake_rooms(place) as made:
        for name, room in made.items():
            room.families = families(name)
        yield made


@pytest.fixture
def page(ours: Ours, place: Place) -> Iterator[Running]:
    flags = (f"--run-dir={place.run}", "--http-endpoint=127.0.0.1:0", "--require-registration")
    with running(ours, place, *flags) as program:
        yield program


def scrape(page: Running, *rooms: str) -> Samples:
    """The page once it has the metrics of these rooms: who is slow to answer is not waited for."""
    found: list[Samples] = []

    def has_all() -> bool:
        found.append(metrics(page.address()))
        return all(f"own_of_{room}" in names(found[-1]) for room in rooms)

    wait_until(has_all, f"{rooms} have answered")
    return found[-1]


def test_the_page_has_the_metrics_of_every_room(rooms: dict[str, FakeRoom], page: Running) -> None:
    samples = scrape(page, *rooms)
    for name in rooms:
        assert named(samples, f"own_of_{name}") == 1
        assert named(samples, "shared_total", room=name) == 1
        assert named(samples, "shared_seconds_count", room=name) == 1
    kinds = {
        family.name: (family.type, len(family.samples))
        for family in text_string_to_metric_families(get(page.address(), "/metrics").body)
    }
    # The parser takes the suffix of a counter off.
    assert kinds["shared"] == ("counter", 3)
    assert kinds["shared_seconds"] == ("histogram", 12)


def test_new_figures_are_there_when_the_old_ones_are_a_second_old(
    rooms: dict[str, FakeRoom], page: Running
) -> None:
    assert named(scrape(page, "node"), "own_of_node") == 1
    rooms["node"].families = families("node", 2.0)
    wait_until(lambda: named(metrics(page.address()), "own_of_node") == 2, "the new figures are there")


def test_a_dead_room_has_no_metrics_and_the_others_have_theirs(place: Place, page: Running) -> None:
    with fake_room(place, "statussync") as room:
        room.families = families("statussync")
        samples = scrape(page, "statussync")
    assert named(samples, "sscsi_room_up", room="node") == 0
    assert named(samples, "own_of_statussync") == 1
    assert "own_of_node" not in names(samples)


def test_a_room_that_dies_takes_its_figures_along(place: Place, page: Running) -> None:
    with fake_room(place, "node") as room:
        room.families = families("node")
        wait_until(lambda: "own_of_node" in names(metrics(page.address())), "its figures are there")

    def are_gone(samples: Samples) -> bool:
        return named(samples, "sscsi_room_up", room="node") == 0 and "own_of_node" not in names(samples)

    wait_until(lambda: are_gone(metrics(page.address())), "its figures are gone")


def test_a_hanging_room_fails_no_scrape_and_the_others_have_their_figures(
    rooms: dict[str, FakeRoom], page: Running
) -> None:
    rooms["node"].go_on.clear()
    scrape(page, "statussync")
    begun = time.monotonic()
    samples = [metrics(page.address()) for _ in range(5)]
    # The room would keep each of them for a minute.
    assert time.monotonic() - begun < 30
    for each in samples:
        assert named(each, "sscsi_room_up", room="node") == 0
        assert "own_of_node" not in names(each)
        assert named(each, "own_of_statussync") == 1
    rooms["node"].go_on.set()
    wait_until(lambda: "own_of_node" in names(metrics(page.address())), "it is back")


def test_a_slow_rooms_last_figures_stand_in(rooms: dict[str, FakeRoom], page: Running) -> None:
    assert named(scrape(page, "node"), "own_of_node") == 1
    rooms["node"].go_on.clear()
    wait_until(
        lambda: named(metrics(page.address()), "sscsi_room_up", room="node") == 0, "the room does not answer"
    )
    assert named(metrics(page.address()), "own_of_node") == 1


def test_a_room_whose_figures_can_not_be_told_fails_no_scrape(
    rooms: dict[str, FakeRoom], page: Running
) -> None:
    # Not UTF-8: the room can't put it into a message.
    rooms["node"].families = [gauge("own_of_node", "\ud800", [({}, 1)])]
    wait_until(lambda: named(metrics(page.address()), "sscsi_room_up", room="node") == 1, "it answers")
    samples = scrape(page, "registrar")
    assert "own_of_node" not in names(samples)
    assert named(samples, "own_of_registrar") == 1


class TestMerge:
    def test_families_of_one_name_become_one(self) -> None:
        merged = list(FamilyMerge().merged({"a": families("a"), "b": families("b"), "c": []}))
        samples = parse(text(merged))
        assert [named(samples, "shared_total", room=room) for room in "ab"] == [1, 1]
        assert text(merged).count("# TYPE shared_total counter") == 1

    def test_a_family_of_another_kind_is_left_out_and_logged_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        merge = FamilyMerge()
        rooms = {"a": [gauge("x", "X.", [({"a": "1"}, 1)])], "b": [counter("x", "X.", [({"b": "1"}, 2)])]}
        for _ in range(3):
            assert parse(text(merge.merged(rooms))) == {("x", frozenset({("a", "1")})): 1}
        (record,) = caplog.records
        assert (record.__dict__["program"], record.__dict__["object"]) == ("b", "x")

    def test_labels_that_are_there_already_are_left_out_and_logged_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        merge, counted = FamilyMerge(), Counter("x_total", "X.")
        counted.add()
        other = Counter("x_total", "X.")
        other.add(n=5)
        for _ in range(3):
            merged = list(merge.merged({"a": [counted.family()], "b": [other.family()]}))
            assert parse(text(merged)) == {("x_total", frozenset()): 1}
        assert len(caplog.records) == 1
