"""The rules of the fake kubelet (sidecars reference, C2 to C6): other tests lean on them."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc
import pytest

from sscsi.edges.unix_socket import SocketServer
from sscsi.pb import pluginregistration_pb2 as pb
from sscsi.pb import pluginregistration_pb2_grpc
from tests.registrar.registrar_place import Place
from tests.registrar.tiny_driver import NAME, TinyDriver
from tests.support.fake_kubelet import FakeKubelet, fake_kubelet
from tests.support.waiting import wait_until

PERIOD_SECONDS = 0.05


class Plugin(pluginregistration_pb2_grpc.RegistrationServicer):
    """A plugin at one path, that says what a test wants and keeps what kubelet says."""

    def __init__(
        self, path: str, endpoint: str, *, name: str = NAME, versions: Sequence[str] = ("1.0.0",)
    ) -> None:
        self.info = pb.PluginInfo(type="CSIPlugin", name=name, endpoint=endpoint, supported_versions=versions)
        self.late_seconds = 0.0
        self.questions: list[float] = []
        self.authorities: list[str] = []
        self.verdicts: list[str] = []
        self._pool = futures.ThreadPoolExecutor(4)
        self.server = SocketServer(
            path,
            mode=0o700,
            add_services=lambda server: pluginregistration_pb2_grpc.add_RegistrationServicer_to_server(
                self, server
            ),
            pool=self._pool,
            interceptors=(),
        )

    def GetInfo(self, request: pb.InfoRequest, context: grpc.ServicerContext) -> pb.PluginInfo:
        self.questions.append(time.monotonic())
        threading.Event().wait(self.late_seconds)
        return self.info

    def NotifyRegistrationStatus(
        self, request: pb.RegistrationStatus, context: grpc.ServicerContext
    ) -> pb.RegistrationStatusResponse:
        self.verdicts.append(request.error if not request.plugin_registered else "registered")
        return pb.RegistrationStatusResponse()

    def serve(self) -> None:
        assert self.server.serve(threading.Event())

    def end(self) -> None:
        self.server.stop_accepting(1).wait(60)
        self.server.close()
        self._pool.shutdown()


@contextlib.contextmanager
def plugin(place: Place, file_name: str = f"{NAME}-reg.sock", **settings: Any) -> Iterator[Plugin]:
    made = Plugin(f"{place.registry}/{file_name}", place.driver_socket, **settings)
    made.serve()
    try:
        yield made
    finally:
        made.end()


@contextlib.contextmanager
def quick_kubelet(place: Place) -> Iterator[FakeKubelet]:
    with fake_kubelet(
        place.registry, period_seconds=PERIOD_SECONDS, first_backoff_seconds=0.05, dial_seconds=0.5
    ) as kubelet:
        yield kubelet


def stale_socket(path: str) -> None:
    """A socket file at which nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)


def test_a_socket_that_appears_is_registered_and_one_that_goes_is_forgotten(
    place: Place, driver: TinyDriver
) -> None:
    with quick_kubelet(place) as kubelet, plugin(place) as made:
        registered = kubelet.wait_registered(NAME)
        assert (registered.endpoint, registered.node_id) == (place.driver_socket, driver.node_id)
        kubelet.wait_event("registered")
        assert made.verdicts == ["registered"]
        os.unlink(made.server.path)
        kubelet.wait_event("deregistered")
        assert kubelet.registered == {}


def test_a_socket_that_was_there_before_is_registered_at_start_and_again_at_each_restart(
    place: Place, driver: TinyDriver
) -> None:
    with plugin(place) as made, quick_kubelet(place) as kubelet:
        kubelet.wait_event("registered")
        before = time.monotonic()
        kubelet.restart()
        kubelet.wait_event("registered", after=before)
        assert made.verdicts == ["registered", "registered"]
        assert kubelet.count("deregistered") == 0


def test_one_that_ends_while_the_driver_thinks_tells_nobody(place: Place, driver: TinyDriver) -> None:
    driver.go_on.clear()
    with plugin(place) as made:
        with quick_kubelet(place):
            wait_until(lambda: made.questions, "the plugin was asked")
        assert made.verdicts == []


def test_names_with_a_dot_and_what_is_no_socket_are_not_for_kubelet(place: Place, driver: TinyDriver) -> None:
    with quick_kubelet(place) as kubelet:
        open(f"{place.registry}/file", "w", encoding="ascii").close()
        with plugin(place, ".hidden.sock"), plugin(place, "plain.sock"):
            kubelet.wait_registered(NAME)
        assert {os.path.basename(event.path) for event in kubelet.events} == {"plain.sock"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_sub_directories_are_watched(place: Place, driver: TinyDriver, when: str) -> None:
    with contextlib.ExitStack() as stack:
        if when == "before":
            os.mkdir(f"{place.registry}/sub")
        kubelet = stack.enter_context(quick_kubelet(place))
        if when == "after":
            os.mkdir(f"{place.registry}/sub")
        stack.enter_context(plugin(place, "sub/plain.sock"))
        assert kubelet.wait_registered(NAME).socket_path == f"{place.registry}/sub/plain.sock"


@pytest.mark.parametrize(("when", "count"), [("before", 1), ("after", 0)])
def test_a_directory_with_a_dot_is_watched_only_when_it_was_there_at_the_start(
    place: Place, driver: TinyDriver, when: str, count: int
) -> None:
    with contextlib.ExitStack() as stack:
        if when == "before":
            os.mkdir(f"{place.registry}/.sub")
        kubelet = stack.enter_context(quick_kubelet(place))
        if when == "after":
            os.mkdir(f"{place.registry}/.sub")
        stack.enter_context(plugin(place, ".sub/plain.sock", name="hidden.driver"))
        stack.enter_context(plugin(place))
        kubelet.wait_registered(NAME)
        if count:
            kubelet.wait_registered("hidden.driver")
        assert (
            sum(event.path.endswith("plain.sock") for event in kubelet.events if event.kind == "seen")
            == count
        )


def test_a_socket_that_was_renamed_away_is_not_missed(place: Place, driver: TinyDriver) -> None:
    with quick_kubelet(place) as kubelet, plugin(place) as made:
        kubelet.wait_event("registered")
        os.rename(made.server.path, f"{place.base}/elsewhere.sock")
        assert_nothing_happens(kubelet, periods=4)
        assert NAME in kubelet.registered


def test_a_socket_that_replaces_another_is_unregistered_first_and_registered_at_a_later_tick(
    place: Place, driver: TinyDriver
) -> None:
    with quick_kubelet(place) as kubelet, plugin(place) as made:
        kubelet.wait_event("registered")
        os.rename(made.server.path, f"{place.registry}/.away")
        os.rename(f"{place.registry}/.away", made.server.path)
        kubelet.wait_event("deregistered")
        assert kubelet.wait_registered(NAME, after=kubelet.wait_event("deregistered").time)
        assert kubelet.count("removed") == 0


def test_what_fails_before_the_driver_is_tried_is_tried_again_with_a_growing_pause(
    place: Place, driver: TinyDriver
) -> None:
    with quick_kubelet(place) as kubelet, plugin(place, versions=("2.0.0",)) as made:
        wait_until(lambda: len(made.questions) >= 5, "kubelet asked again and again")
        pauses = [later - earlier for earlier, later in zip(made.questions, made.questions[1:], strict=False)]
        assert all(pause >= 0.05 * 2**number for number, pause in enumerate(pauses[:4]))
        assert kubelet.registered == {}
        assert "plugin validation failed" in made.verdicts[0]


def test_what_fails_with_the_driver_is_never_tried_again_until_the_socket_is_a_new_one(
    place: Place, driver: TinyDriver
) -> None:
    with quick_kubelet(place) as kubelet:
        kubelet.refusals.append("the node can't be updated")
        with plugin(place) as made:
            kubelet.wait_event("refused")
            assert_nothing_happens(kubelet, periods=6)
            assert len(made.questions) == 1
            assert made.verdicts[0].endswith("plugin registration failed with err: the node can't be updated")
        with plugin(place):
            kubelet.wait_registered(NAME)


@pytest.mark.parametrize("trouble", ["gone", "failing", "nameless node"])
def test_a_driver_that_does_not_tell_its_node_is_refused(
    place: Place, driver: TinyDriver, trouble: str
) -> None:
    if trouble == "gone":
        driver.stop()
    elif trouble == "failing":
        driver.code = grpc.StatusCode.INTERNAL
    else:
        driver.node_id = ""
    with quick_kubelet(place) as kubelet, plugin(place) as made:
        kubelet.wait_event("refused")
        assert made.verdicts[0].startswith("RegisterPlugin error")


def test_an_endpoint_with_a_scheme_is_a_file_that_is_not_there(place: Place, driver: TinyDriver) -> None:
    with quick_kubelet(place) as kubelet, plugin(place) as made:
        made.info.endpoint = f"unix://{place.driver_socket}"
        kubelet.wait_event("refused")
        assert "no such file" in made.verdicts[0]


def test_an_endpoint_may_be_a_path_that_is_somewhere_else_for_us(place: Place, driver: TinyDriver) -> None:
    with (
        fake_kubelet(
            place.registry,
            period_seconds=PERIOD_SECONDS,
            host_path=lambda path: path.replace("/host", place.base),
        ) as kubelet,
        plugin(place) as made,
    ):
        made.info.endpoint = "/host/csi/csi.sock"
        assert kubelet.wait_registered(NAME).endpoint == "/host/csi/csi.sock"


def test_a_second_socket_for_a_registered_name_is_refused(place: Place, driver: TinyDriver) -> None:
    with quick_kubelet(place) as kubelet, plugin(place):
        kubelet.wait_registered(NAME)
        with plugin(place, "other.sock") as other:
            kubelet.wait_event("invalid")
            assert "already registered" in other.verdicts[0]


@pytest.mark.parametrize(
    ("versions", "is_taken"),
    [
        (("1.0.0",), True),
        (("v1.2",), True),
        (("0.3.0", "1.0.0", "2.0.0"), True),
        (("0.3.0",), False),
        (("2.0.0",), False),
        ((), False),
        (("1",), False),
    ],
)
def test_a_plugin_needs_a_version_with_major_number_1(
    place: Place, driver: TinyDriver, versions: tuple[str, ...], is_taken: bool
) -> None:
    with quick_kubelet(place) as kubelet, plugin(place, versions=versions):
        kubelet.wait_event("registered" if is_taken else "invalid")


def test_a_plugin_of_another_type_is_not_for_this_kubelet(place: Place, driver: TinyDriver) -> None:
    with quick_kubelet(place) as kubelet, plugin(place) as made:
        made.info.type = "DevicePlugin"
        kubelet.wait_event("invalid")
        assert "no handler registered" in made.verdicts[0]
        assert kubelet.registered == {}


def test_a_plugin_that_takes_longer_than_a_second_to_answer_is_tried_again(
    place: Place, driver: TinyDriver
) -> None:
    with quick_kubelet(place) as kubelet, plugin(place) as made:
        made.late_seconds = 1.5
        assert "DEADLINE_EXCEEDED" in kubelet.wait_event("info-failed").text
        made.late_seconds = 0.0
        kubelet.wait_registered(NAME)


def test_a_stale_socket_keeps_kubelet_dialling_and_its_path_in_back_off(
    place: Place, driver: TinyDriver
) -> None:
    stale_socket(f"{place.registry}/{NAME}-reg.sock")
    with quick_kubelet(place) as kubelet:
        failed = kubelet.wait_event("dial-failed")
        assert failed.time - kubelet.events[0].time >= 0.5
        with plugin(place):
            kubelet.wait_registered(NAME)


def assert_nothing_happens(kubelet: FakeKubelet, *, periods: int) -> None:
    """No event in so many turns of kubelet's loop."""
    before = len(kubelet.events)
    deadline = time.monotonic() + periods * PERIOD_SECONDS
    wait_until(lambda: time.monotonic() > deadline, "kubelet's loop turned")
    assert kubelet.events[before:] == []
