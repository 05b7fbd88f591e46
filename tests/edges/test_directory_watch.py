import errno
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sscsi.edges.directory_watch import DirectoryWatch
from sscsi.edges.inotify import Inotify

LONG_SECONDS = 30.0


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as made:
        yield made


@pytest.fixture
def watch(directory: str) -> Iterator[DirectoryWatch]:
    os.mkdir(f"{directory}/d")
    made = DirectoryWatch(f"{directory}/d")
    made.arm()
    yield made
    made.close()


def seconds_of(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def test_a_change_ends_the_wait(directory: str, watch: DirectoryWatch) -> None:
    thread = threading.Timer(0.05, os.mkdir, [f"{directory}/d/new"])
    thread.start()
    assert seconds_of(lambda: watch.wait(LONG_SECONDS)) < LONG_SECONDS / 2
    thread.join()


def test_a_change_before_the_wait_ends_it_too_and_only_once(directory: str, watch: DirectoryWatch) -> None:
    os.mkdir(f"{directory}/d/new")
    assert seconds_of(lambda: watch.wait(LONG_SECONDS)) < LONG_SECONDS / 2
    assert seconds_of(lambda: watch.wait(0.1)) >= 0.09


def test_another_thread_ends_the_wait_and_only_once(watch: DirectoryWatch) -> None:
    watch.wake()
    watch.wake()
    assert seconds_of(lambda: watch.wait(LONG_SECONDS)) < LONG_SECONDS / 2
    assert seconds_of(lambda: watch.wait(0.1)) >= 0.09


def test_a_wait_ends_by_itself(watch: DirectoryWatch) -> None:
    assert seconds_of(lambda: watch.wait(0.1)) >= 0.09


def test_the_end_of_the_directory_ends_the_wait_and_a_new_one_can_be_watched(
    directory: str, watch: DirectoryWatch
) -> None:
    os.rmdir(f"{directory}/d")
    assert seconds_of(lambda: watch.wait(LONG_SECONDS)) < LONG_SECONDS / 2
    assert 0.5 < seconds_of(lambda: watch.wait(LONG_SECONDS)) < LONG_SECONDS / 2, "a look once a second"
    with pytest.raises(FileNotFoundError):
        watch.arm()
    os.mkdir(f"{directory}/d")
    watch.arm()
    assert seconds_of(lambda: watch.wait(0.1)) >= 0.09
    os.mkdir(f"{directory}/d/new")
    assert seconds_of(lambda: watch.wait(LONG_SECONDS)) < LONG_SECONDS / 2


def test_without_inotify_a_wait_is_a_second_at_most(directory: str, caplog: pytest.LogCaptureFixture) -> None:
    def none_to_be_had() -> Inotify:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    watch = DirectoryWatch(directory, open_inotify=none_to_be_had)
    watch.arm()
    watch.arm()
    assert seconds_of(lambda: watch.wait(LONG_SECONDS)) < LONG_SECONDS / 2
    watch.wake()
    assert seconds_of(lambda: watch.wait(LONG_SECONDS)) < 0.9
    watch.close()
    assert len(caplog.records) == 1


def test_arming_and_closing_gives_every_descriptor_back(directory: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watch = DirectoryWatch(directory)
    for _ in range(10):
        watch.arm()
    watch.close()
    assert len(os.listdir("/proc/self/fd")) == before
