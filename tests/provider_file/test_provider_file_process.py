"""The program itself: started, asked, stopped."""

import contextlib
import os
import pathlib
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.provider_file.file_place import FilePlace
from tests.support.waiting import wait_until

SECONDS = 60.0


class Program:
    """One run directory, one root, and the program on them."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.place = FilePlace(directory)
        self.run_directory = directory / "run"
        self.place.socket = self.run_directory / "providers" / "file.sock"
        self.log = directory / "log"

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        process = self.start()
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        flags = [f"--root={self.place.root}", f"--run-dir={self.run_directory}", *arguments]
        with self.log.open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "sscsi.provider_file", *flags], stderr=log)

    def wait_served(self, process: "subprocess.Popen[bytes]") -> None:
        wait_until(
            lambda: process.poll() is not None or self.place.socket.exists(), "the socket", seconds=SECONDS
        )
        assert process.poll() is None, self.log.read_text()


@pytest.fixture
def program() -> Iterator[Program]:
    with tempfile.TemporaryDirectory(prefix="sscsi-file-") as directory:
        yield Program(pathlib.Path(directory))


def test_it_serves_until_asked_to_stop_and_leaves_no_socket(program: Program) -> None:
    program.place.write("a", "1")
    with program.running() as process:
        program.wait_served(process)
        assert stat.S_IMODE(program.place.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(program.place.socket.parent.stat().st_mode) == 0o750
        assert program.place.contents("- objectName: a") == {"a": b"1"}
        assert program.place.status().facts["root"] == str(program.place.root)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert not program.place.socket.exists()


def test_versions_outlive_a_restart(program: Program) -> None:
    program.place.write("a", "1")
    versions = []
    for _ in range(2):
        with program.running() as process:
            program.wait_served(process)
            versions.append(program.place.versions("- objectName: a"))
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0
    assert versions[0] == versions[1]


def test_it_starts_again_after_a_crash(program: Program) -> None:
    program.place.write("a", "1")
    with program.running() as process:
        program.wait_served(process)
    inode = program.place.socket.stat().st_ino
    with program.running() as process:
        wait_until(lambda: program.place.socket.stat().st_ino != inode, "a new socket", seconds=SECONDS)
        assert program.place.contents("- objectName: a") == {"a": b"1"}


def test_it_ends_when_its_socket_is_replaced(program: Program) -> None:
    with program.running() as process:
        program.wait_served(process)
        program.place.socket.unlink()
        program.place.socket.write_text("somebody else's")
        assert process.wait(SECONDS) == 1
    assert program.place.socket.read_text() == "somebody else's"
    assert "the socket was replaced" in program.log.read_text()


@pytest.mark.parametrize(
    ("argument", "code", "words"),
    [
        ("--root=/does/not/exist", 1, "flag --root: cannot open directory '/does/not/exist': ENOENT; make"),
        ("--root=etc", 2, "flag --root: set it"),
        ("--run-dir=/proc/none", 1, "--run-dir"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    program: Program, argument: str, code: int, words: str
) -> None:
    process = program.start(argument)
    assert process.wait(SECONDS) == code
    log = program.log.read_text()
    assert words in log
    assert log.count("\n") == 1


def test_a_key_that_is_no_key_keeps_it_from_starting(program: Program) -> None:
    program.run_directory.mkdir()
    (program.run_directory / "provider-file.key").write_bytes(b"")
    process = program.start()
    assert process.wait(SECONDS) == 1
    assert "provider-file.key' is not a key of this program" in program.log.read_text()
    assert not program.place.socket.exists()


def test_it_holds_no_more_open_files_after_many_calls(program: Program) -> None:
    program.place.write("a", "1")
    with program.running() as process:
        program.wait_served(process)
        program.place.mount("- objectName: a")
        # Without ptrace rights /proc hides a process that is not dumpable from others than root.
        if os.geteuid() != 0:
            pytest.skip("only root may look into a process that is not dumpable")
        descriptors = f"/proc/{process.pid}/fd"
        before = len(os.listdir(descriptors))
        for _ in range(20):
            program.place.mount("- objectName: a")
            program.place.refusal("- objectName: '../none'")
            program.place.refusal("- objectName: 'none'")
        wait_until(
            lambda: len(os.listdir(descriptors)) <= before + 2, "connections are closed", seconds=SECONDS
        )
