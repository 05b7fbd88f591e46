"""The program under test, ours or upstream's, as a process, and kubelet's side of its pages."""

import contextlib
import dataclasses
import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from sscsi.core.run_files import STATE_SOCKETS
from tests.livenessprobe import metrics_text
from tests.support.node_room import clean_environ
from tests.support.preloaded import Preloaded, Program
from tests.support.waiting import wait_until

PEER = "SSCSI_PEER_LIVENESSPROBE"
MODULE = "sidecars.livenessprobe.__main__"
SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Directories below one short path."""

    base: str

    @property
    def driver(self) -> str:
        """Where the driver's socket is."""
        return f"{self.base}/csi.sock"

    @property
    def run(self) -> str:
        """The appliance's run directory."""
        return f"{self.base}/run"

    @property
    def probe_socket(self) -> str:
        return f"{self.run}/probe.sock"

    @property
    def watchdog_file(self) -> str:
        return f"{self.run}/watchdog.json"

    def state_socket(self, room: str) -> str:
        return f"{self.run}/{STATE_SOCKETS[room]}"


@contextlib.contextmanager
def new_place() -> Iterator[Place]:
    place = Place(tempfile.mkdtemp(prefix="sscsi-", dir="/tmp"))
    os.mkdir(place.run, 0o750)
    try:
        yield place
    finally:
        shutil.rmtree(place.base)


def free_address() -> str:
    """A loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a page was, and how long it took."""

    status: int
    body: str
    headers: Mapping[str, str]


def get(address: str, target: str, *, method: str = "GET", seconds: float = SECONDS) -> Answer:
    """Ask as kubelet does: a new connection each time. Raises OSError when nobody listens."""
    connection = http.client.HTTPConnection(address, timeout=seconds)
    with contextlib.closing(connection):
        connection.request(method, target)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), dict(response.getheaders()))


def metrics(address: str, path: str = "/metrics") -> metrics_text.Samples:
    answer = get(address, path)
    assert answer.status == 200
    return metrics_text.parse(answer.body)


class Process(Protocol):
    """A program that runs, ours or another."""

    @property
    def pid(self) -> int: ...
    def is_alive(self) -> bool: ...
    def wait(self, *, seconds: float = SECONDS) -> int: ...
    def terminate(self) -> int: ...
    def kill(self) -> int: ...


class Running:
    """One process with its log. `listens` waits until an address is served."""

    def __init__(self, process: Process, log_file: str) -> None:
        self.process = process
        self._log_file = log_file

    @property
    def log(self) -> str:
        with open(self._log_file, encoding="utf-8", errors="replace") as file:
            return file.read()

    def listens(self, address: str) -> None:
        wait_until(lambda: self._is_served(address), f"{address} is served", seconds=SECONDS)

    def address(self) -> str:
        """Where our program listens first, by its own word; for addresses that the kernel chose."""
        wait_until(lambda: re.search(r' address="([^"]*)"', self.log), "an address is said", seconds=SECONDS)
        match = re.search(r' address="([^"]*)"', self.log)
        assert match
        return match[1]

    def _is_served(self, address: str) -> bool:
        assert self.process.is_alive(), self.log
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), SECONDS).close()
        except ConnectionRefusedError:
            return False
        return True


class Subject(Protocol):
    """Whose program it is, and how it is started. `is_ours`: what a table says of us counts, else of upstream."""

    is_ours: bool

    def start(
        self, flags: Sequence[str], *, log_file: str, environ: Mapping[str, str] | None = None
    ) -> Process:
        """Run it with these flags; output and log go to `log_file`."""


class Ours:
    """`sscsi-livenessprobe`, forked from a process that has imported it, as `sscsi run` does it."""

    is_ours = True

    def __init__(self, programs: Preloaded) -> None:
        self._programs = programs

    def start(
        self, flags: Sequence[str], *, log_file: str, environ: Mapping[str, str] | None = None
    ) -> Program:
        return self._programs.start(MODULE, flags, environ=clean_environ(environ or {}), log_file=log_file)


class Command:
    """A program that is executed: upstream's, or ours as it stands alone."""

    def __init__(self, path: str, *, is_ours: bool) -> None:
        self._path = path
        self.is_ours = is_ours

    def start(
        self, flags: Sequence[str], *, log_file: str, environ: Mapping[str, str] | None = None
    ) -> "CommandProcess":
        with open(log_file, "ab") as log:
            process = subprocess.Popen(
                [self._path, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environ(environ or {}),
            )
        return CommandProcess(process)


class CommandProcess:
    """A Popen with the face of `Process`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, *, seconds: float = SECONDS) -> int:
        return self._process.wait(seconds)

    def terminate(self) -> int:
        self._process.terminate()
        return self.wait()

    def kill(self) -> int:
        self._process.kill()
        return self.wait()


@contextlib.contextmanager
def running(
    subject: Subject, place: Place, *flags: str, environ: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """The program until the block ends, however."""
    log_file = f"{place.base}/log-{len(os.listdir(place.base))}"
    open(log_file, "wb").close()
    program = Running(subject.start(flags, log_file=log_file, environ=environ), log_file)
    try:
        yield program
    finally:
        if program.process.is_alive():
            program.process.kill()
