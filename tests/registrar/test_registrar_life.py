"""A registration over time: late drivers, refusals, sockets and directories that go, kubelets that restart."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from sidecars.registrar.standing import REGISTERED, WAITING_FOR_DRIVER, WAITING_FOR_KUBELET
from tests.livenessprobe.metrics_text import named
from tests.registrar.registrar_place import (
    ENDPOINT,
    Ours,
    Place,
    Running,
    Subject,
    accepts,
    get_info,
    identity,
    notify,
    running,
)
from tests.registrar.tiny_driver import NAME, TinyDriver, tiny_driver
from tests.support.fake_kubelet import FakeKubelet, fake_kubelet
from tests.support.node_place import node_place
from tests.support.node_room import room_in_process
from tests.support.waiting import wait_until

MS_BIND = 4096


@contextlib.contextmanager
def kubelet_of(place: Place, *, period_seconds: float = 0.1) -> Iterator[FakeKubelet]:
    with fake_kubelet(
        place.registry,
        period_seconds=period_seconds,
        first_backoff_seconds=0.05,
        host_path=lambda _path: place.driver_socket,
    ) as kubelet:
        yield kubelet


@contextlib.contextmanager
def registrar(ours: Ours, place: Place, *flags: str) -> Iterator[Running]:
    with running(ours, place, f"--run-dir={place.run_directory}", *flags) as made:
        yield made


def test_a_driver_is_registered_and_all_of_it_is_told(ours: Ours, place: Place, driver: TinyDriver) -> None:
    before = time.time()
    with kubelet_of(place) as kubelet, registrar(ours, place) as made:
        assert kubelet.wait_registered(NAME).endpoint == ENDPOINT
        status = made.wait_state(REGISTERED)
        facts = dict(status.facts)
        assert before - 1 < float(facts.pop("registered_since")) < time.time() + 1
        assert facts == {
            "driver": NAME,
            "socket": place.socket_path,
            "endpoint": ENDPOINT,
            "registrations": "1",
            "last_error": "",
            "last_error_time": "",
        }
        assert (status.room, status.pid, tuple(status.problems)) == ("registrar", made.pid, ())


def test_a_driver_that_comes_late_is_registered(ours: Ours, place: Place) -> None:
    with registrar(ours, place) as made:
        made.wait_state(WAITING_FOR_DRIVER)
        made.wait_log("cannot connect to the CSI driver")
        with tiny_driver(place.driver_socket):
            made.wait_published()
        assert made.log().count("waiting for the driver") == 1


def test_the_socket_is_there_only_once_it_answers(ours: Ours, place: Place, driver: TinyDriver) -> None:
    """Kubelet asks within milliseconds of the file's appearance, and has one second for it."""
    with fake_kubelet(
        place.registry, period_seconds=0.001, host_path=lambda _path: place.driver_socket
    ) as kubelet:
        for _ in range(5):
            with running(ours, place) as made:
                kubelet.wait_registered(NAME, after=time.monotonic())
                made.end(signal.SIGTERM)
                wait_until(lambda: not kubelet.registered, "kubelet has forgotten the driver")
        assert kubelet.count("dial-failed") + kubelet.count("info-failed") == 0


def test_nothing_is_at_the_path_while_the_driver_is_waited_for(ours: Ours, place: Place) -> None:
    with registrar(ours, place) as made:
        made.wait_log("cannot connect to the CSI driver")
        assert place.names() == []


def test_a_name_that_cannot_be_registered_is_told_and_a_better_one_is_taken(ours: Ours, place: Place) -> None:
    with tiny_driver(place.driver_socket, name="../../etc/x") as driver, registrar(ours, place) as made:
        made.wait_log("which Kubernetes does not register")
        assert "'../../etc/x'" in made.status().problems[0]
        assert place.names() == []
        driver.name = NAME
        made.wait_published()


def test_a_driver_that_always_takes_longer_than_the_timeout_is_registered_all_the_same(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    driver.late_seconds = 0.15
    with registrar(ours, place, "--timeout=100ms") as made:
        made.wait_published()
        assert "was not answered in 0.1 s" in made.log()


def test_a_driver_that_stays_late_is_told_of_once_however_often_it_is_asked(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    driver.go_on.clear()
    with registrar(ours, place, "--timeout=20ms") as made:
        wait_until(lambda: driver.questions >= 4, "it was asked several times")
        made.wait_log("waiting for the driver")
        assert made.log().count("waiting for the driver") == 1
        wait_until(
            lambda: "was not answered in 0.02 s" not in made.status().problems[0],
            "the status tells how long the last question had",
        )


def test_who_is_asked_is_told_before_the_first_answer(ours: Ours, place: Place, driver: TinyDriver) -> None:
    driver.go_on.clear()
    with registrar(ours, place, "--timeout=30s") as made:
        made.wait_log("asking the driver")
        assert place.driver_socket in made.log()
        assert made.is_alive()


def test_a_server_that_is_no_driver_is_told_as_such(ours: Ours, place: Place) -> None:
    with registrar(ours, place, f"--csi-address={place.run_directory}/registrar.sock") as made:
        made.wait_log("is it a CSI driver's socket?")


def test_a_socket_that_is_full_of_connections_is_waited_for(ours: Ours, place: Place) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.bind(place.driver_socket)
        mute.listen(1)
        with registrar(ours, place, "--timeout=50ms") as made:
            made.wait_log("waiting for the driver")
            assert made.status().problems


def test_a_refused_registration_is_tried_again_with_a_new_socket_until_it_works(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with kubelet_of(place) as kubelet:
        kubelet.refusals += ["the API server is away", "it still is"]
        with registrar(ours, place) as made:
            first = kubelet.wait_event("refused")
            wait_until(lambda: made.status().problems, "the refusal is told")
            (problem,) = made.status().problems
            assert problem.startswith("kubelet refused the registration: RegisterPlugin error -- ")
            assert problem.endswith("the API server is away")
            assert made.status().state == WAITING_FOR_KUBELET
            made.wait_log("the next registration socket has to wait")
            second = kubelet.wait_event("refused", after=first.time)
            assert second.time - first.time >= 1.0
            registered = kubelet.wait_registered(NAME)
            assert registered.time - second.time >= 2.0
            status = made.wait_state(REGISTERED)
            assert (status.facts["registrations"], tuple(status.problems)) == ("1", ())
            assert status.facts["last_error"].endswith("it still is")
            samples = made.metrics()
            assert named(samples, "sscsi_registrations_total", result="confirmed") == 1
            assert named(samples, "sscsi_registrations_total", result="refused") == 2


def test_a_refusal_for_a_driver_that_died_waits_for_the_driver(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with registrar(ours, place) as made:
        made.wait_published()
        driver.stop()
        notify(place.socket_path, error="dial unix: connection refused")
        made.wait_state(WAITING_FOR_DRIVER)
        assert place.names() == []
        driver.start()
        made.wait_published()


def test_a_kubelet_that_restarts_registers_again_and_the_registrar_stays_as_it_is(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with kubelet_of(place) as kubelet, registrar(ours, place) as made:
        kubelet.wait_event("registered")
        before = identity(place.socket_path)
        for number in (2, 3):
            now = time.monotonic()
            kubelet.restart()
            kubelet.wait_event("registered", after=now)
            assert made.status().facts["registrations"] == str(number)
        assert identity(place.socket_path) == before


def test_a_driver_that_restarts_is_not_registered_anew(ours: Ours, place: Place, driver: TinyDriver) -> None:
    with kubelet_of(place) as kubelet, registrar(ours, place) as made:
        kubelet.wait_event("registered")
        before = identity(place.socket_path)
        asked = driver.questions
        driver.stop()
        driver.start()
        events = len(kubelet.events)
        deadline = time.monotonic() + 1.0
        wait_until(lambda: time.monotonic() > deadline, "a second has gone")
        assert kubelet.events[events:] == []
        assert identity(place.socket_path) == before
        assert driver.questions == asked
        assert made.status().facts["registrations"] == "1"


def test_a_driver_under_another_name_is_published_under_it_with_the_next_socket(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with registrar(ours, place) as made:
        made.wait_published()
        driver.name = "another.driver"
        assert get_info(place.socket_path).name == NAME
        os.unlink(place.socket_path)
        made.wait_published(f"{place.registry}/another.driver-reg.sock")
        assert place.names() == ["another.driver-reg.sock"]


def test_a_socket_that_vanishes_is_published_and_registered_again(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with kubelet_of(place) as kubelet, registrar(ours, place) as made:
        kubelet.wait_event("registered")
        now = time.monotonic()
        os.unlink(place.socket_path)
        kubelet.wait_registered(NAME, after=now)
        # Long before it would look by itself.
        assert kubelet.wait_event("seen", after=now).time - now < 30.0
        assert made.wait_state(REGISTERED).facts["registrations"] == "2"


def test_a_socket_that_vanishes_time_and_again_is_not_fought_for(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with registrar(ours, place) as made:

        def has_to_wait() -> bool:
            """Remove it again and again, as soon as it is there: one that lived for a second is not fought for either."""
            if accepts(place.socket_path):
                os.unlink(place.socket_path)
            return "the next registration socket has to wait" in made.log()

        wait_until(has_to_wait, "it waits before it comes back")
        made.wait_published()


def test_a_stale_socket_in_its_place_is_replaced(ours: Ours, place: Place, driver: TinyDriver) -> None:
    with registrar(ours, place) as made:
        made.wait_published()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
            old.bind(f"{place.registry}/.stale")
        os.rename(f"{place.registry}/.stale", place.socket_path)
        made.wait_published()
        assert get_info(place.socket_path).name == NAME
        assert made.status().state == WAITING_FOR_KUBELET


def test_a_live_server_in_its_place_is_waited_for_and_never_replaced(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with registrar(ours, place) as made, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        made.wait_published()
        notify(place.socket_path)
        other.bind(f"{place.registry}/.other")
        other.listen(64)
        os.rename(f"{place.registry}/.other", place.socket_path)
        theirs = identity(place.socket_path)
        made.wait_log("waiting for the socket")
        status = made.wait_state(WAITING_FOR_KUBELET)
        held = f"a live server of another program answers at {place.socket_path}; remove that program"
        assert tuple(status.problems) == (held,)
        assert identity(place.socket_path) == theirs
        other.close()
        made.wait_published()
        wait_until(lambda: not made.status().problems, "the problem is gone")
        assert made.end(signal.SIGTERM) == 0


def test_a_stop_while_it_waits_for_another_server_leaves_that_alone(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(place.socket_path)
        other.listen(64)
        with registrar(ours, place) as made:
            made.wait_log("waiting for the socket")
            assert made.end(signal.SIGTERM) == 0
        assert accepts(place.socket_path)


@pytest.mark.parametrize("how", ["removed", "moved", "replaced by a file"])
def test_a_directory_that_goes_and_is_made_again_gets_a_new_socket(
    ours: Ours, place: Place, driver: TinyDriver, how: str
) -> None:
    with registrar(ours, place) as made:
        made.wait_published()
        notify(place.socket_path)
        if how == "removed":
            shutil.rmtree(place.registry, ignore_errors=True)
            shutil.rmtree(place.registry, ignore_errors=True)
        else:
            os.rename(place.registry, f"{place.base}/moved")
        if how == "replaced by a file":
            os.close(os.open(place.registry, os.O_CREAT))
        made.wait_log("waiting for the registration directory")
        wait_until(
            lambda: made.status().problems == (f"there is no directory {place.registry}",), "it is told"
        )
        if how == "replaced by a file":
            os.unlink(place.registry)
        os.mkdir(place.registry)
        made.wait_published()
        notify(place.socket_path)
        assert made.status().state == REGISTERED
        os.unlink(place.socket_path)
        made.wait_published()


def test_a_directory_that_goes_while_another_server_is_waited_for_is_waited_for_next(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(place.socket_path)
        other.listen(64)
        with registrar(ours, place) as made:
            made.wait_log("waiting for the socket")
            os.rename(place.registry, f"{place.base}/moved")
            made.wait_log("waiting for the registration directory")
            os.mkdir(place.registry)
            made.wait_published()


def test_a_link_to_a_stale_socket_in_the_way_is_kept_and_ends_the_program(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    """Upstream follows it and takes it away: whoever made a link there meant something by it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(f"{place.base}/old.sock")
    os.symlink(f"{place.base}/old.sock", place.socket_path)
    with registrar(ours, place) as made:
        assert made.wait() == 1
        assert f"{place.socket_path!r} is in the way: it is not a socket" in made.log().splitlines()[-1]
    assert os.readlink(place.socket_path) == f"{place.base}/old.sock"


def test_a_directory_at_the_hidden_name_ends_the_program_with_its_path(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    hidden = f"{place.registry}/.{NAME}-reg.sock~"
    os.mkdir(hidden)
    with registrar(ours, place) as made:
        assert made.wait() == 1
        assert f"{hidden!r} is in the way" in made.log().splitlines()[-1]


@pytest.mark.root
def test_a_directory_that_is_gone_on_the_host_ends_the_program_with_the_cure(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    """A container's bind mount keeps showing the directory that was removed, and nothing can be made in it."""
    host = f"{place.base}/host"
    os.mkdir(host)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(host.encode(), place.registry.encode(), None, MS_BIND, None) == 0
    try:
        with registrar(ours, place) as made:
            made.wait_published()
            shutil.rmtree(host)
            assert made.wait() == 1
            assert "start the container anew" in made.log().splitlines()[-1]
    finally:
        libc.umount2(place.registry.encode(), 2)


def test_a_killed_registrar_registers_again_when_it_is_started_again(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with kubelet_of(place, period_seconds=1.0) as kubelet:
        with registrar(ours, place) as made:
            kubelet.wait_registered(NAME)
            made.end(signal.SIGKILL)
        now = time.monotonic()
        with registrar(ours, place):
            kubelet.wait_registered(NAME, after=now)


def test_a_stopped_registrar_makes_kubelet_forget_the_driver(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with kubelet_of(place) as kubelet, registrar(ours, place) as made:
        kubelet.wait_event("registered")
        assert made.end(signal.SIGTERM) == 0
        kubelet.wait_event("deregistered")
        assert place.names() == []


def test_a_stop_while_a_refusal_is_waited_out_is_quick(ours: Ours, place: Place, driver: TinyDriver) -> None:
    with registrar(ours, place) as made:
        made.wait_published()
        notify(place.socket_path, error="no")
        wait_until(lambda: not place.names(), "the socket is withdrawn")
        assert made.end(signal.SIGTERM) == 0


def test_two_appliances_in_one_run_directory_do_not_disturb_each_other(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with registrar(ours, place) as first:
        first.wait_published()
        notify(place.socket_path)
        with registrar(ours, place) as second:
            second.wait_log("waiting for the socket")
            assert first.status().state == REGISTERED
            assert first.end(signal.SIGKILL) == -signal.SIGKILL
            second.wait_published()
            assert second.wait_state(WAITING_FOR_KUBELET).pid == second.pid


def test_our_own_node_room_is_registered_and_a_restart_of_it_changes_nothing(
    subject: Subject, place: Place
) -> None:
    with (
        node_place() as node,
        fake_kubelet(place.registry, period_seconds=0.1, host_path=lambda _path: node.endpoint) as kubelet,
        running(subject, place, f"--csi-address={node.endpoint}"),
    ):
        with room_in_process(node):
            registered = kubelet.wait_registered(NAME)
            assert (registered.node_id, registered.endpoint) == ("node-1", ENDPOINT)
        with room_in_process(node):
            assert kubelet.count("registered") == 1
            assert NAME in kubelet.registered
        assert kubelet.count("info-failed") + kubelet.count("invalid") + kubelet.count("refused") == 0


def test_our_own_node_rooms_registration_is_what_the_registrar_tells_kubelet_of_any_driver(
    subject: Subject, place: Place
) -> None:
    with node_place() as node, room_in_process(node):
        with running(subject, place, f"--csi-address={node.endpoint}") as made:
            made.wait_published()
            info = get_info(place.socket_path)
            assert (info.type, info.name, info.endpoint) == ("CSIPlugin", NAME, ENDPOINT)
            assert list(info.supported_versions) == ["1.0.0"]
            assert notify(place.socket_path).ByteSize() == 0
            assert made.end(signal.SIGTERM) == 0
        assert place.names() == []


def test_nothing_is_said_at_rest(ours: Ours, place: Place, driver: TinyDriver) -> None:
    with kubelet_of(place) as kubelet, registrar(ours, place, "--v=5") as made:
        kubelet.wait_event("registered")
        made.wait_state(REGISTERED)
        log = made.log()
        deadline = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > deadline, "a while has gone")
        assert made.log() == log
