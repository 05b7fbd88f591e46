import contextlib
import gc
import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sscsi.core import log_keys, log_levels
from sscsi.process.logs import JsonFormatter, TextFormatter, configure, describe_exception

KLOG = re.compile(r"([IWEF])[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6} +[0-9]+ (\S+)\] (\".*)")


def record(message: str, level: int = logging.INFO, /, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {
            "name": "x",
            "levelno": level,
            "msg": message,
            "pathname": "/a/b/publish.py",
            "filename": "publish.py",
            "lineno": 88,
        }
    )
    made.__dict__.update(fields)
    return made


def fail() -> None:
    raise LookupError("canary")


@contextlib.contextmanager
def configured(*, as_json: bool, verbosity: int) -> Iterator[io.StringIO]:
    """Logging as `configure` sets it up, written to a string; everything is put back afterwards."""
    root, grpc_log = logging.getLogger(), logging.getLogger("grpc")
    handlers, levels, raising = root.handlers[:], (root.level, grpc_log.level), logging.raiseExceptions
    hooks, stderr = (threading.excepthook, sys.excepthook, sys.unraisablehook), sys.stderr
    sys.stderr = io.StringIO()
    try:
        configure("node", as_json=as_json, verbosity=verbosity)
        yield sys.stderr
    finally:
        sys.stderr, logging.raiseExceptions = stderr, raising
        threading.excepthook, sys.excepthook, sys.unraisablehook = hooks
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        grpc_log.setLevel(levels[1])


@pytest.mark.parametrize(
    ("level", "letter"),
    [
        (logging.DEBUG, "I"),
        (log_levels.REQUESTS, "I"),
        (logging.INFO, "I"),
        (logging.WARNING, "W"),
        (logging.ERROR, "E"),
        (logging.CRITICAL, "F"),
    ],
)
def test_a_text_line_is_klogs(level: int, letter: str) -> None:
    fields = {log_keys.METHOD: "Probe", log_keys.SECONDS: 0.5, log_keys.COUNT: 3}
    line = TextFormatter("node").format(record("done", level, **fields))
    match = KLOG.fullmatch(line)
    assert match
    assert match.groups() == (letter, "node/publish.py:88", '"done" method="Probe" seconds=0.5 count=3')


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (logging.DEBUG, "debug"),
        (log_levels.CALLS, "debug"),
        (logging.INFO, "info"),
        (logging.WARNING, "warning"),
        (logging.CRITICAL, "error"),
    ],
)
def test_a_json_line_has_upstreams_keys(level: int, word: str) -> None:
    document = json.loads(JsonFormatter("node").format(record("done", level, **{log_keys.METHOD: "Probe"})))
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z", document.pop("timestamp"))
    assert document == {"level": word, "caller": "node/publish.py:88", "message": "done", "method": "Probe"}


def test_a_field_that_is_not_on_the_list_is_not_written() -> None:
    for formatter in (TextFormatter("node"), JsonFormatter("node")):
        assert "canary" not in formatter.format(record("done", token="canary", request="canary"))


@given(st.text(), st.text())
def test_a_record_is_one_line_whatever_is_in_it(message: str, value: str) -> None:
    entry = record("%s", **{log_keys.PATH: value})
    entry.args = (message,)
    text = TextFormatter("node").format(entry)
    document = JsonFormatter("node").format(entry)
    for line in (text, document):
        assert not re.search(r"[\x00-\x1f]", line)
    assert json.loads(document)["message"] == message
    assert json.loads(document)[log_keys.PATH] == value


def test_an_exception_is_its_types_and_places_without_any_text() -> None:
    def give_up() -> None:
        try:
            fail()
        except LookupError as error:
            raise ValueError("canary") from error

    with pytest.raises(ValueError, match="canary") as caught:
        give_up()
    text = describe_exception((caught.type, caught.value, caught.tb))
    place = r"test_logs\.py:\d+"
    assert re.fullmatch(rf"ValueError at {place} give_up < .*; after LookupError at {place} fail < .*", text)
    assert "canary" not in text


def test_a_hidden_context_stays_hidden() -> None:
    def give_up() -> None:
        try:
            fail()
        except LookupError:
            raise ValueError("canary") from None

    with pytest.raises(ValueError, match="canary") as caught:
        give_up()
    assert "LookupError" not in describe_exception((caught.type, caught.value, caught.tb))


def test_exceptions_that_are_each_others_reason_end() -> None:
    first, second = LookupError("canary"), ValueError("canary")
    first.__cause__, second.__context__ = second, first
    text = describe_exception((LookupError, first, None))
    assert text.count("LookupError") == text.count("ValueError") == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failing_line_shows_the_stack_and_not_the_text(as_json: bool) -> None:
    with configured(as_json=as_json, verbosity=0) as output:
        try:
            fail()
        except LookupError:
            logging.getLogger("sscsi.x").exception("it failed")
    assert "canary" not in output.getvalue()
    assert "LookupError at test_logs.py:" in output.getvalue()


@pytest.mark.parametrize(
    ("level", "verbosity"),
    [
        (logging.INFO, 0),
        (log_levels.CALLS, 2),
        (log_levels.DECISIONS, 4),
        (log_levels.REQUESTS, 5),
        (logging.DEBUG, 10),
    ],
)
def test_verbosity_is_klogs(level: int, verbosity: int) -> None:
    """A line is shown from its own verbosity on, whatever comes beyond the last one."""
    for asked in (0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 1000):
        with configured(as_json=False, verbosity=asked) as output:
            logging.getLogger("sscsi.x").log(level, "a line")
        assert bool(output.getvalue()) is (asked >= verbosity), asked


def test_grpcs_own_words_about_an_exception_are_not_logged() -> None:
    with configured(as_json=False, verbosity=9) as output:
        logging.getLogger("grpc._server").error("Exception calling application: canary")
    assert not output.getvalue()


def test_an_exception_that_ends_a_thread_is_logged_without_its_text() -> None:
    with configured(as_json=False, verbosity=0) as output:
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert "canary" not in output.getvalue()
    assert "a thread ended by an exception" in output.getvalue()


def test_an_exception_in_a_finalizer_is_logged_without_its_text() -> None:
    class Unlucky:
        def __del__(self) -> None:
            fail()

    with configured(as_json=False, verbosity=0) as output:
        Unlucky()
        gc.collect()
    assert "canary" not in output.getvalue()
    assert "LookupError at test_logs.py:" in output.getvalue()
