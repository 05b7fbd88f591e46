"""A log that nobody reads: no program waits for a reader, and supervisord does not either."""

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.appliance_place import DRIVER, SSCSI, START_SECONDS, STOP_SECONDS, new_place
from tests.support.fake_kubelet import fake_kubelet
from tests.support.supervised import PROGRAMS, Supervised
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root]

# The least that a pipe holds, pipe(7).
_PIPE_BYTES = 4096


@pytest.fixture
def unread() -> Iterator[Supervised]:
    """An appliance that says everything into a pipe that is full, and that nobody reads."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with new_place() as place, fake_kubelet(place.path("registration")) as kubelet:
        with subprocess.Popen(
            [SSCSI, "run", "--v=5"],
            env=place.environ,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
        ) as process:
            os.set_blocking(writer, False)
            try:
                wait_until(place.all_serve, "all serve", seconds=START_SECONDS)
                kubelet.wait_registered(DRIVER)
                fill(writer)
                yield Supervised(place, process, kubelet)
            finally:
                process.terminate()
                process.wait(STOP_SECONDS)
        for end in (reader, writer):
            os.close(end)


def fill(writer: int) -> None:
    """Leave no room for a byte, whatever there was."""
    for size in (1024, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"\n" * size)


def test_all_goes_on_while_nobody_reads_and_the_end_comes_when_it_is_asked_for(unread: Supervised) -> None:
    for program in PROGRAMS:
        unread.wait_back(program, unread.kill(program))
        assert unread.publishes()
    assert unread.place.get("/healthz") == (200, "ok")
    # A program is forked from a process with one thread, also when that has lines to write.
    assert os.listdir(f"/proc/{unread.pid}/task") == [str(unread.pid)]
    unread.process.terminate()
    assert unread.process.wait(STOP_SECONDS) == 0
