import contextlib
import errno
import functools
import os
import pty
import resource
import select
import socket
import threading
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.process import log_output
from sscsi.process.log_stream import LogStream
from sscsi.process.privileges import Privileges, drop
from tests.support.forked import in_child
from tests.support.waiting import wait_until

PIPE_BYTES = 65536


def tell_loss(count: int, reason: str) -> bytes:
    return f"LOST {count} {reason}\n".encode()


class Pipe:
    """A pipe with a stream on one end; the test reads, or does not, on the other."""

    def __init__(self, *, has_thread: bool = True, limit_bytes: int = 1 << 20) -> None:
        self.reader, self.writer = os.pipe()
        self.stream = LogStream(self.writer, tell_loss, has_thread=has_thread, limit_bytes=limit_bytes)

    def read(self, size: int = 1 << 20) -> bytes:
        """What is there; b"" when nothing is."""
        return os.read(self.reader, size) if select.select([self.reader], [], [], 0)[0] else b""

    def read_until(self, end: bytes) -> bytes:
        """Everything up to `end`; the stream's own thread, or `flush_pending`, writes it."""
        text = b""

        def arrived() -> bool:
            nonlocal text
            if not self.stream._has_thread:
                self.stream.flush_pending()
            text += self.read()
            return text.endswith(end)

        wait_until(arrived, f"{end!r} arrives; the last was {text[-100:]!r}")
        return text

    def close(self) -> None:
        self.stream.close()
        wait_until(lambda: not log_threads(), "the stream's thread has ended")
        os.close(self.writer)
        with contextlib.suppress(OSError):
            os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with contextlib.closing(Pipe()) as made:
        yield made


@pytest.fixture
def small() -> Iterator[Pipe]:
    """Keeps 4000 bytes, without a thread."""
    with contextlib.closing(Pipe(has_thread=False, limit_bytes=4000)) as made:
        yield made


def log_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "log"]


def line(number: int, size: int = 100) -> bytes:
    return b"%06d %s\n" % (number, b"x" * (size - 8))


def fill(stream: LogStream, size: int = PIPE_BYTES) -> None:
    """What a pipe takes without a reader."""
    for _ in range(size // 4096):
        stream.write(b"-" * 4095 + b"\n")


def numbers(text: bytes) -> list[int]:
    return [int(entry[:6]) for entry in text.splitlines() if entry[:1].isdigit()]


def losses(text: bytes) -> list[int]:
    return [int(entry.split()[1]) for entry in text.splitlines() if entry.startswith(b"LOST")]


def test_a_line_is_out_when_write_returns_and_no_thread_is_there(pipe: Pipe) -> None:
    pipe.stream.write(b"one\n")
    assert pipe.read() == b"one\n"
    pipe.stream.write(b"two\n")
    assert pipe.read() == b"two\n"
    assert not log_threads()


def test_nobody_reads_and_nobody_waits_and_all_arrives_in_order_later(pipe: Pipe) -> None:
    count = 8000
    for number in range(count):
        pipe.stream.write(line(number))
    assert len(log_threads()) == 1
    assert numbers(pipe.read_until(line(count - 1))) == list(range(count))
    wait_until(lambda: not log_threads(), "the thread ends when nothing is pending")
    pipe.stream.write(b"and on\n")
    assert pipe.read() == b"and on\n"


def test_beyond_the_limit_lines_are_lost_and_the_log_says_how_many_and_where(pipe: Pipe) -> None:
    count = 30_000
    for number in range(count):
        pipe.stream.write(line(number))
    text = pipe.read_until(b" \n")
    (lost,) = losses(text)
    arrived = numbers(text)
    assert lost > 0
    assert arrived == list(range(count - lost))
    assert len(text) > 1 << 20


def test_a_loss_is_told_though_nothing_follows(small: Pipe) -> None:
    fill(small.stream)
    for number in range(50):
        small.stream.write(line(number))
    text = small.read_until(b" \n")
    assert numbers(text) == list(range(40))
    assert text.endswith(line(39) + b"LOST 10 \n")


def test_the_notice_stands_where_the_gap_is(small: Pipe) -> None:
    fill(small.stream)
    for number in range(50):
        small.stream.write(line(number))
    # Room for all that is kept.
    assert len(os.read(small.reader, 8192)) == 8192
    small.stream.write(line(50))
    small.stream.write(line(51))
    assert small.read_until(line(51)).endswith(line(39) + b"LOST 11 \n" + line(51))


def test_a_log_that_is_read_slowly_has_few_long_gaps() -> None:
    text, count = b"", 3000
    with contextlib.closing(Pipe(has_thread=False, limit_bytes=40_000)) as pipe:
        fill(pipe.stream)
        for number in range(count):
            pipe.stream.write(line(number))
            if number % 10 == 0:
                text += os.read(pipe.reader, 512)
        while not pipe.stream.flush_pending():
            text += pipe.read()
        text += pipe.read()
    assert len(numbers(text)) + sum(losses(text)) == count
    assert numbers(text) == sorted(numbers(text))
    assert 1 < len(losses(text)) < 12


def test_long_lines_are_whole_and_in_order(pipe: Pipe) -> None:
    sizes = [200 * 1024, 50, 200 * 1024, 70_000, 20]
    for number, size in enumerate(sizes):
        pipe.stream.write(line(number, size))
    assert pipe.read_until(line(4, 20)) == b"".join(line(number, size) for number, size in enumerate(sizes))


def test_a_line_that_is_longer_than_what_is_kept_is_not_cut(small: Pipe) -> None:
    long = line(1, 3 * PIPE_BYTES)
    small.stream.write(long)
    assert small.read_until(long[-10:]) == long


@given(st.lists(st.integers(min_value=8, max_value=9000), max_size=60), st.integers(0, 2**32))
def test_whatever_is_read_when_nothing_is_mixed_and_everything_is_counted(
    sizes: list[int], seed: int
) -> None:
    pipe = Pipe(has_thread=False, limit_bytes=20_000)
    text = b""
    with contextlib.closing(pipe):
        for number, size in enumerate(sizes):
            pipe.stream.write(line(number, size))
            if seed >> (number % 32) & 1:
                text += pipe.read(7000)
        while not pipe.stream.flush_pending():
            text += pipe.read(7000)
        text += pipe.read()
    entries = text.splitlines(keepends=True)
    assert [e for e in entries if not e.startswith(b"LOST")] == [line(n, sizes[n]) for n in numbers(text)]
    assert len(numbers(text)) + sum(losses(text)) == len(sizes)
    assert numbers(text) == sorted(numbers(text))


def test_threads_that_write_at_once_do_not_mix(pipe: Pipe) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 500):
            pipe.stream.write(line(number, 300))

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.stream.write(b"end\n")
    text = pipe.read_until(b"end\n")
    arrived = numbers(text)
    assert all(entry == line(int(entry[:6]), 300)[:-1] for entry in text.splitlines()[:-1])
    for first in (0, 1000, 2000):
        assert [n for n in arrived if n // 1000 == first // 1000] == list(range(first, first + 500))


def test_two_processes_on_one_pipe_do_not_mix(pipe: Pipe) -> None:
    """Both write more than the pipe takes before anybody reads."""

    def write(first: int) -> None:
        for number in range(first, first + 1000):
            pipe.stream.write(line(number, 200))

    child = os.fork()
    if child == 0:
        write(10_000)
        os._exit(0 if pipe.stream.drain(20) else 1)
    write(20_000)
    text = b""

    def has_all() -> bool:
        nonlocal text
        text += pipe.read()
        return text.count(b"\n") == 2000

    wait_until(has_all, "the lines of both arrive")
    assert os.waitpid(child, 0)[1] == 0
    assert all(entry == line(int(entry[:6]), 200)[:-1] for entry in text.splitlines())
    for first in (10_000, 20_000):
        assert [n for n in numbers(text) if n // 10_000 == first // 10_000] == list(
            range(first, first + 1000)
        )


def test_a_forked_child_does_not_write_what_is_pending_in_its_parent(small: Pipe) -> None:
    fill(small.stream)
    for number in range(50):
        small.stream.write(line(number))

    def action() -> str:
        small.stream.write(b"child\n")
        return str(small.stream.drain(5))

    rest = os.read(small.reader, PIPE_BYTES)
    assert in_child(action) == "True"
    assert small.read() == b"child\n"
    assert numbers(rest) == []
    text = small.read_until(b" \n")
    assert numbers(text) == list(range(40))
    assert losses(text) == [10]


def test_a_child_forked_while_another_thread_writes_is_not_locked_out(small: Pipe) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with small.stream._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of just what this is about.
            warnings.simplefilter("ignore", DeprecationWarning)
            in_child(functools.partial(small.stream.write, b"child\n"))
    finally:
        release.set()
        thread.join()
    assert small.read() == b"child\n"


def test_a_forked_child_writes_to_what_the_descriptor_is_by_then(small: Pipe) -> None:
    """Another pipe is put in its place there, by supervisord."""
    reader, writer = os.pipe()

    def action() -> None:
        os.dup2(writer, small.writer)
        for number in range(2000):
            small.stream.write(line(number))

    in_child(action)
    assert numbers(os.read(reader, PIPE_BYTES))[:3] == [0, 1, 2]
    assert small.read() == b""
    os.close(reader)
    os.close(writer)


def test_a_pipe_whose_reader_is_gone_is_no_error(pipe: Pipe) -> None:
    os.close(pipe.reader)
    pipe.stream.write(b"one\n")
    pipe.stream.write(b"two\n")
    assert pipe.stream.flush_pending()
    assert not log_threads()


def test_a_reader_that_goes_away_while_lines_are_pending_ends_the_waiting(pipe: Pipe) -> None:
    for number in range(2000):
        pipe.stream.write(line(number))
    assert log_threads()
    os.close(pipe.reader)
    wait_until(lambda: not log_threads(), "the thread has ended")
    assert pipe.stream.drain(0)


def test_a_pipe_that_had_no_reader_from_the_start_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = LogStream(writer, tell_loss)
    stream.write(b"one\n")
    assert stream.drain(0)
    os.close(writer)


def test_a_descriptor_that_is_closed_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    stream = LogStream(writer, tell_loss)
    stream.write(b"one\n")
    stream.write(b"two\n")
    assert stream.drain(0)


def test_a_full_disk_is_no_error() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    stream = LogStream(full, tell_loss)
    for number in range(100):
        stream.write(line(number))
    assert stream.drain(0)
    assert not log_threads()
    os.close(full)


@contextlib.contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """What a file has beyond is refused, as by a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_has_room_again_gets_the_count_and_every_line_is_whole(
    tmp_path: os.PathLike[str],
) -> None:
    path = os.path.join(tmp_path, "log")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    stream = LogStream(file, tell_loss)
    with files_no_longer_than(250):
        for number in range(5):
            stream.write(line(number))
    stream.write(line(5))
    stream.write(line(6))
    os.close(file)
    with open(path, "rb") as written:
        text = written.read()
    torn = line(2)[:50]
    assert text == line(0) + line(1) + torn + b"\nLOST 3 File too large\n" + line(5) + line(6)


def test_a_terminal_gets_its_lines() -> None:
    master, slave = pty.openpty()
    stream = LogStream(slave, tell_loss)
    stream.write(b"one\n")
    assert os.read(master, 100) == b"one\r\n"
    assert os.get_blocking(slave)
    os.close(master)
    os.close(slave)


def test_a_socket_that_nobody_reads_does_not_block_and_loses_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = LogStream(ours.fileno(), tell_loss)
        count = 8000
        for number in range(count):
            stream.write(line(number))
        assert ours.getblocking()
        text = b""
        while not text.endswith(line(count - 1)):
            text += theirs.recv(1 << 20)
        assert numbers(text) == list(range(count))
        wait_until(lambda: not log_threads(), "the thread has ended")


def test_a_socket_whose_reader_is_gone_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        stream = LogStream(ours.fileno(), tell_loss)
        stream.write(b"one\n")
        assert stream.drain(0)


def test_a_datagram_socket_gets_a_datagram_a_line() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        stream = LogStream(ours.fileno(), tell_loss)
        for number in range(3000):
            stream.write(line(number))
        for number in range(3000):
            assert theirs.recv(1000) == line(number)
        wait_until(lambda: not log_threads(), "the thread has ended")


def test_the_open_file_of_others_stays_as_it_was() -> None:
    """Whoever shares the pipe's open file, the parent maybe, goes on to block as it expects."""
    reader, writer = os.pipe()
    parents = os.dup(writer)
    assert LogStream(writer, tell_loss).drain(0)
    assert not os.get_blocking(writer)
    assert os.get_blocking(parents)
    for descriptor in (reader, writer, parents):
        os.close(descriptor)


def test_a_descriptor_is_inherited_as_before() -> None:
    for inheritable in (False, True):
        reader, writer = os.pipe()
        os.set_inheritable(writer, inheritable)
        assert log_output.unblock(writer)
        assert os.get_inheritable(writer) is inheritable
        os.close(reader)
        os.close(writer)


@pytest.mark.root
def test_a_pipe_that_may_not_be_opened_anew_does_not_block_either() -> None:
    reader, writer = os.pipe()
    os.fchmod(writer, 0)

    def action() -> str:
        # Root without capabilities: the mode counts.
        drop(Privileges())
        assert not log_output.unblock(writer)
        stream = LogStream(writer, tell_loss, has_thread=False)
        for number in range(2000):
            stream.write(line(number))
        assert os.get_blocking(writer)
        text = b""
        while not stream.flush_pending():
            text += os.read(reader, PIPE_BYTES)
        text += os.read(reader, PIPE_BYTES)
        return str(numbers(text) == list(range(2000)))

    assert in_child(action) == "True"
    os.close(reader)
    os.close(writer)


def test_a_line_that_is_logged_while_a_line_is_written_comes_after_it() -> None:
    """As a finalizer may, at any instruction."""
    reader, writer = os.pipe()
    nested: list[bytes] = [b"nested\n"]

    def write(data: bytes) -> int:
        if nested:
            stream.write(nested.pop())
        return os.write(writer, data)

    stream = LogStream(writer, tell_loss)
    stream._writer = write
    stream.write(b"one\n")
    assert os.read(reader, 100) == b"one\nnested\n"
    os.close(reader)
    os.close(writer)


def test_waiting_for_the_end_ends(pipe: Pipe) -> None:
    for number in range(2000):
        pipe.stream.write(line(number))
    assert not pipe.stream.drain(0.05)


def test_what_is_pending_is_written_when_the_end_is_waited_for(small: Pipe) -> None:
    fill(small.stream)
    small.stream.write(b"last\n")
    drained: list[bool] = []
    thread = threading.Thread(target=lambda: drained.append(small.stream.drain(10)))
    thread.start()
    text = b""

    def all_read() -> bool:
        nonlocal text
        text += small.read()
        return text.endswith(b"last\n")

    wait_until(all_read, "the last line arrives")
    thread.join()
    assert drained == [True]


def test_a_stream_that_was_closed_has_no_thread(pipe: Pipe) -> None:
    for number in range(2000):
        pipe.stream.write(line(number))
    assert log_threads()
    pipe.stream.close()
    wait_until(lambda: not log_threads(), "the thread has ended")


def test_losses_are_counted_and_no_longer_untold_when_the_log_tells_them(small: Pipe) -> None:
    number = 0
    while not small.stream.losses()[1]:
        small.stream.write(line(number))
        number += 1
    small.stream.write(line(number))
    assert small.stream.losses() == (2, True, "")
    assert small.read()
    assert small.stream.flush_pending()
    assert small.stream.losses() == (2, False, "")
    assert b"LOST 2 \n" in small.read()


def test_a_line_that_tells_of_losses_is_none_of_the_programs_own() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    stream = LogStream(descriptor, tell_loss)
    for number in range(3):
        stream.write(line(number))
        assert stream.losses() == (number + 1, True, os.strerror(errno.ENOSPC))
    assert stream.losses() == (3, True, os.strerror(errno.ENOSPC))
    os.close(descriptor)


def test_an_owner_may_write_in_a_way_of_its_own() -> None:
    taken: list[bytes] = []

    def open_writer(descriptor: int) -> log_output.Writer:
        assert descriptor == 7

        def write(data: bytes) -> int:
            taken.append(data[:3])
            return min(len(data), 3)

        return write

    LogStream(7, tell_loss, open_writer=open_writer).write(b"abcdef\n")
    assert b"".join(taken) == b"abcdef\n"
