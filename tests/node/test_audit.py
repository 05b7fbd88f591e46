"""The audit log on real files, pipes and limits: what a line says, and what becomes of lines that can't be written."""

import contextlib
import json
import logging
import os
import re
import resource
import socket
import stat
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sscsi.core import log_keys
from sscsi.errors import ConfigError
from sscsi.node import audit
from sscsi.node import config as node_config
from sscsi.node.audit import AuditLog, make_audit_log
from tests.support.checkout import ROOT
from tests.support.one_record import make_record
from tests.support.waiting import wait_until


@pytest.fixture
def path(tmp_path: Any) -> str:
    return os.path.join(tmp_path, "audit.log")


@contextlib.contextmanager
def audit_log(destination: str) -> Iterator[AuditLog]:
    with contextlib.closing(make_audit_log(destination, "node-1")) as made:
        yield made


def write(log: AuditLog, name: str = "web-0", **changes: Any) -> None:
    log.write(
        make_record(pod_name=name, **changes), event=audit.DELIVERED, trigger=audit.PUBLISH, shared=False
    )


def parsed(text: str | bytes) -> list[dict[str, Any]]:
    """Whole lines only; a torn one is no JSON."""
    return [json.loads(line) for line in text.splitlines()]


def lines(path: str) -> list[dict[str, Any]]:
    with open(path, encoding="ascii") as file:
        return parsed(file.read())


def pods(found: list[dict[str, Any]]) -> list[str]:
    return [line["pod"] for line in found]


def warnings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object, object]]:
    """Message, reason and count of each."""
    return [
        (record.message, record.__dict__.get(log_keys.REASON), record.__dict__.get(log_keys.COUNT))
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]


def read_now(descriptor: int) -> bytes:
    """What is in a pipe; b"" when nothing is."""
    found = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(descriptor, 1 << 20):
            found += piece
    return found


def read_until(descriptor: int, text: bytes) -> bytes:
    """Whole lines, the one with `text` among them."""
    found = b""

    def arrived() -> bool:
        nonlocal found
        found += read_now(descriptor)
        return text in found and found.endswith(b"\n")

    wait_until(arrived, f"{text!r} arrives")
    return found


def test_a_line_says_who_got_which_version_of_what(path: str) -> None:
    record = make_record(
        pod_namespace="shop",
        class_generation=3,
        provider="aws",
        object_versions=(("db", "v1"), ("key", "7")),
        service_account="web",
    )
    with audit_log(path) as log:
        log.write(record, event=audit.REFRESHED, trigger=audit.CLOCK, shared=True)
    (line,) = lines(path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("time"))
    assert line == {
        "event": "refreshed",
        "live": True,
        "trigger": "clock",
        "shared": True,
        "namespace": "shop",
        "pod": "web-0",
        "pod_uid": "pod-uid-1",
        "service_account": "web",
        "class": "app",
        "class_generation": 3,
        "provider": "aws",
        "objects": [{"id": "db", "version": "v1"}, {"id": "key", "version": "7"}],
        "target_path": "/pods/u/mount",
        "node": "node-1",
    }


def test_content_that_is_the_same_is_not_live(path: str) -> None:
    with audit_log(path) as log:
        for event in (audit.DELIVERED, audit.UNCHANGED):
            log.write(make_record(), event=event, trigger=audit.REPUBLISH, shared=False)
    assert [(line["event"], line["live"]) for line in lines(path)] == [
        ("delivered", True),
        ("unchanged", False),
    ]


def test_foreign_text_is_one_line_and_cut(path: str) -> None:
    foreign = 'a"\n\r\0\u2028\udcff\x1b[31m'
    many = tuple((f"{number}", "v") for number in range(audit.MAX_OBJECTS + 5))
    with audit_log(path) as log:
        write(log, foreign, target_path="/pods/\udc80\n/mount", object_versions=(("i" * 5000, "v" * 5000),))
        write(log, object_versions=many)
    with open(path, "rb") as file:
        text = file.read()
    assert text.count(b"\n") == 2
    first, second = parsed(text)
    assert (first["pod"], first["target_path"]) == (foreign, "/pods/\udc80\n/mount")
    assert first["objects"] == [{"id": "i" * audit.MAX_TEXT, "version": "v" * audit.MAX_TEXT}]
    assert "objects_left_out" not in first
    assert (len(second["objects"]), second["objects_left_out"]) == (audit.MAX_OBJECTS, 5)


def test_without_a_destination_nothing_is_written(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with audit_log("") as log:
        write(log)
        assert log.lost == 0
    assert os.listdir(tmp_path) == []


def test_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with audit_log("-") as log:
        write(log)
    assert pods(parsed(capfd.readouterr().out)) == ["web-0"]
    # It is the program's own, which goes on with it.
    print("more", flush=True)
    assert capfd.readouterr().out == "more\n"


def test_the_file_is_its_owners_alone_and_is_appended_to(path: str) -> None:
    for name in ("a", "b"):
        with audit_log(path) as log:
            write(log, name)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert pods(lines(path)) == ["a", "b"]


def test_a_file_that_was_rotated_away_is_made_anew(path: str) -> None:
    with audit_log(path) as log:
        write(log, "a")
        os.rename(path, path + ".1")
        write(log, "b")
        os.unlink(path)
        write(log, "c")
        os.truncate(path, 0)
        write(log, "d")
        assert log.lost == 0
    assert (pods(lines(path + ".1")), pods(lines(path))) == (["a"], ["d"])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_symlink_in_the_files_place_is_never_followed(path: str, caplog: pytest.LogCaptureFixture) -> None:
    victim = path + ".victim"
    with audit_log(path) as log:
        os.rename(path, victim)
        os.symlink(victim, path)
        write(log, "a")
        write(log, "b")
        assert log.lost == 2
        os.unlink(path)
        write(log, "c")
        assert log.lost == 2
    assert lines(victim) == []
    gap, line = lines(path)
    assert (gap["event"], gap["count"], gap["node"], line["pod"]) == ("lost", 2, "node-1", "c")
    assert warnings(caplog) == [
        ("lines of the audit log are lost", "Too many levels of symbolic links", None),
        ("the audit log is written again; lines were lost", None, 2),
    ]


def test_a_directory_that_is_gone_and_comes_back(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    directory = os.path.join(tmp_path, "logs")
    os.mkdir(directory)
    path = os.path.join(directory, "audit.log")
    with audit_log(path) as log:
        os.rename(directory, directory + ".old")
        write(log, "a")
        assert log.lost == 1
        os.mkdir(directory)
        write(log, "b")
    gap, line = lines(path)
    assert (gap["count"], line["pod"]) == (1, "b")
    assert [message for message, _, _ in warnings(caplog)] == [
        "lines of the audit log are lost",
        "the audit log is written again; lines were lost",
    ]


@contextlib.contextmanager
def full_disk(path: str, more: int) -> Iterator[None]:
    """Files may grow by so many bytes over the size of the one at `path`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("more", [0, 100], ids=["no room", "room for half a line"])
def test_a_full_disk_loses_lines_and_tells_how_many(
    path: str, more: int, caplog: pytest.LogCaptureFixture
) -> None:
    with audit_log(path) as log:
        write(log, "a")
        with full_disk(path, more):
            for name in ("b", "c", "d"):
                write(log, name)
            lost = log.lost
        assert lost == 3
        write(log, "e")
        write(log, "f")
        assert log.lost == lost
    with open(path, "rb") as file:
        text = file.read().splitlines()
    whole = [json.loads(line) for line in text if line.endswith(b"}")]
    assert len(text) - len(whole) == (more > 0)
    assert [line.get("pod") for line in whole] == ["a", None, "e", "f"]
    assert (whole[1]["event"], whole[1]["count"], whole[1]["reason"]) == ("lost", 3, "File too large")
    assert warnings(caplog) == [
        ("lines of the audit log are lost", "File too large", None),
        ("the audit log is written again; lines were lost", None, 3),
    ]


def test_a_device_that_is_always_full_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    with audit_log("/dev/full") as log:
        for _ in range(10):
            write(log)
        assert log.lost == 10
    assert warnings(caplog) == [
        ("lines of the audit log are lost", "No space left on device", None),
        ("the audit log ends; lines were lost", None, 10),
    ]


def test_a_fifo_that_has_no_reader_yet(path: str, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(path)
    with audit_log(path) as log:
        write(log, "a")
        write(log, "b")
        assert log.lost == 2
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        write(log, "c")
        gap, line = parsed(read_now(reader))
        assert (gap["event"], gap["count"], line["pod"]) == ("lost", 2, "c")
        os.close(reader)
        write(log, "d")
        assert log.lost == 3
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        write(log, "e")
        gap, line = parsed(read_now(reader))
        assert (gap["count"], line["pod"]) == (1, "e")
        os.close(reader)
    lost, again = "lines of the audit log are lost", "the audit log is written again; lines were lost"
    assert [(message, count) for message, _, count in warnings(caplog)] == [
        (lost, None),
        (again, 2),
        (lost, None),
        (again, 1),
    ]


def test_a_fifo_whose_reader_sleeps_keeps_what_it_can_and_counts_the_rest(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    count = 6000
    with audit_log(path) as log:
        for number in range(count):
            write(log, str(number))
        lost = log.lost
        assert 0 < lost < count
        text = read_until(reader, b'"pod":"%d"' % (count - lost - 1))
        write(log, "last")
        text += read_until(reader, b'"pod":"last"')
    found = parsed(text)
    gaps = [line for line in found if line["event"] == "lost"]
    assert [gap["count"] for gap in gaps] == [lost]
    assert pods([line for line in found if line["event"] != "lost"]) == [
        *map(str, range(count - lost)),
        "last",
    ]
    assert [message for message, _, _ in warnings(caplog)] == [
        "lines of the audit log are lost",
        "the audit log is written again; lines were lost",
    ]
    os.close(reader)


def test_what_nobody_has_read_at_the_end_is_lost_and_told(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    count = 500
    with audit_log(path) as log:
        for number in range(count):
            write(log, str(number))
        assert log.lost == 0
    written = read_now(reader)
    os.close(reader)
    assert 0 < log.lost == count - written.count(b"\n") < count
    assert warnings(caplog) == [("the audit log ends; lines were lost", None, log.lost)]


def test_lines_of_many_threads_are_whole(path: str) -> None:
    with audit_log(path) as log:

        def work(thread: int) -> None:
            for number in range(200):
                write(log, f"{thread}-{number}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(pods(lines(path))) == sorted(
        f"{thread}-{number}" for thread in range(8) for number in range(200)
    )


def test_after_its_end_nothing_is_written_to_whoever_has_the_number_now(path: str) -> None:
    log = make_audit_log(path, "node-1")
    log.close()
    others = [os.open(f"{path}.{number}", os.O_WRONLY | os.O_CREAT) for number in range(5)]
    write(log)
    log.close()
    for descriptor in others:
        os.close(descriptor)
    assert [os.path.getsize(f"{path}.{number}") for number in range(5)] == [0] * 5
    assert os.path.getsize(path) == 0


@pytest.mark.parametrize(
    ("make", "named", "code"),
    [
        ("", "make the directory", 1),
        ("directory", "it is a directory", 1),
        ("symlink", "it is a symlink", 1),
        ("socket", "it is a socket", 1),
    ],
)
def test_what_can_not_be_written_is_told_at_once_with_the_cure(
    tmp_path: Any, make: str, named: str, code: int
) -> None:
    path = os.path.join(tmp_path, "place", "audit.log")
    if make:
        os.mkdir(os.path.dirname(path))
    if make == "directory":
        os.mkdir(path)
    elif make == "symlink":
        os.symlink("/dev/null", path)
    elif make == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConfigError, match=re.escape(named)) as caught:
        make_audit_log(path, "node-1")
    assert caught.value.exit_code == code
    assert path in str(caught.value) and "--audit-log" in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_relative_path_is_a_wrong_command_line() -> None:
    with pytest.raises(ConfigError, match=r"--audit-log: must be an absolute path.*'audit.log'") as caught:
        make_audit_log("audit.log", "node-1")
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="must be an absolute path"):
        node_config.parse([], {"SSCSI_AUDIT_LOG": "audit.log"})


def test_every_key_and_word_is_explained(path: str) -> None:
    with open(os.path.join(ROOT, "docs", "audit.md"), encoding="utf-8") as file:
        page = file.read()
    many = tuple((f"{number}", "v") for number in range(audit.MAX_OBJECTS + 1))
    with audit_log(path) as log:
        write(log, object_versions=many)
        os.unlink(path)
        os.mkdir(path)
        write(log)
        os.rmdir(path)
        write(log)
    gap, line = lines(path)
    assert (gap["event"], line["event"]) == (audit.LOST, audit.DELIVERED)
    words = {
        *gap,
        *line,
        "objects_left_out",
        audit.LOST,
        audit.DELIVERED,
        audit.REFRESHED,
        audit.UNCHANGED,
        audit.PUBLISH,
        audit.REPUBLISH,
        audit.CLOCK,
        audit.ASK,
        audit.COMMAND,
    }
    assert [word for word in sorted(words) if f"`{word}`" not in page] == []
    (example,) = (json.loads(text) for text in page.splitlines() if text.startswith("{"))
    assert example.keys() == line.keys()
    assert str(audit.MAX_TEXT) in page
    assert f"{audit.MAX_OBJECTS} at most" in page
