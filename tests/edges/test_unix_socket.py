import contextlib
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import pytest

from sscsi.edges.unix_socket import SocketServer
from sscsi.errors import ConfigError
from sscsi.pb import provider_pb2, provider_pb2_grpc
from tests.support.waiting import wait_until

TIMEOUT_SECONDS = 60.0
# Not one that another channel to the same path left behind.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


class Provider(provider_pb2_grpc.CSIDriverProviderServicer):
    """Says its name; a Mount hangs until `release`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.release = threading.Event()
        self.in_mount = threading.Event()

    def Version(
        self, request: provider_pb2.VersionRequest, context: grpc.ServicerContext
    ) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse(runtime_name=self.name)

    def Mount(
        self, request: provider_pb2.MountRequest, context: grpc.ServicerContext
    ) -> provider_pb2.MountResponse:
        self.in_mount.set()
        self.release.wait(60)
        return provider_pb2.MountResponse()


class Holder:
    """A SocketServer with its pool and service; `stop` ends its waiting.

    `on_start` is called when the path has been found free, and nothing is bound yet.
    """

    def __init__(
        self,
        path: str,
        name: str = "ours",
        mode: int = 0o600,
        on_wait: Callable[[str], None] | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.service = Provider(name)
        self._on_start = on_start
        self.pool = futures.ThreadPoolExecutor(4)
        self.stop = threading.Event()
        self.server = SocketServer(
            path,
            mode=mode,
            add_services=self._add_services,
            pool=self.pool,
            interceptors=(),
            on_wait=on_wait,
        )

    def _add_services(self, server: grpc.Server) -> None:
        provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(self.service, server)
        self._on_start()

    def serve(self) -> bool:
        return self.server.serve(self.stop)

    def end(self) -> None:
        self.stop.set()
        self.service.release.set()
        self.server.stop_accepting(0).wait(60)
        self.server.close()
        self.pool.shutdown()


@contextlib.contextmanager
def holder(
    path: str,
    name: str = "ours",
    mode: int = 0o600,
    on_wait: Callable[[str], None] | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> Iterator[Holder]:
    made = Holder(path, name, mode, on_wait, on_start)
    try:
        yield made
    finally:
        made.end()


@contextlib.contextmanager
def waiting(made: Holder) -> Iterator["futures.Future[bool]"]:
    """`made` serves in a thread of its own; the future is its answer."""
    with futures.ThreadPoolExecutor(1) as thread:
        answer = thread.submit(made.serve)
        try:
            yield answer
        finally:
            made.stop.set()


@contextlib.contextmanager
def foreign(path: str, backlog: int = 5) -> Iterator[socket.socket]:
    """A live server of another program."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(backlog)
        yield listener


def name_at(path: str) -> str:
    """Who answers at `path`."""
    with grpc.insecure_channel("unix:" + path.replace("%", "%25"), OWN_CONNECTION) as channel:
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        answer = stub.Version(provider_pb2.VersionRequest(), timeout=TIMEOUT_SECONDS)
    return answer.runtime_name


def make(path: str, kind: str) -> None:
    """Something that is no socket."""
    if kind == "file":
        with open(path, "w", encoding="ascii") as file:
            file.write("precious")
    elif kind == "directory":
        os.mkdir(path)
    else:
        os.symlink("/etc/hostname", path)


def identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


@pytest.fixture
def directory() -> Iterator[str]:
    """A directory whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as made:
        yield made


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_free_path_is_served_with_the_mode_asked_for(directory: str, mode: int) -> None:
    path = f"{directory}/csi.sock"
    with holder(path, mode=mode) as ours:
        assert ours.serve()
        assert name_at(path) == "ours"
        assert stat.S_IMODE(os.lstat(path).st_mode) == mode
        assert ours.server.is_ours()
        assert sorted(os.listdir(directory)) == ["csi.sock", "csi.sock.lock"]
    assert os.listdir(directory) == ["csi.sock.lock"]


def test_a_dead_servers_socket_is_replaced(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with foreign(path):
        pass
    assert os.path.exists(path)
    with holder(path) as ours:
        assert ours.serve()
        assert name_at(path) == "ours"


def test_a_leftover_of_our_own_start_is_replaced(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with foreign(f"{directory}/.csi.sock~"):
        pass
    with holder(path) as ours:
        assert ours.serve()
        assert name_at(path) == "ours"
        assert sorted(os.listdir(directory)) == ["csi.sock", "csi.sock.lock"]


@pytest.mark.parametrize("unlinks", [False, True])
def test_a_live_server_of_somebody_else_is_waited_for_and_followed(directory: str, unlinks: bool) -> None:
    path = f"{directory}/csi.sock"
    with holder(path) as ours:
        with foreign(path) as other:
            theirs = identity(path)
            with waiting(ours) as answer:
                for _ in range(2):
                    other.accept()[0].close()
                assert not answer.done()
                assert identity(path) == theirs
                if unlinks:
                    os.unlink(path)
                other.close()
                assert answer.result(60)
        assert name_at(path) == "ours"


def test_a_live_server_too_busy_to_accept_is_waited_for(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(holder(path))
        other = stack.enter_context(foreign(path, backlog=0))
        with contextlib.suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                client.setblocking(False)
                client.connect(path)
        theirs = identity(path)
        answer = stack.enter_context(waiting(ours))
        with pytest.raises(futures.TimeoutError):
            answer.result(0.5)
        assert identity(path) == theirs
        other.close()
        assert answer.result(60)
        assert name_at(path) == "ours"


def test_a_stop_ends_the_waiting_and_leaves_the_other_server_alone(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with foreign(path) as other:
        theirs = identity(path)
        with holder(path) as ours, waiting(ours) as answer:
            other.accept()[0].close()
            ours.stop.set()
            assert answer.result(60) is False
        assert identity(path) == theirs


def test_of_two_of_ours_the_second_takes_over_when_the_first_has_closed(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with holder(path, "second") as second, holder(path, "first") as first:
        assert first.serve()
        with waiting(second) as answer:
            with pytest.raises(futures.TimeoutError):
                answer.result(0.3)
            assert name_at(path) == "first"
            first.end()
            assert answer.result(60)
            assert name_at(path) == "second"
            assert second.server.is_ours()


def test_a_claimed_path_is_kept_from_another_of_ours_before_anything_is_served(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with holder(path, "second") as second, holder(path, "first") as first:
        assert first.server.claim(first.stop)
        assert os.listdir(directory) == ["csi.sock.lock"]
        with waiting(second) as answer:
            with pytest.raises(futures.TimeoutError):
                answer.result(0.3)
            assert first.serve()
            assert name_at(path) == "first"
            assert not answer.done()
            second.stop.set()
            assert answer.result(60) is False


def test_a_server_of_somebody_else_that_came_after_the_claim_is_waited_for(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with holder(path) as ours:
        assert ours.server.claim(ours.stop)
        with foreign(path) as other, waiting(ours) as answer:
            other.accept()[0].close()
            assert not answer.done()
            other.close()
            assert answer.result(60)
        assert name_at(path) == "ours"


def test_a_path_that_somebody_replaced_is_not_ours_any_more_and_stays(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with foreign(f"{directory}/other.sock"):
        with holder(path) as ours:
            assert ours.serve()
            os.rename(f"{directory}/other.sock", path)
            theirs = identity(path)
            assert not ours.server.is_ours()
        assert identity(path) == theirs


def test_a_path_that_somebody_removed_is_not_ours_any_more(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with holder(path) as ours:
        assert ours.serve()
        os.unlink(path)
        assert not ours.server.is_ours()


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_what_is_no_socket_is_never_removed(directory: str, kind: str) -> None:
    path = f"{directory}/csi.sock"
    make(path, kind)
    before = identity(path)
    with holder(path) as ours, pytest.raises(ConfigError, match="in the way: it is not a socket") as refusal:
        ours.serve()
    assert refusal.value.exit_code == 1
    assert path in str(refusal.value)
    assert identity(path) == before


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
@pytest.mark.parametrize("name", [".csi.sock~", ".csi.sock-"])
def test_what_is_no_socket_is_not_removed_from_a_hidden_name_either(
    directory: str, kind: str, name: str
) -> None:
    hidden = f"{directory}/{name}"
    make(hidden, kind)
    before = identity(hidden)
    with (
        holder(f"{directory}/csi.sock") as ours,
        pytest.raises(ConfigError, match="in the way: it is not") as refusal,
    ):
        ours.serve()
    assert (refusal.value.exit_code, hidden in str(refusal.value)) == (1, True)
    assert identity(hidden) == before


def test_what_a_start_that_was_killed_left_at_the_hidden_names_is_removed(directory: str) -> None:
    for name in (".csi.sock~", ".csi.sock-"):
        with foreign(f"{directory}/{name}"):
            pass
    with holder(f"{directory}/csi.sock") as ours:
        assert ours.serve()
        assert sorted(os.listdir(directory)) == ["csi.sock", "csi.sock.lock"]


def test_a_server_that_comes_while_ours_starts_is_waited_for(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with contextlib.ExitStack() as stack:
        others: list[socket.socket] = []

        def come() -> None:
            others.append(stack.enter_context(foreign(path)))

        ours = stack.enter_context(holder(path, on_start=come))
        answer = stack.enter_context(waiting(ours))
        wait_until(lambda: others, "the other one is there")
        theirs = identity(path)
        others[0].accept()[0].close()
        assert not answer.done()
        assert identity(path) == theirs
        others[0].close()
        assert answer.result(60)
        assert name_at(path) == "ours"


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_what_is_no_socket_and_comes_while_ours_starts_is_left_alone(directory: str, kind: str) -> None:
    path = f"{directory}/csi.sock"
    with (
        holder(path, on_start=lambda: make(path, kind)) as ours,
        pytest.raises(ConfigError, match="in the way: it is not"),
    ):
        ours.serve()
    assert sorted(os.listdir(directory)) == ["csi.sock", "csi.sock.lock"]
    assert not stat.S_ISSOCK(os.lstat(path).st_mode)


@pytest.mark.parametrize("how", ["removed", "moved", "replaced by a file"])
def test_a_directory_that_goes_while_ours_starts_is_an_error_that_names_it(directory: str, how: str) -> None:
    place, moved = f"{directory}/place", f"{directory}/moved"
    os.mkdir(place)

    def go() -> None:
        os.rename(place, moved)
        if how == "removed":
            shutil.rmtree(moved)
        elif how == "replaced by a file":
            make(place, "file")

    with holder(f"{place}/csi.sock", on_start=go) as ours:
        with pytest.raises(ConfigError, match="cannot listen on") as refusal:
            ours.serve()
        assert refusal.value.exit_code == 1
        assert place in str(refusal.value)
        if how != "replaced by a file":
            assert isinstance(refusal.value.__cause__, FileNotFoundError)
        assert not ours.server.is_ours()


@pytest.mark.parametrize("how", ["moved", "replaced by a file", "a link to itself"])
def test_a_directory_that_is_not_to_be_seen_has_no_socket_of_ours(directory: str, how: str) -> None:
    place, moved = f"{directory}/place", f"{directory}/moved"
    os.mkdir(place)
    with holder(f"{place}/csi.sock") as ours:
        assert ours.serve()
        os.rename(place, moved)
        if how == "replaced by a file":
            make(place, "file")
        elif how == "a link to itself":
            os.symlink(place, place)
        assert not ours.server.is_ours()
        ours.server.stop_accepting(0)
        ours.server.close()


def test_a_path_too_long_for_a_socket_is_refused_with_the_bound(directory: str) -> None:
    longest = f"{directory}/".ljust(107, "x")
    with holder(longest) as ours:
        assert ours.serve()
        assert name_at(longest) == "ours"
    with holder(longest + "x") as ours, pytest.raises(ConfigError, match="at most 107 bytes") as refusal:
        ours.serve()
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("name", ["abc", "csi.sock", "a-name-that-is-longer.sock"])
def test_a_short_name_in_a_deep_directory_is_served_too(directory: str, name: str) -> None:
    deep = f"{directory}/".ljust(107 - len(name) - 1, "d")
    os.mkdir(deep)
    with holder(f"{deep}/{name}") as ours:
        assert ours.serve()
        assert name_at(f"{deep}/{name}") == "ours"
        assert sorted(os.listdir(deep)) == sorted([name, f"{name}.lock"])


def test_whoever_asks_is_told_why_the_path_is_waited_for(directory: str) -> None:
    path = f"{directory}/csi.sock"
    reasons: list[str] = []
    told = threading.Event()

    def on_wait(reason: str) -> None:
        reasons.append(reason)
        told.set()

    with foreign(path), holder(path, on_wait=on_wait) as ours, waiting(ours):
        assert told.wait(60)
    assert reasons == [f"a live server of another program answers at {path}; remove that program"]


def test_a_directory_that_is_not_there_is_named(directory: str) -> None:
    with (
        holder(f"{directory}/gone/csi.sock") as ours,
        pytest.raises(ConfigError, match="there is no directory") as refusal,
    ):
        ours.serve()
    assert refusal.value.exit_code == 1
    assert f"{directory}/gone" in str(refusal.value)


def test_a_directory_that_takes_no_file_is_named() -> None:
    """Nobody can make a file in /proc, not even root."""
    with holder("/proc/csi.sock") as ours, pytest.raises(ConfigError, match="'/proc") as refusal:
        ours.serve()
    assert refusal.value.exit_code == 1


@pytest.mark.parametrize("kind", ["symlink", "directory"])
def test_a_lock_file_that_is_none_is_refused(directory: str, kind: str) -> None:
    path = f"{directory}/csi.sock"
    if kind == "symlink":
        os.symlink(f"{directory}/elsewhere", f"{path}.lock")
    else:
        os.mkdir(f"{path}.lock")
    with holder(path) as ours, pytest.raises(ConfigError, match="lock file") as refusal:
        ours.serve()
    assert refusal.value.exit_code == 1
    assert not os.path.exists(f"{directory}/elsewhere")


@pytest.mark.parametrize("name", ["a%20b.sock", "a b.sock", "a?b#c.sock", "%.sock", "é.sock"])
def test_the_socket_has_the_very_name_that_was_asked_for(directory: str, name: str) -> None:
    path = f"{directory}/{name}"
    with holder(path) as ours:
        assert ours.serve()
        assert sorted(os.listdir(directory)) == sorted([name, f"{name}.lock"])
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)


def test_a_stopping_server_finishes_what_runs_and_takes_nothing_new(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with holder(path) as ours, grpc.insecure_channel(f"unix:{path}") as channel:
        assert ours.serve()
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        running = stub.Mount.future(provider_pb2.MountRequest(), timeout=TIMEOUT_SECONDS)
        assert ours.service.in_mount.wait(60)
        ended = ours.server.stop_accepting(30)
        assert os.listdir(directory) == ["csi.sock.lock"]
        assert not ended.is_set()
        ours.service.release.set()
        assert running.result(60) == provider_pb2.MountResponse()
        assert ended.wait(60)


def test_a_socket_that_came_after_the_stop_is_left_alone_though_it_has_the_files_number(
    directory: str,
) -> None:
    """ext4 gives the number of a file that nobody has open any more to the next one."""
    path = f"{directory}/csi.sock"
    with holder(path) as ours:
        assert ours.serve()
        ours.server.stop_accepting(0).wait(60)
        with foreign(path):
            assert not ours.server.is_ours()
            ours.server.close()
            assert accepts(path)


def test_a_call_that_outlives_the_grace_is_cancelled(directory: str) -> None:
    path = f"{directory}/csi.sock"
    with holder(path) as ours, grpc.insecure_channel(f"unix:{path}") as channel:
        assert ours.serve()
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        running = stub.Mount.future(provider_pb2.MountRequest(), timeout=TIMEOUT_SECONDS)
        assert ours.service.in_mount.wait(60)
        ours.server.stop_accepting(0.1)
        with pytest.raises(grpc.RpcError) as caught:
            running.result(60)
        assert caught.value.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


def test_stopping_and_closing_what_never_served_is_no_error(directory: str) -> None:
    ours = Holder(f"{directory}/csi.sock")
    assert ours.server.stop_accepting(1).is_set()
    ours.server.close()
    ours.server.close()
    assert os.listdir(directory) == []
    ours.end()


def accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True
