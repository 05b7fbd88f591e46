"""The other rooms of the appliance, as far as health pages see them: their state sockets, told what to say."""

import contextlib
import os
import threading
from collections.abc import Iterator

from sscsi.core.prometheus import Family
from sscsi.core.room_status import RoomStatus
from sscsi.edges.room_status import state_server
from tests.livenessprobe.program import Place

WELL = {
    "node": RoomStatus(state="serving", facts={"providers": "fake,vault"}),
    "registrar": RoomStatus(state="registered"),
    "statussync": RoomStatus(state="serving", facts={"node_connected": "true"}),
}


class FakeRoom:
    """A room that tells `status` and `families`; while `go_on` is clear it takes the question and does not answer."""

    def __init__(self, name: str) -> None:
        self.status = WELL[name]
        self.families: list[Family] = []
        self.questions = 0
        self.metrics_questions = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def look(self) -> RoomStatus:
        self.questions += 1
        self.go_on.wait(60)
        return self.status

    def metrics(self) -> list[Family]:
        self.metrics_questions += 1
        self.go_on.wait(60)
        return self.families


@contextlib.contextmanager
def fake_room(place: Place, name: str) -> Iterator[FakeRoom]:
    """A room that serves its real state socket until the block ends."""
    room = FakeRoom(name)
    server = state_server(place.run, name, room.look, room.metrics)
    assert server.serve(threading.Event())
    try:
        yield room
    finally:
        room.go_on.set()
        server.stop_accepting(0).wait()
        server.close()


@contextlib.contextmanager
def fake_rooms(place: Place) -> Iterator[dict[str, FakeRoom]]:
    """All of them, by name."""
    os.makedirs(place.run, exist_ok=True)
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(fake_room(place, name)) for name in WELL}
