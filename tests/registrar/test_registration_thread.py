"""The registration in this process, where a test can count its waits and move its clock."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import pytest

from sidecars.registrar.driver import Driver
from sidecars.registrar.healthz import HealthPage
from sidecars.registrar.patience import Verdict, judge
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

# Long after whatever these tests do; they move the clock.
REMIND_SECONDS = 1000.0
GIVE_UP_SECONDS = 5000.0


class CountingWatch(DirectoryWatch):
    """Counts its waits."""

    waits = 0

    def wait(self, seconds: float) -> None:
        self.waits += 1
        super().wait(seconds)


class ShortPauses(threading.Event):
    """What the registration waits for between two tries: told, and over in a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        return super().wait(min(timeout, 0.02))


class InProcess:
    """A registration in a thread, for which time goes on when a test says so."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.board = Board(ENDPOINT)
        self.watch = CountingWatch(place.registry)
        self.stop_event = ShortPauses()
        self.verdicts = 0
        self._ahead = 0.0
        self._registration = Registration(
            driver=Driver(place.driver_socket, timeout_seconds=60.0),
            endpoint=ENDPOINT,
            directory=place.registry,
            watch=self.watch,
            board=self.board,
            judge=self._judge,
        )
        self._thread = threading.Thread(target=self._registration.run, args=(self.stop_event,))
        self._thread.start()

    def _judge(self, *, now: float, published_at: float, asked_at: float | None) -> Verdict:
        verdict = judge(
            now=now + self._ahead,
            published_at=published_at,
            asked_at=asked_at,
            remind_seconds=REMIND_SECONDS,
            give_up_seconds=GIVE_UP_SECONDS,
        )
        self.verdicts += 1
        return verdict

    def go_on(self, seconds: float) -> None:
        """Let time go on, for the verdict on a publication that is there."""
        self._ahead += seconds
        self.watch.wake()

    def look_twice(self) -> None:
        """Until the registration has looked at its publication twice from now on, so at least once from its beginning."""
        for _ in range(2):
            verdicts = self.verdicts
            self.watch.wake()
            wait_until(lambda before=verdicts: self.verdicts > before, "it looks")  # type: ignore[misc]

    def publish_anew(self) -> None:
        """Let so much time go on that kubelet's word is waited for no longer; then time is as it was."""
        ahead, published = self._ahead, identity(self.place.socket_path)
        self.go_on(GIVE_UP_SECONDS)
        wait_until(lambda: not accepts(self.place.socket_path), "the socket is withdrawn")
        self._ahead = ahead
        wait_until(lambda: accepts(self.place.socket_path), "the socket is there again")
        assert identity(self.place.socket_path) != published

    def stop(self) -> None:
        self.stop_event.set()
        self.watch.wake()
        self._thread.join()
        self.watch.close()


@contextlib.contextmanager
def registration(place: Place) -> Iterator[InProcess]:
    made = InProcess(place)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def made(place: Place, driver: TinyDriver) -> Iterator[InProcess]:
    """Of a driver that answers; the socket is there."""
    with registration(place) as made:
        wait_until(lambda: accepts(place.socket_path), "the socket is published")
        yield made


def wait_seconds(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > deadline, "so much time has gone")


def test_a_driver_that_is_not_there_is_asked_several_times_a_second_however_long_it_takes(
    place: Place,
) -> None:
    with registration(place) as made:
        wait_until(lambda: len(made.stop_event.seconds) >= 20, "it is asked again and again")
        assert max(made.stop_event.seconds) <= 0.2


def test_a_registered_driver_costs_nothing_at_rest(made: InProcess) -> None:
    get_info(made.place.socket_path)
    notify(made.place.socket_path)
    wait_until(lambda: made.board.look().state == REGISTERED, "registered")
    wait_seconds(0.2)
    waits = made.watch.waits
    wait_seconds(1.0)
    assert made.watch.waits == waits


def test_a_kubelet_that_does_not_come_is_spoken_of_once(made: InProcess) -> None:
    made.go_on(REMIND_SECONDS)
    wait_until(lambda: made.board.look().problem, "it is spoken of")
    assert made.board.look().problem.startswith("kubelet has not asked")
    assert made.board.look().state == WAITING_FOR_KUBELET
    before = identity(made.place.socket_path), made.board.look().last_error_time
    made.go_on(REMIND_SECONDS + GIVE_UP_SECONDS)
    made.look_twice()
    assert (identity(made.place.socket_path), made.board.look().last_error_time) == before
    notify(made.place.socket_path)
    assert made.board.look().problem == ""


def test_a_kubelet_that_asked_and_says_no_more_is_given_a_new_socket(made: InProcess) -> None:
    """It lost its word, or we did: for this socket it does not say it again."""
    get_info(made.place.socket_path)
    made.go_on(REMIND_SECONDS)
    wait_until(lambda: made.board.look().problem, "it is spoken of")
    assert made.board.look().problem.startswith("kubelet has asked")
    made.publish_anew()


def test_a_confirmation_makes_the_pauses_short_again(made: InProcess) -> None:
    for number in range(1, 3):
        notify(made.place.socket_path)
        notify(made.place.socket_path, error="no")
        wait_until(lambda number=number: len(made.stop_event.seconds) == number, "it pauses")  # type: ignore[misc]
        wait_until(lambda: accepts(made.place.socket_path), "the socket is there again")
    assert made.stop_event.seconds == [1.0, 1.0]


def test_a_question_of_our_own_health_page_is_not_kubelets(made: InProcess) -> None:
    before = identity(made.place.socket_path)
    page = HealthPage(made.board, timeout_seconds=RPC_SECONDS).page({})
    assert page.body.startswith("kubelet has not confirmed")
    made.go_on(REMIND_SECONDS + GIVE_UP_SECONDS)
    made.look_twice()
    assert identity(made.place.socket_path) == before


def test_a_question_after_the_confirmation_is_green_until_the_answer_is_overdue(made: InProcess) -> None:
    """A kubelet that restarts asks anew: what it said before it ended counts no more."""
    socket_path = made.place.socket_path
    get_info(socket_path)
    notify(socket_path)
    page = HealthPage(made.board, timeout_seconds=RPC_SECONDS).page
    for _ in range(2):
        get_info(socket_path)
        assert (made.board.look().state, page({}).status) == (REGISTERED, 200)
        made.go_on(REMIND_SECONDS)
        wait_until(lambda: made.board.look().state == WAITING_FOR_KUBELET, "it is spoken of")
        assert made.board.look().problem.startswith("kubelet has asked and not said how it ended")
        assert page({}).status == 500
        notify(socket_path)
        assert (made.board.look().state, page({}).status) == (REGISTERED, 200)
        made.go_on(-REMIND_SECONDS)


def test_a_word_that_is_lost_after_a_confirmation_is_given_a_new_socket(made: InProcess) -> None:
    notify(made.place.socket_path)
    get_info(made.place.socket_path)
    made.go_on(REMIND_SECONDS)
    wait_until(lambda: made.board.look().state == WAITING_FOR_KUBELET, "it is spoken of")
    made.publish_anew()


def test_a_kubelet_that_restarts_while_the_driver_hangs_is_red_until_the_driver_answers(
    made: InProcess, place: Place, driver: TinyDriver
) -> None:
    with fake_kubelet(
        place.registry, period_seconds=0.05, host_path=lambda _path: place.driver_socket
    ) as kubelet:
        kubelet.wait_registered(NAME)
        driver.go_on.clear()
        verdicts = made.verdicts
        kubelet.restart()
        wait_until(lambda: made.verdicts > verdicts, "kubelet has asked and says no more")
        made.go_on(REMIND_SECONDS)
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
