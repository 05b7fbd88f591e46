import os
from collections.abc import Iterator

import pytest

from tests.livenessprobe.program import MODULE, PEER, Command, Ours, Place, Subject, new_place
from tests.support.preloaded import Preloaded, preloaded


@pytest.fixture(scope="session")
def livenessprobe_programs() -> Iterator[Preloaded]:
    with preloaded(MODULE) as programs:
        yield programs


@pytest.fixture
def ours(livenessprobe_programs: Preloaded) -> Ours:
    return Ours(livenessprobe_programs)


@pytest.fixture(params=["ours", "upstream"])
def subject(request: pytest.FixtureRequest, ours: Ours) -> Subject:
    """The program under test: ours, and upstream's where the machine has it."""
    if request.param == "ours":
        return ours
    path = os.environ.get(PEER, "")
    if not path:
        pytest.skip(f"variable {PEER} names no program")
    return Command(path, is_ours=False)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as made:
        yield made
