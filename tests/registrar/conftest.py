import os
from collections.abc import Iterator

import pytest

from tests.registrar import registrar_main
from tests.registrar.registrar_place import PEER, Ours, Peer, Place, Subject, new_place
from tests.registrar.tiny_driver import TinyDriver, tiny_driver
from tests.support.preloaded import Preloaded, preloaded


@pytest.fixture(scope="session")
def registrar_programs() -> Iterator[Preloaded]:
    with preloaded(registrar_main.__name__) as programs:
        yield programs


@pytest.fixture
def ours(registrar_programs: Preloaded) -> Ours:
    return Ours(registrar_programs)


@pytest.fixture(params=["ours", "upstream"])
def subject(request: pytest.FixtureRequest, ours: Ours) -> Subject:
    """The program under test: ours, and upstream's where the machine has it."""
    if request.param == "ours":
        return ours
    path = os.environ.get(PEER, "")
    if not path:
        pytest.skip(f"variable {PEER} names no program")
    return Peer(path)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as made:
        yield made


@pytest.fixture
def driver(place: Place) -> Iterator[TinyDriver]:
    """A driver that answers at the place's socket."""
    with tiny_driver(place.driver_socket) as made:
        yield made
