"""The path of a socket at its edges: who comes at which moment, whose files are there, what the machine lacks."""

import contextlib
import ctypes
import errno
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import pytest

from sscsi.edges.socket_path import SocketPath
from sscsi.edges.unix_socket import SocketServer
from sscsi.errors import ConfigError, SocketBusyError
from tests.support.other_user import as_nobody

MNT_DETACH = 2


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as made:
        yield made


@contextlib.contextmanager
def listener(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(path)
        made.listen(5)
        yield made


def identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def no_link(_source: str, _target: str) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("link", [os.link, no_link])
@pytest.mark.parametrize("is_dead_there", [False, True])
def test_a_socket_is_put_in_its_place_with_its_mode_with_and_without_hard_links(
    directory: str, link: Callable[[str, str], None], is_dead_there: bool
) -> None:
    place = SocketPath(f"{directory}/s.sock", link=link)
    if is_dead_there:
        with listener(place.path):
            pass
    with listener(place.hidden):
        ours = identity(place.hidden)
        assert place.publish(0o640)
        assert os.listdir(directory) == ["s.sock"]
        assert identity(place.path) == ours
        assert os.lstat(place.path).st_mode & 0o777 == 0o640
        assert place.is_ours()
        place.withdraw()
        assert (os.listdir(directory), place.is_ours()) == ([], False)


def test_who_comes_in_the_last_moment_is_not_replaced(directory: str) -> None:
    with contextlib.ExitStack() as stack:

        def link(source: str, target: str) -> None:
            stack.enter_context(listener(target))
            os.link(source, target)

        place = SocketPath(f"{directory}/s.sock", link=link)
        stack.enter_context(listener(place.hidden))
        assert not place.publish(0o600)
        assert not place.is_ours()
        assert sorted(os.listdir(directory)) == [".s.sock~", "s.sock"]
        with pytest.raises(SocketBusyError, match="a live server"):
            place.claim()


def test_who_takes_the_place_of_a_dead_socket_before_that_is_moved_is_moved_back(directory: str) -> None:
    place = SocketPath(f"{directory}/s.sock")
    with listener(place.path):
        theirs = identity(place.path)
        # As if the connection that was refused had been tried just before this one came.
        place._remove_dead_socket()
        assert os.listdir(directory) == ["s.sock"]
        assert identity(place.path) == theirs


def test_a_dead_socket_that_somebody_else_removes_is_removed(directory: str) -> None:
    SocketPath(f"{directory}/s.sock")._remove_dead_socket()
    assert os.listdir(directory) == []


def test_a_directory_that_goes_before_the_last_step_is_an_error(directory: str) -> None:
    """Whoever asks takes it from the error that the path is to be claimed anew."""
    os.mkdir(f"{directory}/d")
    place = SocketPath(f"{directory}/d/s.sock")
    with listener(place.hidden):
        os.rename(f"{directory}/d", f"{directory}/moved")
        with pytest.raises(FileNotFoundError):
            place.publish(0o600)


def test_a_directory_that_goes_at_the_very_last_step_is_an_error(directory: str) -> None:
    os.mkdir(f"{directory}/d")

    def link(source: str, target: str) -> None:
        os.rename(f"{directory}/d", f"{directory}/moved")
        os.link(source, target)

    place = SocketPath(f"{directory}/d/s.sock", link=link)
    with listener(place.hidden), pytest.raises(FileNotFoundError):
        place.publish(0o600)
    assert not place.is_ours()


def test_a_directory_that_is_not_to_be_entered_has_no_socket_of_ours(directory: str) -> None:
    place = SocketPath(f"{directory}/s.sock")
    with listener(place.hidden):
        assert place.publish(0o600)
        os.chmod(directory, 0o600)
        with as_nobody():
            assert not place.is_ours()
            place.withdraw()
        os.chmod(directory, 0o700)


def test_a_directory_that_takes_no_change_any_more_keeps_the_socket_and_that_is_told(
    directory: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = SocketPath(f"{directory}/s.sock")
    with listener(place.hidden):
        assert place.publish(0o600)
        os.chmod(directory, 0o555)
        with as_nobody():
            place.withdraw()
        os.chmod(directory, 0o755)
    assert len(caplog.records) == 1
    assert os.listdir(directory) == ["s.sock"]


@pytest.mark.parametrize("is_live", [False, True])
def test_a_socket_that_may_not_be_tried_is_waited_for_with_its_reason(directory: str, is_live: bool) -> None:
    """A dead one can't be told from a live one: its server may be in another network namespace."""
    place = SocketPath(f"{directory}/s.sock")
    os.chmod(directory, 0o777)
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(listener(place.path))
        os.chmod(place.path, 0)
        if not is_live:
            made.close()
        before = identity(place.path)
        with as_nobody(), pytest.raises(SocketBusyError, match="may not try") as reason:
            place.claim()
        assert f"is user {os.geteuid()}'s" in str(reason.value)
        assert "remove it, if there is none" in str(reason.value)
        assert identity(place.path) == before
        place.release()


def test_a_lock_file_of_another_user_is_told_with_its_owner_and_the_cure(directory: str) -> None:
    place = SocketPath(f"{directory}/s.sock")
    os.chmod(directory, 0o777)
    place.claim()
    place.release()
    os.chmod(f"{place.path}.lock", 0)
    with as_nobody(), pytest.raises(ConfigError, match="Permission denied; it is user") as refusal:
        place.claim()
    assert f"{place.path}.lock" in str(refusal.value)
    assert "remove it, if no program of that user" in str(refusal.value)


@pytest.mark.root
@pytest.mark.parametrize(("inodes", "what"), [(2, "lock file"), (3, "cannot listen")])
def test_a_full_disk_is_the_reason_that_is_told(directory: str, inodes: int, what: str) -> None:
    """Room for the directory itself, or for the lock file as well."""
    with small_disk(directory, inodes=inodes - 1):
        server = SocketServer(
            f"{directory}/s.sock",
            mode=0o600,
            add_services=lambda _server: None,
            pool=futures.ThreadPoolExecutor(1),
            interceptors=(),
        )
        with pytest.raises(ConfigError, match=f"{what}.*No space left on device") as refusal:
            server.serve(threading.Event())
        assert "remove" not in str(refusal.value)
        server.close()


@contextlib.contextmanager
def small_disk(directory: str, *, inodes: int) -> Iterator[None]:
    """A disk with room for so many files, the directory itself among them."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"tmpfs", directory.encode(), b"tmpfs", 0, f"nr_inodes={inodes}".encode()) == 0
    try:
        yield
    finally:
        libc.umount2(directory.encode(), MNT_DETACH)
