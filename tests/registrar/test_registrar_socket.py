"""The registration socket and what it answers (sidecars reference, A6 and A7), upstream's program and ours."""

import os
import signal
import socket
import stat

import grpc
import pytest

from sscsi.pb import pluginregistration_pb2 as pb
from tests.registrar.registrar_place import (
    ENDPOINT,
    RPC_SECONDS,
    Ours,
    Place,
    Subject,
    accepts,
    get_info,
    identity,
    kubelets_stub,
    notify,
    running,
)
from tests.registrar.tiny_driver import NAME, TinyDriver, tiny_driver
from tests.support.waiting import wait_until

# Field 1 `CSIPlugin`, 2 the name, 3 the endpoint, 4 `1.0.0`, as upstream sends them.
INFO = b"".join(
    bytes([number << 3 | 2, len(value)]) + value
    for number, value in ((1, b"CSIPlugin"), (2, NAME.encode()), (3, ENDPOINT.encode()), (4, b"1.0.0"))
)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_socket_is_for_its_owner_alone_whatever_the_umask(
    subject: Subject, place: Place, driver: TinyDriver, umask: int
) -> None:
    if umask == 0o777 and not subject.is_ours:
        pytest.skip("upstream's program sets the umask itself and was not measured with this one")
    with running(subject, place, umask=umask) as made:
        made.wait_published()
        assert stat.S_IMODE(os.lstat(place.socket_path).st_mode) == 0o700
        assert place.names() == [f"{NAME}-reg.sock"]


def test_a_stale_socket_is_replaced(subject: Subject, place: Place, driver: TinyDriver) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(place.socket_path)
    before = identity(place.socket_path)
    with running(subject, place) as made:
        made.wait_published()
        assert identity(place.socket_path) != before


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_socket_is_kept_and_ends_the_program(
    subject: Subject, place: Place, driver: TinyDriver, kind: str
) -> None:
    if kind == "file":
        with open(place.socket_path, "w", encoding="ascii") as file:
            file.write("precious")
    else:
        os.mkdir(place.socket_path)
    before = identity(place.socket_path)
    with running(subject, place) as made:
        assert made.wait() == 1
        if subject.is_ours:
            assert "is in the way: it is not a socket; remove it" in made.log().splitlines()[-1]
    assert identity(place.socket_path) == before


def test_get_info_answers_the_very_bytes(subject: Subject, place: Place, driver: TinyDriver) -> None:
    with running(subject, place) as made:
        made.wait_published()
        assert call(place.socket_path, "/pluginregistration.Registration/GetInfo") == INFO


@pytest.mark.parametrize("authority", ["localhost", "%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fx-reg.sock"])
def test_kubelets_authority_is_taken(
    subject: Subject, place: Place, driver: TinyDriver, authority: str
) -> None:
    with running(subject, place) as made:
        made.wait_published()
        assert get_info(place.socket_path, authority=authority).name == NAME


def test_kubelets_yes_is_answered_with_nothing_as_often_as_it_comes(
    subject: Subject, place: Place, driver: TinyDriver
) -> None:
    with running(subject, place) as made:
        made.wait_published()
        before = identity(place.socket_path)
        for _ in range(3):
            assert get_info(place.socket_path).endpoint == ENDPOINT
            assert notify(place.socket_path).ByteSize() == 0
        assert made.is_alive()
        assert identity(place.socket_path) == before


def test_kubelets_no_ends_upstream_and_makes_ours_publish_anew(
    subject: Subject, place: Place, driver: TinyDriver
) -> None:
    """Upstream exits in the middle of the call, and leaves its socket for the next start to remove."""
    with running(subject, place) as made:
        made.wait_published()
        before = identity(place.socket_path)
        with kubelets_stub(place.socket_path) as stub:
            if subject.is_ours:
                assert notify(place.socket_path, error="no node").ByteSize() == 0
                wait_until(lambda: not accepts(place.socket_path), "the socket was withdrawn")
                made.wait_published()
                assert identity(place.socket_path) != before
            else:
                with pytest.raises(grpc.RpcError):
                    stub.NotifyRegistrationStatus(_refusal(), timeout=RPC_SECONDS)
                assert made.wait() == 1
                assert identity(place.socket_path) == before


def call(path: str, method: str) -> bytes:
    """The bytes of the answer to an empty message."""
    with grpc.insecure_channel(f"unix:{path}") as channel:
        method_call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        return method_call(b"", timeout=RPC_SECONDS)


def _refusal() -> pb.RegistrationStatus:
    return pb.RegistrationStatus(plugin_registered=False, error="no node")


@pytest.mark.parametrize("service", ["/grpc.health.v1.Health/Check", "/csi.v1.Identity/Probe"])
def test_nothing_else_is_served(subject: Subject, place: Place, driver: TinyDriver, service: str) -> None:
    with running(subject, place) as made:
        made.wait_published()
        with pytest.raises(grpc.RpcError) as refusal:
            call(place.socket_path, service)
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_longest_name_in_kubelets_own_directory_fits(ours: Ours, place: Place) -> None:
    """/var/lib/kubelet/plugins_registry/ and a name of 63 characters leave one byte of the 107."""
    name = "n" * 63
    deep = f"{place.registry}/".ljust(33, "d")
    os.mkdir(deep)
    with (
        tiny_driver(place.driver_socket, name=name),
        running(ours, place, f"--plugin-registration-path={deep}") as made,
    ):
        made.wait_published(f"{deep}/{name}-reg.sock")
        assert made.end(signal.SIGTERM) == 0


def test_a_thousand_questions_leave_no_descriptor_and_no_thread_behind(
    ours: Ours, place: Place, driver: TinyDriver
) -> None:
    with running(ours, place) as made:
        made.wait_published()
        _ask(place, 20)
        before = _descriptors(made.pid), _threads(made.pid)
        _ask(place, 1000)
        # Pools grow to their size, and no further.
        wait_until(lambda: _descriptors(made.pid) <= before[0] + 5, f"descriptors are {before[0]} again")
        wait_until(lambda: _threads(made.pid) <= before[1] + 10, f"threads are {before[1]} again")


def _ask(place: Place, times: int) -> None:
    for _ in range(times):
        get_info(place.socket_path)


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))
