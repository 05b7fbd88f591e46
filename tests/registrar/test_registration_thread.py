"""The registration in this process, where a test can count its waits and shorten its patience."""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Iterator

from sidecars.registrar.driver import Driver
from sidecars.registrar.healthz import HealthPage
from sidecars.registrar.patience import judge
from sidecars.registrar.publication import Publication
from sidecars.registrar.registration import Registration
from sidecars.registrar.standing import REGISTERED, WAITING_FOR_KUBELET, Board
from sscsi.edges.directory_watch import DirectoryWatch
from tests.registrar.registrar_place import (
    ENDPOINT,
    RPC_SECONDS,
    Place,
    accepts,
    get_info,
    identity,
    notify,
)
from tests.registrar.tiny_driver import NAME, TinyDriver
from tests.support.fake_kubelet import fake_kubelet
from tests.support.waiting import wait_until


class CountingWatch(DirectoryWatch):
    """Counts its waits."""

    waits = 0

    def wait(self, seconds: float) -> None:
        self.waits += 1
        super().wait(seconds)


class InProcess:
    """A registration in a thread."""

    def __init__(self, place: Place, *, remind_seconds: float, give_up_seconds: float) -> None:
        self.place = place
        self.board = Board(ENDPOINT)
        self.watch = CountingWatch(place.registry)
        self._stop = threading.Event()
        self._registration = Registration(
            driver=Driver(place.driver_socket, timeout_seconds=1.0),
            endpoint=ENDPOINT,
            directory=place.registry,
            watch=self.watch,
            board=self.board,
            judge=functools.partial(judge, remind_seconds=remind_seconds, give_up_seconds=give_up_seconds),
        )
        self._thread = threading.Thread(target=self._registration.run, args=(self._stop,))
        self._thread.start()
        wait_until(lambda: accepts(place.socket_path), "the socket is published")

    def stop(self) -> None:
        self._stop.set()
        self.watch.wake()
        self._thread.join()
        self.watch.close()


@contextlib.contextmanager
def registration(
    place: Place, *, remind_seconds: float = 60.0, give_up_seconds: float = 60.0
) -> Iterator[InProcess]:
    made = InProcess(place, remind_seconds=remind_seconds, give_up_seconds=give_up_seconds)
    try:
        yield made
    finally:
        made.stop()


def wait_seconds(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > deadline, "so much time has gone", seconds=seconds + 5)


def test_a_registered_driver_costs_nothing_at_rest(place: Place, driver: TinyDriver) -> None:
    with registration(place) as made:
        get_info(place.socket_path)
        notify(place.socket_path)
        wait_until(lambda: made.board.look().state == REGISTERED, "registered")
        wait_seconds(0.2)
        waits = made.watch.waits
        wait_seconds(1.0)
        assert made.watch.waits == waits


def test_a_kubelet_that_does_not_come_is_spoken_of_once(place: Place, driver: TinyDriver) -> None:
    with registration(place, remind_seconds=0.2) as made:
        wait_until(lambda: made.board.look().problem, "it is spoken of")
        assert made.board.look().problem.startswith("kubelet has not asked")
        assert made.board.look().state == WAITING_FOR_KUBELET
        before = identity(place.socket_path)
        wait_seconds(0.3)
        assert identity(place.socket_path) == before
        notify(place.socket_path)
        assert made.board.look().problem == ""


def test_a_kubelet_that_asked_and_says_no_more_is_given_a_new_socket(
    place: Place, driver: TinyDriver
) -> None:
    """It lost its word, or we did: for this socket it does not say it again."""
    with registration(place, remind_seconds=0.1, give_up_seconds=0.4) as made:
        before = identity(place.socket_path)
        get_info(place.socket_path)
        wait_until(lambda: made.board.look().problem, "it is spoken of")
        assert made.board.look().problem.startswith("kubelet has asked")
        wait_until(lambda: not accepts(place.socket_path), "the socket is withdrawn")
        wait_until(lambda: accepts(place.socket_path), "the socket is there again")
        assert identity(place.socket_path) != before


def test_a_confirmation_makes_the_pauses_short_again(place: Place, driver: TinyDriver) -> None:
    with registration(place):
        for _ in range(2):
            notify(place.socket_path)
            notify(place.socket_path, error="no")
            wait_until(lambda: not accepts(place.socket_path), "the socket is withdrawn")
            begun = time.monotonic()
            wait_until(lambda: accepts(place.socket_path), "the socket is there again")
            assert 0.9 < time.monotonic() - begun < 1.9


def test_a_question_of_our_own_health_page_is_not_kubelets(place: Place, driver: TinyDriver) -> None:
    with registration(place, remind_seconds=0.1, give_up_seconds=0.3) as made:
        before = identity(place.socket_path)
        page = HealthPage(made.board, timeout_seconds=RPC_SECONDS).page({})
        assert page.body.startswith("kubelet has not confirmed")
        wait_seconds(0.6)
        assert identity(place.socket_path) == before


def test_a_question_after_the_confirmation_is_green_until_the_answer_is_overdue(
    place: Place, driver: TinyDriver
) -> None:
    """A kubelet that restarts asks anew: what it said before it ended counts no more."""
    with registration(place, remind_seconds=0.5, give_up_seconds=60.0) as made:
        get_info(place.socket_path)
        notify(place.socket_path)
        page = HealthPage(made.board, timeout_seconds=RPC_SECONDS).page
        for _ in range(2):
            get_info(place.socket_path)
            assert (made.board.look().state, page({}).status) == (REGISTERED, 200)
            wait_until(lambda: made.board.look().state == WAITING_FOR_KUBELET, "it is spoken of")
            assert made.board.look().problem.startswith("kubelet has asked and not said how it ended")
            assert page({}).status == 500
            notify(place.socket_path)
            assert (made.board.look().state, page({}).status) == (REGISTERED, 200)


def test_a_word_that_is_lost_after_a_confirmation_is_given_a_new_socket(
    place: Place, driver: TinyDriver
) -> None:
    with registration(place, remind_seconds=0.1, give_up_seconds=0.4) as made:
        notify(place.socket_path)
        before = identity(place.socket_path)
        get_info(place.socket_path)
        wait_until(lambda: not accepts(place.socket_path), "the socket is withdrawn")
        assert made.board.look().state == WAITING_FOR_KUBELET
        wait_until(lambda: accepts(place.socket_path), "the socket is there again")
        assert identity(place.socket_path) != before


def test_a_kubelet_that_restarts_while_the_driver_hangs_is_red_until_the_driver_answers(
    place: Place, driver: TinyDriver
) -> None:
    with (
        registration(place, remind_seconds=0.3) as made,
        fake_kubelet(
            place.registry, period_seconds=0.05, host_path=lambda _path: place.driver_socket
        ) as kubelet,
    ):
        kubelet.wait_registered(NAME)
        driver.go_on.clear()
        kubelet.restart()
        wait_until(lambda: made.board.look().state == WAITING_FOR_KUBELET, "it is spoken of")
        driver.go_on.set()
        kubelet.wait_registered(NAME)
        wait_until(lambda: made.board.look().registrations == 2, "registered again")
        assert made.board.look().state == REGISTERED


def test_a_hundred_publications_leave_no_descriptor_and_no_thread_behind(place: Place) -> None:
    def publish() -> None:
        publication = Publication(
            directory=place.registry,
            driver_name=NAME,
            endpoint=ENDPOINT,
            on_verdict=lambda _is_registered, _error: None,
            on_change=lambda: None,
            on_wait=lambda _reason: None,
        )
        assert publication.serve(threading.Event())
        notify(place.socket_path)
        publication.withdraw()
        assert place.names() == []

    for _ in range(10):
        publish()
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(100):
        publish()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 2, "no descriptor more")
    wait_until(lambda: threading.active_count() <= threads + 2, "no thread more")
