"""Logging of every program: stderr, one formatter, klog's text form or JSON.

The text form is klog's (`I1124 15:04:05.000000    1234 node/publish.py:88] "msg" key="value"`), which
upstream's users and log shippers parse; the file's place starts with the program's name. The JSON form has
upstream's keys `level`, `timestamp`, `caller`, `message`. Fields are the closed list of `log_keys`. An
exception is written as its types and its places, never its text, which may quote the data it choked on.
"""

import json
import logging
import sys
import threading
import time
import traceback
from types import TracebackType

from sscsi.core import log_keys

_LETTERS = {
    logging.DEBUG: "I",
    logging.INFO: "I",
    logging.WARNING: "W",
    logging.ERROR: "E",
    logging.CRITICAL: "F",
}
_LEVELS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}
# Upstream logs requests from V(5) on and decisions at V(4); both are our DEBUG.
DEBUG_VERBOSITY = 4

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

# Made once: json.dumps makes one for each value that is not written its default way.
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


class _Formatter(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        fields = {key: record.__dict__[key] for key in log_keys.ALL if key in record.__dict__}
        if record.exc_info:
            fields[log_keys.STACK] = describe_exception(record.exc_info)
        return fields

    def _place(self, record: logging.LogRecord) -> str:
        return f"{self._program}/{record.filename}:{record.lineno}"


class TextFormatter(_Formatter):
    """Klog's text form."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.localtime(record.created)
        stamp = f"{time.strftime('%m%d %H:%M:%S', when)}.{int(record.created % 1 * 1e6):06d}"
        head = f"{_LETTERS.get(record.levelno, 'I')}{stamp} {record.process:7d} {self._place(record)}]"
        fields = "".join(f" {key}={_ENCODER.encode(value)}" for key, value in self._fields(record).items())
        return f"{head} {_ENCODER.encode(record.getMessage())}{fields}"


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document = {
            "level": _LEVELS.get(record.levelno, "info"),
            "timestamp": f"{stamp}.{int(record.created % 1 * 1e6):06d}Z",
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


def configure(program: str, *, as_json: bool, verbosity: int) -> None:
    """Send all logging of this process to stderr. `verbosity` is klog's `-v`: 4 and up is DEBUG."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(program) if as_json else TextFormatter(program))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbosity >= DEBUG_VERBOSITY else logging.INFO)
    # grpc logs a handler's exception with its text; the interceptor has already said what may be said.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    logging.raiseExceptions = False
    # No line shows them: the look-ups are spared for each record.
    logging.logThreads = logging.logMultiprocessing = False
    threading.excepthook = _log_thread_exception
    sys.excepthook = _log_exception


def _log_exception(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("the program ends by an exception", exc_info=error)


def _log_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None:
        logging.getLogger(__name__).critical("a thread ended by an exception", exc_info=error)
