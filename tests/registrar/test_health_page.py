"""What the health page makes of whatever is at the path (sidecars reference, A8), without a registrar around it."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sidecars.registrar.healthz import HealthPage
from sidecars.registrar.publication import Publication
from sidecars.registrar.standing import Board
from tests.registrar.registrar_place import ENDPOINT, RPC_SECONDS, Place
from tests.registrar.tiny_driver import NAME
from tests.support.waiting import wait_until

SHORT_SECONDS = 0.05


@pytest.fixture
def board(place: Place) -> Board:
    """Of a registration that kubelet has confirmed, as far as the registrar knows."""
    made = Board(ENDPOINT)
    made.with_driver(NAME, place.socket_path)
    made.registered(1.0)
    return made


def ask(board: Board, *, timeout_seconds: float = RPC_SECONDS) -> tuple[int, str]:
    page = HealthPage(board, timeout_seconds=timeout_seconds).page({})
    return page.status, page.body


@contextlib.contextmanager
def published(place: Place) -> Iterator[None]:
    publication = Publication(
        directory=place.registry,
        driver_name=NAME,
        endpoint=ENDPOINT,
        on_verdict=lambda _is_registered, _error: None,
        on_change=lambda: None,
        on_wait=lambda _reason: None,
    )
    assert publication.serve(threading.Event())
    try:
        yield
    finally:
        publication.withdraw()


@contextlib.contextmanager
def mute(place: Place, backlog: int = 64) -> Iterator[socket.socket]:
    """A server that accepts what the kernel accepts for it, and never says a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(place.socket_path)
        made.listen(backlog)
        yield made


def test_a_socket_that_answers_is_ok(place: Place, board: Board) -> None:
    with published(place):
        assert ask(board) == (200, "ok")


def test_no_socket_is_a_404(board: Board) -> None:
    assert ask(board) == (404, "registration socket does not exist")


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_socket_is_a_500(place: Place, board: Board, kind: str) -> None:
    if kind == "file":
        os.close(os.open(place.socket_path, os.O_CREAT))
    else:
        os.mkdir(place.socket_path)
    assert ask(board) == (500, f"{place.socket_path} is not a socket")


def test_a_path_that_cannot_be_looked_at_is_a_500(place: Place, board: Board) -> None:
    os.rmdir(place.registry)
    os.close(os.open(place.registry, os.O_CREAT))
    assert ask(board) == (500, f"cannot look at {place.socket_path}: Not a directory")


def test_a_stale_socket_is_a_500_at_once(place: Place, board: Board) -> None:
    with mute(place):
        pass
    begun = time.monotonic()
    assert ask(board, timeout_seconds=60.0) == (
        500,
        f"error connecting to node-registrar socket {place.socket_path}: Connection refused",
    )
    assert time.monotonic() - begun < 30.0


def test_a_server_that_says_nothing_is_a_500_when_the_time_is_over(place: Place, board: Board) -> None:
    with mute(place):
        assert ask(board, timeout_seconds=SHORT_SECONDS) == (
            500,
            f"error connecting to node-registrar socket {place.socket_path}: timed out",
        )


def test_a_server_with_a_full_backlog_is_a_500_when_the_time_is_over(place: Place, board: Board) -> None:
    with mute(place, backlog=0), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
        first.connect(place.socket_path)
        status, text = ask(board, timeout_seconds=SHORT_SECONDS)
        assert (status, text.endswith(": timed out")) == (500, True)


def test_a_server_of_another_kind_is_a_500(place: Place, board: Board) -> None:
    with mute(place) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        status, text = ask(board)
        thread.join()
        assert (status, text.endswith("it hung up at once")) == (500, True)


@pytest.mark.parametrize("what", ["ok", "mute", "stale", "no socket"])
def test_many_looks_leave_no_descriptor_and_no_thread_behind(place: Place, board: Board, what: str) -> None:
    with contextlib.ExitStack() as stack:
        if what == "ok":
            stack.enter_context(published(place))
        elif what == "no socket":
            os.mkdir(place.socket_path)
        else:
            server = stack.enter_context(mute(place, backlog=1024))
            if what == "stale":
                server.close()
        for _ in range(10):
            ask(board, timeout_seconds=0.005 if what == "mute" else RPC_SECONDS)
        before = descriptors(), threads()
        for _ in range(100):
            ask(board, timeout_seconds=0.005 if what == "mute" else RPC_SECONDS)
        # Those of gRPC's server, which is in this process here, go in their own time.
        wait_until(lambda: descriptors() <= before[0] + 5, f"descriptors are {before[0]} again")
        wait_until(lambda: threads() <= before[1] + 4, f"threads are {before[1]} again")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    return len(os.listdir("/proc/self/task"))
