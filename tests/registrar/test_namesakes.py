"""Another driver of the same name on the node: told once by the registrar and by `sscsi doctor`, and over when it is gone."""

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from sidecars.registrar.namesakes import Namesakes
from sscsi.cli.doctor_appliance import check_same_driver
from sscsi.cli.doctor_place import find_place
from sscsi.core.finding import Outcome, Word
from tests.registrar.registrar_place import Ours, Place, new_place, notify, running
from tests.registrar.tiny_driver import NAME, TinyDriver, tiny_driver
from tests.support.waiting import wait_until

MESSAGE = "another driver of the same name is on this node"
OVER = "the other driver of the same name is gone"
TWICE = f"{NAME} is registered 2 times, by other-reg.sock and {NAME}-reg.sock"


@contextlib.contextmanager
def another(ours: Ours, place: Place, name: str) -> Iterator[None]:
    """A registrar of another driver of that name, whose socket is `other-reg.sock`."""
    with new_place() as theirs, tiny_driver(theirs.driver_socket, name=name), running(ours, theirs) as made:
        published = f"{theirs.registry}/{name}-reg.sock"
        made.wait_published(published)
        # As a socket that another program serves under a name of its own.
        os.link(published, f"{place.registry}/other-reg.sock")
        yield


def doctor(place: Place) -> Word:
    variables = {
        "CSI_ENDPOINT": f"unix://{place.driver_socket}",
        "KUBE_NODE_NAME": "node-1",
        "SSCSI_REGISTRATION_DIR": place.registry,
    }
    (word,) = check_same_driver(find_place(variables, place.run_directory, "", timeout_seconds=10.0))
    return word


def test_it_is_told_once_with_the_cure_until_it_is_gone(ours: Ours, place: Place, driver: TinyDriver) -> None:
    with running(ours, place, f"--run-dir={place.run_directory}") as made:
        made.wait_published()
        notify(place.socket_path)
        with another(ours, place, NAME):
            wait_until(lambda: any(TWICE in one for one in made.status().problems), "it is shown")
            (problem,) = made.status().problems
            word = doctor(place)
            assert (word.outcome, problem) == (Outcome.FAIL, f"{word.found}; {word.cure}")
            assert "remove one of the two drivers from this node" in word.cure
        place.remove("other-reg.sock")
        wait_until(lambda: not made.status().problems, "it is over")
        made.wait_log(OVER)
        log = made.log()
        assert (log.count(MESSAGE), log.count(TWICE)) == (1, 1)
        # Kubelet asks, and nobody else.
        assert "kubelet has asked" not in log
    assert doctor(place).outcome is Outcome.OK


def test_a_driver_of_another_name_and_a_socket_that_nobody_serves_are_nothing(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    seen = threading.Event()
    told: list[str] = []

    def tell(problem: str) -> None:
        told.append(problem)
        seen.set()

    with another(ours, place, "another.csi.example"):
        place.stale("stale-reg.sock")
        namesakes = Namesakes(place.registry, timeout_seconds=10.0, tell=tell)
        namesakes.look(NAME, f"{NAME}-reg.sock")
        assert seen.wait(60)
        assert told == [""]
        assert doctor(place).outcome is Outcome.OK


@pytest.mark.parametrize("own_name", ["", f"{NAME}-reg.sock"])
def test_sockets_are_asked_when_they_are_new_and_each_minute_while_one_does_not_answer(
    place: Place, ours: Ours, own_name: str
) -> None:
    now, told = [0.0], [0]

    def tell(_problem: str) -> None:
        told[0] += 1

    namesakes = Namesakes(place.registry, timeout_seconds=10.0, tell=tell, clock=lambda: now[0])

    def look(expected: int) -> None:
        def is_over() -> bool:
            namesakes.look(NAME, own_name)
            # Without a registration of our own nobody is asked.
            return told[0] == (expected if own_name else 0)

        wait_until(is_over, f"{expected} rounds are over")

    look(1)
    look(1)
    place.stale("new-reg.sock")
    look(2)
    now[0] += 61.0
    look(3)
    # Whoever answered is not asked again: a registrar may take each question for kubelet's.
    place.remove("new-reg.sock")
    look(4)
    wait_until(lambda: not is_asking(), "the round has ended")
    now[0] += 61.0
    namesakes.look(NAME, own_name)
    assert not is_asking()
    assert told[0] == (4 if own_name else 0)


def is_asking() -> bool:
    return "namesakes" in {thread.name for thread in threading.enumerate()}
