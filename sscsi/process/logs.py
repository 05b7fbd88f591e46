"""Logging of every program: stderr, one formatter, klog's text form or JSON.

The text form is klog's (`I1124 15:04:05.000000    1234 node/publish.py:88] "msg" key="value"`), which
upstream's users and log shippers parse; the file's place starts with the program's name. The JSON form has
upstream's keys `level`, `timestamp`, `caller`, `message`. Fields are the closed list of `log_keys`. An
exception is written as its types and its places, never its text, which may quote the data it choked on.

No program ever waits because nobody reads its log: see `log_stream`.
"""

import functools
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType

from sscsi.core import log_keys, log_levels
from sscsi.process.log_stream import LogStream

_LETTERS = {
    logging.WARNING: "W",
    logging.ERROR: "E",
    logging.CRITICAL: "F",
}
_LEVELS = {
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}
# What is pending when the process ends gets this long to be read.
_LAST_CHANCE_SECONDS = 0.5

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

# Made once: json.dumps makes one for each value that is not written its default way.
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


class _Formatter(logging.Formatter):
    _SECOND: str
    """For strftime: the stamp up to the second."""
    _calendar: Callable[[float], time.struct_time]

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program
        self._second = (-1, "")

    def _stamp(self, record: logging.LogRecord) -> str:
        """The record's time. What is the same for a whole second is made once."""
        second = int(record.created)
        made_for, text = self._second
        if made_for != second:
            text = time.strftime(self._SECOND, self._calendar(second))
            self._second = (second, text)
        return f"{text}.{int(record.created % 1 * 1e6):06d}"

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        fields = {key: record.__dict__[key] for key in log_keys.ALL if key in record.__dict__}
        if record.exc_info:
            fields[log_keys.STACK] = describe_exception(record.exc_info)
        return fields

    def _place(self, record: logging.LogRecord) -> str:
        return f"{self._program}/{record.filename}:{record.lineno}"


class TextFormatter(_Formatter):
    """Klog's text form."""

    _SECOND = "%m%d %H:%M:%S"
    _calendar = staticmethod(time.localtime)

    def format(self, record: logging.LogRecord) -> str:
        letter = _LETTERS.get(record.levelno, "I")
        head = f"{letter}{self._stamp(record)} {record.process:7d} {self._place(record)}]"
        fields = "".join(f" {key}={_ENCODER.encode(value)}" for key, value in self._fields(record).items())
        return f"{head} {_ENCODER.encode(record.getMessage())}{fields}"


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    _SECOND = "%Y-%m-%dT%H:%M:%S"
    _calendar = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "level": _LEVELS.get(record.levelno, "debug"),
            "timestamp": f"{self._stamp(record)}Z",
            "caller": self._place(record),
            "message": record.getMessage(),
            **self._fields(record),
        }
        return _ENCODER.encode(document)


def describe_exception(exc_info: ExcInfo) -> str:
    """Types and places of an exception and its causes, innermost last; no message, no source line."""
    parts: list[str] = []
    seen: set[int] = set()
    error = exc_info[1]
    # `raise first from second`, where second was raised while first was handled, makes a ring.
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = traceback.extract_tb(error.__traceback__)
        places = " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames)
        )
        parts.append(f"{type(error).__name__} at {places}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "; after ".join(parts)


class _LineHandler(logging.Handler):
    """Hands each line to a stream that has a lock of its own: lines are made side by side."""

    def __init__(self, stream: LogStream) -> None:
        super().__init__()
        self.stream = stream

    def handle(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a line that can't be made must not end what logged it
            self.handleError(record)
        else:
            self.stream.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> None:
        """At the end of the process (`logging.shutdown`, which exit calls): the last chance of what is pending."""
        self.stream.drain(_LAST_CHANCE_SECONDS)

    def close(self) -> None:
        self.stream.close()
        super().close()


def configure(program: str, *, as_json: bool, verbosity: int, has_thread: bool = True) -> None:
    """Send all logging of this process to stderr. `verbosity` is klog's `-v` (`log_levels`).

    A process that must stay without threads says so, and calls `flush_pending` now and then. One that leaves by
    `os._exit` calls `logging.shutdown` first.
    """
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, _LineHandler):
            old.flush()
            old.close()
    formatter = JsonFormatter(program) if as_json else TextFormatter(program)
    handler = _handler(formatter, has_thread=has_thread)
    handler.setFormatter(formatter)
    root.handlers[:] = [handler]
    root.setLevel(log_levels.of_verbosity(verbosity))
    # grpc logs a handler's exception with its text; the interceptor has already said what may be said.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    logging.raiseExceptions = False
    # No line shows them: the look-ups are spared for each record.
    logging.logThreads = logging.logMultiprocessing = False
    threading.excepthook = _log_thread_exception
    sys.excepthook = _log_exception
    sys.unraisablehook = _log_unraisable


def flush_pending() -> bool:
    """Write what is pending and can be written at once. Whether nothing is pending."""
    is_done = True
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LineHandler):
            is_done = handler.stream.flush_pending() and is_done
    return is_done


def _handler(formatter: logging.Formatter, *, has_thread: bool) -> logging.Handler:
    if sys.stderr is None:
        # Closed before the program began; its number may be any file by now.
        return logging.NullHandler()
    try:
        descriptor = sys.stderr.fileno()
    except OSError:
        # No file but an object of whoever embeds this.
        return logging.StreamHandler(sys.stderr)
    return _LineHandler(
        LogStream(descriptor, functools.partial(_loss, formatter), has_thread=has_thread),
    )


def _loss(formatter: logging.Formatter, count: int, reason: str) -> bytes:
    """The line that stands for those that were lost."""
    what = "lines of this log were lost" + ("" if reason else ", because nobody read them")
    record = logging.LogRecord(
        __name__, logging.WARNING, __file__, _loss.__code__.co_firstlineno, what, None, None
    )
    record.__dict__[log_keys.COUNT] = count
    if reason:
        record.__dict__[log_keys.REASON] = reason
    return formatter.format(record).encode() + b"\n"


def _log_exception(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("the program ends by an exception", exc_info=error)


def _log_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None:
        logging.getLogger(__name__).critical("a thread ended by an exception", exc_info=error)


def _log_unraisable(arguments: "sys.UnraisableHookArgs") -> None:
    error = arguments.exc_value
    if error is not None:
        logging.getLogger(__name__).error("an exception in a finalizer or callback", exc_info=error)
