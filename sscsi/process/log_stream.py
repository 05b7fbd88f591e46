"""A stream of log lines that never makes its writer wait.

A line goes out whole, by one write in the calling thread. When the kernel does not take it, because nobody reads the
other end of the pipe, it is kept, in order, with those that follow; a thread that exists only for that time, or the
owner's loop, writes them later. When too much is kept, lines are lost, and counted: the log itself tells of it as
soon as it goes on. What can't be written at all (the reader is gone, the disk is full) is lost in the same way.

Lines of up to PIPE_BUF (4096) bytes are never mixed with those of other processes on the same pipe; the kernel may
take a longer one in parts. Within this process nothing is ever mixed.
"""

import collections
import os
import threading
import time
import weakref
from collections.abc import Callable

from sscsi.process import log_output

# What a process keeps for a reader that is away.
_LIMIT_BYTES = 1 << 20
# How long the thread watches a pipe that takes nothing before it asks whether it is still wanted.
_LOOK_SECONDS = 1.0
# Where poll says yes and write says no (a datagram socket may), nobody must spin.
_PAUSE_SECONDS = 0.02

TellLoss = Callable[[int, str], bytes]
"""Makes the line that says how many lines were lost, and why ("": only that nobody read them)."""


class LogStream:
    """The lines written to one descriptor, which is the caller's, and becomes one that does not block if it is a pipe.

    Without `has_thread` the owner calls `flush_pending` now and then. `open_writer` makes what writes to the descriptor, for
    an owner who knows better how. Nothing in here raises OSError. A child made by
    fork starts with nothing pending, and looks anew at what the descriptor is.
    """

    def __init__(
        self,
        descriptor: int,
        tell_loss: TellLoss,
        *,
        has_thread: bool = True,
        limit_bytes: int = _LIMIT_BYTES,
        open_writer: Callable[[int], log_output.Writer] = log_output.open_writer,
    ) -> None:
        self._descriptor = descriptor
        self._open_writer = open_writer
        self._tell_loss = tell_loss
        self._has_thread = has_thread
        self._limit_bytes = limit_bytes
        self._closed = False
        self._writer: log_output.Writer | None
        self.renew_after_fork()
        self._writer = open_writer(descriptor)
        _streams.add(self)

    def renew_after_fork(self) -> None:
        """In the child: forget the lines, the lock and the thread, which are the parent's."""
        # By the next line the descriptor may be another one.
        self._writer = None
        # A finalizer that logs may run in the middle of anything here: the lock lets it in, `_busy` keeps it out.
        self._lock = threading.RLock()
        self._busy = False
        # What is not written yet, and how many of the program's lines each piece stands for: 1, or as many as it tells
        # to be lost, negative.
        self._kept: collections.deque[tuple[bytes, int]] = collections.deque()
        self._kept_bytes = 0
        # The beginning of the first piece is out; then, that the rest will never be.
        self._has_begun = self._is_torn = False
        self._lost = self._lost_in_all = 0
        self._reason = ""
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Write one line, its newline included, now or later."""
        with self._lock:
            self._keep(line)
            if not self._busy:
                self._flush()

    def losses(self) -> tuple[int, bool, str]:
        """Of the program's lines, how many are lost so far; whether the log does not tell it yet; why (`TellLoss`)."""
        with self._lock:
            return self._lost_in_all, bool(self._lost), self._reason

    def flush_pending(self) -> bool:
        """Write what can be written at once. Whether nothing is pending."""
        with self._lock:
            if (self._kept or self._lost) and not self._busy:
                self._flush()
            return not self._kept

    def drain(self, seconds: float) -> bool:
        """Write what is pending, for so long at most. Whether nothing is pending."""
        deadline = time.monotonic() + seconds
        while not self.flush_pending():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            log_output.wait_for_room(self._descriptor, min(left, _PAUSE_SECONDS))
        return True

    def close(self) -> None:
        """Give up what is pending, and the thread. The descriptor stays open."""
        with self._lock:
            self._closed = True
            self._lost_in_all += sum(lines for _, lines in self._kept if lines > 0)
            self._drop_kept()

    def _keep(self, line: bytes) -> None:
        # Once lines were lost, half of the room must be free before more are taken: one long gap, not many.
        limit = self._limit_bytes // 2 if self._lost else self._limit_bytes
        if self._kept and self._kept_bytes + len(line) > limit:
            self._lost += 1
            self._lost_in_all += 1
            return
        if self._lost:
            self._keep_notice()
        self._kept.append((line, 1))
        self._kept_bytes += len(line)

    def _keep_notice(self) -> None:
        notice = self._tell_loss(self._lost, self._reason)
        if self._is_torn:
            notice = b"\n" + notice
        self._kept.append((notice, -self._lost))
        self._kept_bytes += len(notice)
        self._lost, self._reason = 0, ""

    def _flush(self) -> None:
        self._busy = True
        try:
            self._write_kept()
        except OSError as error:
            self._lost += sum(abs(lines) for _, lines in self._kept)
            self._lost_in_all += sum(lines for _, lines in self._kept if lines > 0)
            self._reason = os.strerror(error.errno) if error.errno else str(error)
            self._drop_kept()
        finally:
            self._busy = False
        if self._kept and self._has_thread and not self._thread and not self._closed:
            self._start_thread()

    def _write_kept(self) -> None:
        if self._writer is None:
            self._writer = self._open_writer(self._descriptor)
        while self._kept or self._lost:
            if not self._kept:
                self._keep_notice()
            piece, lines = self._kept[0]
            try:
                taken = self._writer(piece)
            except BlockingIOError:
                return
            self._kept_bytes -= taken
            self._is_torn = False
            self._has_begun = taken < len(piece)
            if self._has_begun:
                self._kept[0] = (piece[taken:], lines)
            else:
                self._kept.popleft()

    def _drop_kept(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
        self._is_torn = self._is_torn or self._has_begun
        self._has_begun = False

    def _start_thread(self) -> None:
        # Daemonic: a reader that never comes must not keep a process that is done.
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # The machine gives no more threads, or the interpreter ends: the next line, or `drain`, writes these.
            self._thread = None

    def _work(self) -> None:
        pause = threading.Event()
        while True:
            log_output.wait_for_room(self._descriptor, _LOOK_SECONDS)
            with self._lock:
                before = self._kept_bytes
                if not self._closed:
                    self._flush()
                if not self._kept:
                    self._thread = None
                    return
                is_stuck = self._kept_bytes == before
            if is_stuck:
                pause.wait(_PAUSE_SECONDS)


_streams: weakref.WeakSet[LogStream] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for stream in _streams:
        stream.renew_after_fork()


os.register_at_fork(after_in_child=_renew_after_fork)
