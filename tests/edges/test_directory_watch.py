import errno
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sscsi.core.log_keys import REASON
from sscsi.edges.directory_watch import DirectoryWatch
from sscsi.edges.inotify import Inotify

LONG_SECONDS = 60.0


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


class Failing(Inotify):
    """Has no watch to give."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def add(self, path: str) -> int:
        raise OSError(self._number, os.strerror(self._number), path)


def none_to_be_had() -> Inotify:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize(
    ("open_inotify", "setting"),
    [
        (none_to_be_had, "fs.inotify.max_user_instances"),
        (lambda: Failing(errno.ENOSPC), "fs.inotify.max_user_watches"),
        (lambda: Failing(errno.EACCES), ""),
    ],
    ids=["no instance", "no watch", "no right to read"],
)
def test_without_inotify_a_wait_is_a_second_at_most_and_why_is_told_once(
    directory: str, caplog: pytest.LogCaptureFixture, open_inotify: Callable[[], Inotify], setting: str
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watch = DirectoryWatch(directory, open_inotify=open_inotify)
    watch.arm()
    watch.arm()
    assert seconds_of(lambda: watch.wait(LONG_SECONDS)) < LONG_SECONDS / 2

    def wake_and_wait() -> None:
        watch.wake()
        watch.wait(LONG_SECONDS)

    assert sum(seconds_of(wake_and_wait) for _ in range(60)) < 30.0, "not a second each"
    watch.close()
    (record,) = caplog.records
    reason = record.__dict__[REASON]
    assert setting in reason
    assert ("fs.inotify" in reason) is bool(setting)
    # Less, when something of another test is given back only now.
    assert len(os.listdir("/proc/self/fd")) <= before


def test_arming_and_closing_gives_every_descriptor_back(directory: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watch = DirectoryWatch(directory)
    for _ in range(10):
        watch.arm()
    watch.close()
    assert len(os.listdir("/proc/self/fd")) == before
