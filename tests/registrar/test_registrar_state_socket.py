"""The registrar's state socket, by which health pages and `sscsi status` know of the registration: it comes back."""

import os
import shutil

import pytest

from sidecars.registrar.standing import REGISTERED
from sscsi.core.run_files import STATE_SOCKETS
from tests.registrar.registrar_place import Ours, Place, identity, notify, running
from tests.registrar.tiny_driver import TinyDriver
from tests.support.waiting import wait_until


@pytest.mark.parametrize("what", ["the socket", "the directory"])
def test_a_state_socket_that_was_removed_is_made_anew_and_the_registration_stays(
    ours: Ours, place: Place, driver: TinyDriver, what: str
) -> None:
    state_socket = f"{place.run_directory}/{STATE_SOCKETS['registrar']}"
    with running(ours, place, f"--run-dir={place.run_directory}") as made:
        made.wait_published()
        notify(place.socket_path)
        made.wait_state(REGISTERED)
        registration = identity(place.socket_path)
        if what == "the socket":
            os.unlink(state_socket)
        else:
            shutil.rmtree(place.run_directory)
        wait_until(lambda: os.path.exists(state_socket), "the state socket is there again")
        assert made.wait_state(REGISTERED).facts["registrations"] == "1"
        assert identity(place.socket_path) == registration
        assert made.log().count("the socket was replaced or removed") == 1
