import errno
import os
import select
import tempfile
from collections.abc import Iterator

import pytest

from sscsi.edges.inotify import Change, Inotify, Kind


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as made:
        yield made


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    made = Inotify()
    yield made
    made.close()


def test_names_that_come_and_go_are_told_in_order(directory: str, inotify: Inotify) -> None:
    watch = inotify.add(directory)
    open(f"{directory}/a", "w", encoding="ascii").close()
    os.rename(f"{directory}/a", f"{directory}/b")
    os.unlink(f"{directory}/b")
    os.mkdir(f"{directory}/d")
    assert inotify.read() == [
        Change(watch, Kind.CREATED, "a", is_directory=False),
        Change(watch, Kind.MOVED_AWAY, "a", is_directory=False),
        Change(watch, Kind.CREATED, "b", is_directory=False),
        Change(watch, Kind.DELETED, "b", is_directory=False),
        Change(watch, Kind.CREATED, "d", is_directory=True),
    ]


def test_a_name_is_any_bytes(directory: str, inotify: Inotify) -> None:
    inotify.add(directory)
    name = os.fsdecode(b"\xff\xfe a")
    os.mkdir(f"{directory}/{name}")
    assert [change.name for change in inotify.read()] == [name]


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_the_end_of_the_directory_itself_is_told(directory: str, inotify: Inotify, how: str) -> None:
    os.mkdir(f"{directory}/d")
    inotify.add(f"{directory}/d")
    if how == "removed":
        os.rmdir(f"{directory}/d")
    else:
        os.rename(f"{directory}/d", f"{directory}/e")
    changes = inotify.read()
    assert {change.kind for change in changes} == {Kind.ENDED}
    assert {change.name for change in changes} == {""}


def test_reading_waits_for_nothing_and_the_descriptor_says_when_there_is_something(
    directory: str, inotify: Inotify
) -> None:
    inotify.add(directory)
    assert inotify.read() == []
    poll = select.poll()
    poll.register(inotify.fileno(), select.POLLIN)
    assert poll.poll(0) == []
    os.mkdir(f"{directory}/d")
    assert poll.poll(1000)


def test_more_changes_than_one_read_holds_are_all_told(directory: str, inotify: Inotify) -> None:
    inotify.add(directory)
    names = [f"{number:03d}" + "x" * 200 for number in range(100)]
    for name in names:
        os.mkdir(f"{directory}/{name}")
    assert [change.name for change in inotify.read()] == names


def test_changes_that_were_lost_are_told_as_lost(directory: str, inotify: Inotify) -> None:
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        limit = int(file.read())
    if limit > 100_000:
        pytest.skip(f"fs.inotify.max_queued_events is {limit}: it takes too long to fill")
    inotify.add(directory)
    for number in range(limit // 2 + 2):
        os.mkdir(f"{directory}/{number}")
        os.rmdir(f"{directory}/{number}")
    assert inotify.read()[-1] == Change(-1, Kind.LOST, "", is_directory=False)


@pytest.mark.parametrize(("name", "number"), [("gone", errno.ENOENT), ("file", errno.ENOTDIR)])
def test_what_is_no_directory_is_refused(directory: str, inotify: Inotify, name: str, number: int) -> None:
    open(f"{directory}/file", "w", encoding="ascii").close()
    with pytest.raises(OSError, match=name) as refusal:
        inotify.add(f"{directory}/{name}")
    assert refusal.value.errno == number


def test_a_closed_one_gives_its_descriptor_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        Inotify().close()
    assert len(os.listdir("/proc/self/fd")) == before
