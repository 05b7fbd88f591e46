"""What the tests of the node room share: a place, a provider, a status-sync."""

from collections.abc import Iterator

import pytest

from tests.fakes import fake_provider, fake_status_sync
from tests.fakes.fake_provider import FakeProvider
from tests.fakes.fake_status_sync import FakeStatusSync
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import NodeInProcess, room_in_process


@pytest.fixture
def place() -> Iterator[NodePlace]:
    with node_place() as place:
        yield place


@pytest.fixture
def status_sync(place: NodePlace) -> Iterator[FakeStatusSync]:
    """Has the class default/app."""
    status_sync = FakeStatusSync()
    status_sync.add(fake_status_sync.make_class())
    with fake_status_sync.serving(status_sync, place.status_sync_socket()):
        yield status_sync


@pytest.fixture
def provider(place: NodePlace) -> Iterator[FakeProvider]:
    """The provider `fake`, which answers with one file."""
    with fake_provider.serving(FakeProvider(), place.provider_socket()) as provider:
        yield provider


@pytest.fixture
def classes_soon_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class counts without another question for a tenth of the second that it has in earnest."""
    monkeypatch.setattr("sscsi.node.room._CLASS_FRESH_SECONDS", 0.1)


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of a circuit's first pause, and a tenth of the time after which a failure that passes is told."""
    monkeypatch.setattr("sscsi.node.provider_gates._FIRST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr("sscsi.node.refresh_failures.LASTING_SECONDS", 1.0)


@pytest.fixture
def node(place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider) -> Iterator[NodeInProcess]:
    """A node room with upstream's defaults: rotation is off."""
    with room_in_process(place) as node:
        yield node


@pytest.fixture
def rotating(
    place: NodePlace, status_sync: FakeStatusSync, provider: FakeProvider
) -> Iterator[NodeInProcess]:
    """A node room that fetches again at every republish."""
    with room_in_process(place, "--enable-secret-rotation", "--rotation-poll-interval=0") as node:
        yield node
