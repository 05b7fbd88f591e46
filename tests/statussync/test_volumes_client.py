"""The watch of the node room's volumes, over a real socket: snapshot, changes, ends, and nothing that hangs."""

import pathlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecars.statussync.watch import VolumeWatch
from sscsi.core.published_volume import VolumeChange
from sscsi.core.refresh_ask import RefreshAsk
from sscsi.edges.volumes_grpc import VolumesClient
from sscsi.errors import RoomUnavailableError
from tests.statussync.fake_node_room import FakeNodeRoom
from tests.statussync.making import make_event, make_volume
from tests.support.waiting import wait_until


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNodeRoom]:
    room = FakeNodeRoom(str(tmp_path / "node.sock"))
    room.start()
    yield room
    room.stop()


def test_a_snapshot_comes_first_and_then_every_change(node: FakeNodeRoom) -> None:
    one, two = make_volume(pod_uid="1"), make_volume(pod_uid="2")
    node.put(one)
    client = VolumesClient(node.socket_path)
    watch = client.watch()
    assert next(watch) == VolumeChange(snapshot=True, volumes=(one,), removed_target_paths=())
    node.put(two)
    assert next(watch) == VolumeChange(snapshot=False, volumes=(two,), removed_target_paths=())
    node.remove(one)
    assert next(watch) == VolumeChange(snapshot=False, volumes=(), removed_target_paths=(one.target_path,))
    client.close()


def test_a_notice_comes_whole_and_changes_no_volume(node: FakeNodeRoom) -> None:
    client = VolumesClient(node.socket_path)
    watch = client.watch()
    next(watch)
    event = make_event(message="no: ü")
    node.notify(event)
    assert next(watch) == VolumeChange(snapshot=False, volumes=(), removed_target_paths=(), notices=(event,))
    client.close()


def test_a_node_room_that_is_away_is_said_so_with_its_socket(tmp_path: Path) -> None:
    client = VolumesClient(str(tmp_path / "none.sock"))
    with pytest.raises(RoomUnavailableError, match=r"none\.sock"):
        next(client.watch())
    client.close()


def test_a_node_room_that_stops_ends_the_watch_with_an_error(node: FakeNodeRoom) -> None:
    client = VolumesClient(node.socket_path)
    watch = client.watch()
    next(watch)
    node.stop()
    with pytest.raises(RoomUnavailableError):
        next(watch)
    client.close()


def test_a_watch_ends_in_good_order_when_its_time_is_over(node: FakeNodeRoom) -> None:
    client = VolumesClient(node.socket_path, watch_seconds=2.0)
    assert [change.snapshot for change in client.watch()] == [True]
    client.close()


def test_a_node_room_that_takes_the_watch_and_says_nothing_is_not_heard(node: FakeNodeRoom) -> None:
    node.mute = True
    client = VolumesClient(node.socket_path, watch_seconds=0.2)
    with pytest.raises(RoomUnavailableError, match=r"does not answer at .* \(DEADLINE_EXCEEDED\)"):
        next(client.watch())
    client.close()


def test_closing_ends_a_watch_that_waits_and_every_later_one(node: FakeNodeRoom) -> None:
    node.mute = True
    client = VolumesClient(node.socket_path)
    changes: list[VolumeChange] = []
    waiting = threading.Thread(target=lambda: changes.extend(client.watch()))
    waiting.start()
    wait_until(lambda: node.watches == 1, "the watch is held")
    client.close()
    waiting.join(60)
    assert not waiting.is_alive()
    assert changes == []
    assert list(client.watch()) == []


def test_wishes_come_whole_and_each_call_has_all_of_them(node: FakeNodeRoom) -> None:
    asks = [
        RefreshAsk(namespace="n", class_name="app", value="ü 1"),
        RefreshAsk(namespace="n", pod_name="web", pod_uid="uid-1", value="2"),
    ]
    client = VolumesClient(node.socket_path)
    client.ask_refresh(asks)
    client.ask_refresh([])
    client.close()
    assert node.asked == [asks, []]


def test_wishes_that_nobody_hears_are_said_so(tmp_path: Path) -> None:
    client = VolumesClient(str(tmp_path / "none.sock"))
    with pytest.raises(RoomUnavailableError, match=r"none\.sock \(UNAVAILABLE\)"):
        client.ask_refresh([])
    client.close()
    with pytest.raises(RoomUnavailableError, match="stopping"):
        client.ask_refresh([])


def test_closing_ends_an_ask_that_waits(node: FakeNodeRoom) -> None:
    node.hears_wishes = False
    client = VolumesClient(node.socket_path)
    ends: list[str] = []

    def ask() -> None:
        try:
            client.ask_refresh([])
        except RoomUnavailableError as error:
            ends.append(str(error))

    waiting = threading.Thread(target=ask)
    waiting.start()
    wait_until(lambda: node.asks == 1, "it is asked")
    client.close()
    waiting.join(60)
    assert not waiting.is_alive()
    assert "CANCELLED" in ends[0]


def test_a_change_whose_message_was_lost_comes_with_the_next_snapshot(node: FakeNodeRoom) -> None:
    seen: list[VolumeChange] = []
    client = VolumesClient(node.socket_path, watch_seconds=2.0)
    watch = VolumeWatch(client, seen.append, lambda: None)
    stop = threading.Event()
    runner = threading.Thread(target=watch.run, args=(stop,))
    runner.start()
    try:
        wait_until(lambda: watch.is_connected, "the watch is held")
        quiet = make_volume()
        node.put_quietly(quiet)
        wait_until(lambda: quiet in seen[-1].volumes, "the next snapshot has it")
        assert watch.is_connected
    finally:
        stop.set()
        client.close()
        runner.join(60)
    assert not runner.is_alive()


def test_who_asks_is_told_that_nothing_is_heard(tmp_path: pathlib.Path) -> None:
    losses: list[None] = []
    client = VolumesClient(str(tmp_path / "nobody.sock"), watch_seconds=30.0)
    watch = VolumeWatch(client, lambda _change: None, lambda: losses.append(None))
    stop = threading.Event()
    runner = threading.Thread(target=watch.run, args=(stop,))
    runner.start()
    try:
        wait_until(lambda: losses, "it is told")
        assert not watch.is_connected
    finally:
        stop.set()
        client.close()
        runner.join(60)
    assert not runner.is_alive()
