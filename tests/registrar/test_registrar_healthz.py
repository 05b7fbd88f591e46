"""The health page (sidecars reference, A8), upstream's program and ours."""

import contextlib
import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent import futures

import pytest

from sidecars.registrar.registration_service import RegistrationService
from sscsi.edges.unix_socket import SocketServer
from sscsi.pb import pluginregistration_pb2_grpc
from tests.registrar.registrar_place import Ours, Place, Running, Subject, notify, running
from tests.registrar.tiny_driver import NAME, TinyDriver
from tests.support.waiting import wait_until

HTTP_SECONDS = 60.0
MISSING = "registration socket does not exist"


@pytest.fixture
def address() -> str:
    """An address whose port was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        return f"127.0.0.1:{other.getsockname()[1]}"


def page(address: str, path: str = "/healthz", method: str = "GET") -> tuple[int, str]:
    """Status code and text of a page."""
    request = urllib.request.Request(f"http://{address}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as answer:
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def wait_served(address: str) -> None:
    host, _, port = address.rpartition(":")

    def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
            return True
        return False

    wait_until(listens, "the page is served")


@contextlib.contextmanager
def registered(subject: Subject, place: Place, address: str) -> Iterator[Running]:
    """A registrar that kubelet has confirmed."""
    with running(subject, place, f"--http-endpoint={address}") as made:
        made.wait_published()
        notify(place.socket_path)
        wait_served(address)
        yield made


def test_a_registered_driver_is_ok_by_any_method(
    subject: Subject, place: Place, driver: TinyDriver, address: str
) -> None:
    with registered(subject, place, address):
        for method in ("GET", "POST", "PUT"):
            assert page(address, method=method) == (200, "ok")


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz/", "/debug/pprof/"])
def test_there_is_no_other_page(
    subject: Subject, place: Place, driver: TinyDriver, address: str, path: str
) -> None:
    with registered(subject, place, address):
        assert page(address, path) == (404, "404 page not found\n")


def test_a_driver_that_is_dead_is_not_the_registrars_business(
    subject: Subject, place: Place, driver: TinyDriver, address: str
) -> None:
    with registered(subject, place, address):
        driver.stop()
        assert page(address) == (200, "ok")


def test_before_kubelet_has_confirmed_upstream_is_ok_and_ours_is_not(
    subject: Subject, place: Place, driver: TinyDriver, address: str
) -> None:
    with running(subject, place, f"--http-endpoint={address}") as made:
        made.wait_published()
        wait_served(address)
        status, text = page(address)
        if subject.is_ours:
            assert status == 500
            assert text.startswith("kubelet has not confirmed the registration: waiting for its call at ")
            notify(place.socket_path)
        assert page(address) == (200, "ok")


def test_the_old_flag_is_a_port_on_all_interfaces(
    subject: Subject, place: Place, driver: TinyDriver, address: str
) -> None:
    port = address.rpartition(":")[2]
    with running(subject, place, f"--health-port={port}") as made:
        made.wait_published()
        wait_served(address)
        assert page(address, "/") == (404, "404 page not found\n")


def test_the_page_of_ours_is_there_before_the_driver_and_says_what_is_waited_for(
    ours: Ours, place: Place, address: str
) -> None:
    with running(ours, place, f"--http-endpoint={address}") as made:
        made.wait_log("waiting for the driver")
        wait_until(lambda: place.driver_socket in page(address)[1], "the page names the driver's socket")
        status, text = page(address)
        assert status == 404
        assert text.startswith(
            f"{MISSING}: waiting for the driver: cannot connect to the CSI driver at {place.driver_socket}"
        )


def test_after_a_refusal_it_is_red_with_kubelets_words_until_it_confirms(
    ours: Ours, place: Place, driver: TinyDriver, address: str
) -> None:
    with registered(ours, place, address) as made:
        notify(place.socket_path, error="no such node")
        wait_until(lambda: page(address)[0] == 404, "the socket is withdrawn")
        made.wait_published()
        wait_until(lambda: page(address)[0] == 500, "published and not confirmed")
        assert page(address)[1].endswith("kubelet refused the registration: no such node")
        notify(place.socket_path)
        assert page(address) == (200, "ok")


def test_a_socket_that_is_gone_is_a_404_and_ours_comes_back(
    subject: Subject, place: Place, driver: TinyDriver, address: str
) -> None:
    with registered(subject, place, address) as made:
        os.unlink(place.socket_path)
        if subject.is_ours:
            made.wait_published()
            assert page(address)[0] == 500
        else:
            assert page(address) == (404, MISSING)


def test_what_is_no_socket_is_a_500_upstream_and_ends_ours(
    subject: Subject, place: Place, driver: TinyDriver, address: str
) -> None:
    """What our page says of it in the moment that is left is in test_health_page."""
    with registered(subject, place, address) as made:
        with open(f"{place.base}/file", "w", encoding="ascii"):
            pass
        os.rename(f"{place.base}/file", place.socket_path)
        if subject.is_ours:
            assert made.wait() == 1
            assert "it is not a socket" in made.log().splitlines()[-1]
        else:
            assert page(address)[0] == 500


@contextlib.contextmanager
def another(path: str, name: str) -> Iterator[None]:
    """A live registration server of somebody else's, that took the path."""
    service = RegistrationService(
        driver_name=name, endpoint="/x", on_asked=lambda: None, on_verdict=lambda _is_ok, _error: None
    )
    pool = futures.ThreadPoolExecutor(2)
    server = SocketServer(
        f"{os.path.dirname(path)}/.other.sock",
        mode=0o700,
        add_services=lambda made: pluginregistration_pb2_grpc.add_RegistrationServicer_to_server(
            service, made
        ),
        pool=pool,
        interceptors=(),
    )
    assert server.serve(threading.Event())
    os.rename(server.path, path)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server.stop_accepting(0).wait(60)
        server.close()
        pool.shutdown()


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(("name", "text"), [("other.driver", "invalid driver name other.driver"), (NAME, "")])
def test_a_socket_of_somebody_else_is_a_500_by_its_name_and_ours_waits_for_it(
    subject: Subject, place: Place, address: str, name: str, text: str
) -> None:
    with registered(subject, place, address) as made:
        with another(place.socket_path, name):
            if subject.is_ours:
                wait_until(lambda: page(address)[0] == 500, "the page is red")
                made.wait_log("waiting for the socket")
                status, said = page(address)
                assert status == 500
                assert said == (text or said)
            else:
                assert page(address) == ((500, text) if text else (200, "ok"))
        if subject.is_ours:
            made.wait_published()
            notify(place.socket_path)
            assert page(address) == (200, "ok")


def test_a_stale_socket_in_its_place_is_a_500_upstream_and_replaced_by_ours(
    subject: Subject, place: Place, driver: TinyDriver, address: str
) -> None:
    """Upstream's answer takes 30 s: its dial waits that long. What ours says until then is in test_health_page."""
    with registered(subject, place, address) as made:
        stale(place)
        if subject.is_ours:
            made.wait_published()
            notify(place.socket_path)
            assert page(address) == (200, "ok")
        else:
            with contextlib.suppress(TimeoutError):
                assert page(address)[0] == 500


def stale(place: Place) -> None:
    """Put a socket at which nobody listens in the place of the registration socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(f"{place.registry}/.stale")
    os.rename(f"{place.registry}/.stale", place.socket_path)


def test_a_registrar_that_hangs_does_not_keep_the_page_waiting(
    ours: Ours, place: Place, driver: TinyDriver, address: str
) -> None:
    """The page asks our own socket with --timeout as its deadline; here somebody else holds it and never answers."""
    with registered(ours, place, address) as made, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.bind(f"{place.registry}/.mute")
        mute.listen(8)
        os.rename(f"{place.registry}/.mute", place.socket_path)
        made.wait_log("waiting for the socket")
        status, text = page(address)
        assert status == 500
        assert text == f"error connecting to node-registrar socket {place.socket_path}: timed out"


def test_five_hundred_looks_leave_no_descriptor_and_no_thread_behind(
    ours: Ours, place: Place, driver: TinyDriver, address: str
) -> None:
    with registered(ours, place, address) as made:
        look(address, 20, status=200)
        before = counts(made)
        look(address, 500, status=200)
        wait_until(lambda: counts(made)[0] <= before[0] + 5, f"descriptors are {before[0]} again")
        wait_until(lambda: counts(made)[1] <= before[1] + 4, f"threads are {before[1]} again")


def test_looks_at_a_server_that_says_nothing_leave_no_descriptor_and_no_thread_behind(
    ours: Ours, place: Place, driver: TinyDriver, address: str
) -> None:
    """A channel that is closed during its handshake would keep the connection for 20 s."""
    with (
        running(ours, place, f"--http-endpoint={address}", "--timeout=20ms") as made,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute,
    ):
        made.wait_published()
        wait_served(address)
        mute.bind(f"{place.registry}/.mute")
        mute.listen(1024)
        os.rename(f"{place.registry}/.mute", place.socket_path)
        made.wait_log("waiting for the socket")
        look(address, 5, status=500)
        before = counts(made)
        look(address, 100, status=500)
        assert counts(made)[0] <= before[0] + 5
        assert counts(made)[1] <= before[1] + 4


def look(address: str, times: int, *, status: int) -> None:
    for _ in range(times):
        assert page(address)[0] == status


def counts(made: Running) -> tuple[int, int]:
    """Its descriptors and its threads."""
    return len(os.listdir(f"/proc/{made.pid}/fd")), len(os.listdir(f"/proc/{made.pid}/task"))
