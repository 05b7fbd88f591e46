"""A registrar without capabilities, as it is under `sscsi run`: what it may not do, it says."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.registrar import registrar_main
from tests.registrar.registrar_place import Ours, Place, Running, identity, running
from tests.support.require import require

OTHER_USER = 65534

pytestmark = pytest.mark.usefixtures("driver")


@contextlib.contextmanager
def registrar(ours: Ours, place: Place) -> Iterator[Running]:
    with running(ours, place, environ={registrar_main.RIGHTS: registrar_main.NO_RIGHTS}) as made:
        yield made


def test_a_directory_that_may_not_be_listed_is_looked_at_once_a_second(ours: Ours, place: Place) -> None:
    """Upstream needs no more than to write in it."""
    os.chmod(place.registry, 0o300)
    with registrar(ours, place) as made:
        made.wait_published()
        made.wait_log("the directory can't be watched")
        os.unlink(place.socket_path)
        made.wait_published()
        assert made.end(signal.SIGTERM) == 0
    os.chmod(place.registry, 0o700)
    assert place.names() == []


def test_a_directory_that_may_not_be_written_ends_the_program(ours: Ours, place: Place) -> None:
    os.chmod(place.registry, 0o500)
    with registrar(ours, place) as made:
        assert made.wait() == 1
        assert "is not writable" in made.log().splitlines()[-1]


def test_a_directory_that_may_not_be_entered_any_more_ends_the_program_with_its_name(
    ours: Ours, place: Place
) -> None:
    require("root")
    with registrar(ours, place) as made:
        made.wait_published()
        os.chmod(place.registry, 0o600)
        # Rights are no change that is told, a new name is; this process may make one.
        os.mkdir(f"{place.registry}/new")
        assert made.wait() == 1
        last = made.log().splitlines()[-1]
        assert last.startswith("sscsi-registrar: ")
        assert f"{place.registry!r}" in last


def test_a_socket_that_may_not_be_tried_is_waited_for_until_it_is_removed(ours: Ours, place: Place) -> None:
    require("root")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(place.socket_path)
    os.chown(place.socket_path, OTHER_USER, OTHER_USER)
    os.chmod(place.socket_path, 0o700)
    before = identity(place.socket_path)
    with registrar(ours, place) as made:
        made.wait_log(f"the socket at {place.socket_path} is user {OTHER_USER}'s, and user 0 may not try")
        assert identity(place.socket_path) == before
        os.unlink(place.socket_path)
        made.wait_published()


def test_a_lock_file_of_another_user_ends_the_program_with_the_cure(ours: Ours, place: Place) -> None:
    require("root")
    lock = f"{place.socket_path}.lock"
    os.close(os.open(lock, os.O_CREAT, 0o600))
    os.chown(lock, OTHER_USER, OTHER_USER)
    with registrar(ours, place) as made:
        assert made.wait() == 1
        last = made.log().splitlines()[-1]
        assert (
            f"{lock!r}: Permission denied; it is user {OTHER_USER}'s, and this is user 0: remove it" in last
        )
