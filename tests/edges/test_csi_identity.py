import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from sscsi.edges.csi_identity import CONNECT_FAILURES, GET_PLUGIN_INFO, PROBE, IdentityCalls
from sscsi.errors import DriverCallError, DriverUnreachableError, StoppingError
from sscsi.pb import csi_pb2
from tests.livenessprobe import fake_driver
from tests.livenessprobe.fake_driver import FakeDriver, fails, says, serving
from tests.support.other_user import as_nobody
from tests.support.waiting import wait_until

SECONDS = 60.0


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as directory:
        yield f"{directory}/csi.sock"


def refusal(path: str, *, seconds: float = SECONDS) -> DriverUnreachableError:
    with pytest.raises(DriverUnreachableError) as caught:
        IdentityCalls(path).probe(timeout_seconds=seconds)
    assert caught.value.reason in CONNECT_FAILURES
    return caught.value


@pytest.mark.parametrize(("word", "ready"), [(None, True), (True, True), (False, False)])
def test_a_driver_that_says_nothing_else_is_ready(path: str, word: bool | None, ready: bool) -> None:
    driver = FakeDriver()
    driver.probe = says(ready=word)
    with serving(driver, path):
        assert IdentityCalls(path).probe(timeout_seconds=SECONDS) is ready


def test_the_name_is_the_drivers(path: str) -> None:
    with serving(FakeDriver(), path):
        assert IdentityCalls(path).driver_name(timeout_seconds=SECONDS) == fake_driver.NAME


def test_an_empty_name_is_an_error(path: str) -> None:
    driver = FakeDriver()
    driver.name = ""
    with serving(driver, path), pytest.raises(DriverCallError, match="driver name is empty"):
        IdentityCalls(path).driver_name(timeout_seconds=SECONDS)


def test_a_path_with_a_percent_sign_is_a_path(path: str) -> None:
    driver, path = FakeDriver(), f"{os.path.dirname(path)}/%20 csi.sock"
    # gRPC's server takes the path for a URI, too.
    with serving(driver, path.replace("%", "%25")):
        assert IdentityCalls(path).probe(timeout_seconds=SECONDS)


def test_the_drivers_error_reads_as_a_go_client_prints_it(path: str) -> None:
    driver = FakeDriver()
    driver.probe = fails(grpc.StatusCode.FAILED_PRECONDITION, "unhealthy dep")
    with serving(driver, path), pytest.raises(DriverCallError) as caught:
        IdentityCalls(path).probe(timeout_seconds=SECONDS)
    assert str(caught.value) == "rpc error: code = FailedPrecondition desc = unhealthy dep"
    assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]


def test_the_drivers_error_is_cut_and_cleaned(path: str) -> None:
    driver = FakeDriver()
    driver.probe = fails(grpc.StatusCode.INTERNAL, "a\x1b[31m\nb" + "x" * 3000)
    with serving(driver, path), pytest.raises(DriverCallError) as caught:
        IdentityCalls(path).probe(timeout_seconds=SECONDS)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1200


def test_a_slow_driver_is_out_of_time_in_gos_words(path: str) -> None:
    driver = FakeDriver()
    driver.probe = driver.hang
    with serving(driver, path), pytest.raises(DriverCallError) as caught:
        IdentityCalls(path).probe(timeout_seconds=0.3)
    assert str(caught.value) == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"


def test_a_drivers_own_deadline_keeps_its_words(path: str) -> None:
    driver = FakeDriver()
    driver.probe = fails(grpc.StatusCode.DEADLINE_EXCEEDED, "the backend is slow")
    with serving(driver, path), pytest.raises(DriverCallError, match="desc = the backend is slow"):
        IdentityCalls(path).probe(timeout_seconds=SECONDS)


def test_a_missing_socket_is_told_at_once(path: str) -> None:
    begun = time.monotonic()
    error = refusal(path)
    assert time.monotonic() - begun < SECONDS / 2
    assert error.reason == "missing"
    assert path in str(error)


def test_a_leftover_socket_and_a_plain_file_refuse_at_once(path: str) -> None:
    with fake_driver.leftover_at(path):
        assert refusal(path).reason == "refused"
    os.unlink(path)
    open(path, "wb").close()
    assert refusal(path).reason == "refused"


def test_a_socket_that_may_not_be_used_says_so(path: str) -> None:
    with serving(FakeDriver(), path):
        os.chmod(path, 0)
        with as_nobody():
            assert refusal(path).reason == "denied"


def test_a_driver_that_is_stopped_takes_the_whole_time_and_is_no_slow_call(path: str) -> None:
    calls: list[tuple[str, str, float]] = []
    with fake_driver.silence_at(path), pytest.raises(DriverUnreachableError) as caught:
        IdentityCalls(path, lambda *call: calls.append(call)).probe(timeout_seconds=0.3)
    assert (str(caught.value), caught.value.reason) == ("context deadline exceeded", "timeout")
    assert calls == []


def test_a_full_backlog_is_waited_for_no_longer_than_the_deadline(path: str) -> None:
    with fake_driver.full_backlog_at(path):
        begun = time.monotonic()
        assert refusal(path, seconds=0.3).reason == "timeout"
        assert 0.25 < time.monotonic() - begun < SECONDS / 2


@pytest.mark.parametrize("listens", [True, False])
@pytest.mark.parametrize("word", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00"])
def test_what_speaks_no_http2_is_told_at_once(path: str, word: bytes, listens: bool) -> None:
    with fake_driver.stranger_at(path, word, listens=listens):
        assert refusal(path).reason == "handshake"


def test_every_call_is_observed_with_gos_code(path: str) -> None:
    calls: list[tuple[str, str, float]] = []
    driver = FakeDriver()
    identity = IdentityCalls(path, lambda *call: calls.append(call))
    with serving(driver, path):
        identity.probe(timeout_seconds=SECONDS)
        driver.probe = fails(grpc.StatusCode.CANCELLED, "")
        with pytest.raises(DriverCallError):
            identity.probe(timeout_seconds=SECONDS)
        identity.driver_name(timeout_seconds=SECONDS)
    assert [(method, code) for method, code, _ in calls] == [
        (PROBE, "OK"),
        (PROBE, "Canceled"),
        (GET_PLUGIN_INFO, "OK"),
    ]
    assert all(0 < seconds < SECONDS for _, _, seconds in calls)


def test_a_socket_that_vanished_is_noticed_by_the_very_next_call(path: str) -> None:
    identity = IdentityCalls(path)
    with serving(FakeDriver(), path):
        assert identity.probe(timeout_seconds=SECONDS)
        os.rename(path, path + ".away")
        with pytest.raises(DriverUnreachableError):
            identity.probe(timeout_seconds=SECONDS)
        os.rename(path + ".away", path)
        assert identity.probe(timeout_seconds=SECONDS)


def test_a_socket_that_was_replaced_is_noticed_while_another_call_holds_the_old_one(path: str) -> None:
    old, new = FakeDriver(), FakeDriver()
    arrived, go_on = threading.Event(), threading.Event()

    def wait(_context: fake_driver.Context) -> csi_pb2.ProbeResponse:
        arrived.set()
        go_on.wait(SECONDS)
        return csi_pb2.ProbeResponse()

    old.probe = wait
    new.probe = says(ready=False)
    identity = IdentityCalls(path)
    with serving(old, path + ".old"), serving(new, path + ".new"):
        os.rename(path + ".old", path)
        caller = threading.Thread(target=identity.probe, kwargs={"timeout_seconds": SECONDS})
        caller.start()
        assert arrived.wait(SECONDS)
        os.rename(path + ".new", path)
        assert identity.probe(timeout_seconds=SECONDS) is False
        go_on.set()
        caller.join()


@pytest.mark.parametrize(
    "place",
    [fake_driver.silence_at, fake_driver.full_backlog_at],
    ids=["connecting", "waiting for the backlog"],
)
def test_closing_ends_a_call_that_connects(
    path: str, place: Callable[[str], contextlib.AbstractContextManager[None]]
) -> None:
    with place(path):
        _assert_closing_ends_a_call(IdentityCalls(path), lambda: True)


def test_closing_ends_a_call_that_the_driver_does_not_answer(path: str) -> None:
    driver = FakeDriver()
    driver.probe = driver.hang
    with serving(driver, path):
        _assert_closing_ends_a_call(IdentityCalls(path), lambda: driver.probes)


def _assert_closing_ends_a_call(identity: IdentityCalls, is_under_way: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def call() -> None:
        try:
            identity.probe(timeout_seconds=60)
        except StoppingError as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    wait_until(is_under_way, "the call is under way")
    identity.close()
    caller.join(SECONDS)
    assert len(errors) == 1
    with pytest.raises(StoppingError):
        identity.probe(timeout_seconds=SECONDS)


def test_calls_leave_no_descriptor_and_no_thread(path: str) -> None:
    identity = IdentityCalls(path)
    with serving(FakeDriver(), path):
        for _ in range(20):
            identity.probe(timeout_seconds=SECONDS)
        descriptors, threads = len(os.listdir("/proc/self/fd")), _threads()
        for _ in range(200):
            identity.probe(timeout_seconds=SECONDS)
        # The server in this process closes its sides of the connections in its own time.
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 5, "descriptors are given back")
        assert _threads() <= threads


def _threads() -> int:
    """How many there are beside the pool of the server, which grows up to its size."""
    return sum(not thread.name.startswith("ThreadPool") for thread in threading.enumerate())
