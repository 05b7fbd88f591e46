"""The program under test, ours or upstream's, and the directories that it lives in."""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import grpc

from sscsi.core.prometheus import text
from sscsi.core.room_status import RoomStatus
from sscsi.core.run_files import STATE_SOCKETS
from sscsi.edges.room_status import RoomStates
from sscsi.edges.unix_socket import ROOM_CHANNEL_OPTIONS
from sscsi.pb import pluginregistration_pb2 as pb
from sscsi.pb import pluginregistration_pb2_grpc
from tests.livenessprobe.metrics_text import Samples, parse
from tests.registrar import registrar_main
from tests.registrar.tiny_driver import NAME
from tests.support.preloaded import Preloaded, Program
from tests.support.waiting import wait_until

PEER = "SSCSI_PEER_REGISTRAR"
ENDPOINT = f"/var/lib/kubelet/plugins/{NAME}/csi.sock"
RPC_SECONDS = 60.0
# Without a pool of its own a channel inherits the broken connection of one before to a process that has ended.
_CHANNEL_OPTIONS = (*ROOM_CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
EXIT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Directories below one short path: the driver's, kubelet's registry, and the appliance's own."""

    base: str

    @property
    def driver_socket(self) -> str:
        return f"{self.base}/csi/csi.sock"

    @property
    def registry(self) -> str:
        return f"{self.base}/reg"

    @property
    def socket_path(self) -> str:
        """Where the registration socket of a driver called NAME is."""
        return f"{self.registry}/{NAME}-reg.sock"

    @property
    def run_directory(self) -> str:
        return f"{self.base}/run"

    def flags(self, *extra: str) -> list[str]:
        """The command line of a registrar here; `extra` comes last and wins."""
        return [
            f"--csi-address={self.driver_socket}",
            f"--kubelet-registration-path={ENDPOINT}",
            f"--plugin-registration-path={self.registry}",
            *extra,
        ]

    def remove(self, name: str) -> None:
        """Take a socket out of the registry."""
        os.unlink(f"{self.registry}/{name}")

    def stale(self, name: str) -> None:
        """A socket in the registry that nobody serves."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.bind(f"{self.registry}/{name}")

    def names(self) -> list[str]:
        """What is in the registry, lock files aside: they stay."""
        return sorted(name for name in os.listdir(self.registry) if not name.endswith(".lock"))


@contextlib.contextmanager
def new_place() -> Iterator[Place]:
    place = Place(tempfile.mkdtemp(prefix="sscsi-", dir="/tmp"))
    for directory in (os.path.dirname(place.driver_socket), place.registry, place.run_directory):
        os.mkdir(directory, 0o750)
    try:
        yield place
    finally:
        shutil.rmtree(place.base)


class Running:
    """A registrar that was started."""

    def __init__(self, program: "Program | subprocess.Popen[bytes]", place: Place, log_file: str) -> None:
        self._program = program
        self.place = place
        self._log_file = log_file

    @property
    def pid(self) -> int:
        return self._program.pid

    def is_alive(self) -> bool:
        if isinstance(self._program, Program):
            return self._program.is_alive()
        return self._program.poll() is None

    def wait(self, seconds: float = EXIT_SECONDS) -> int:
        """Its exit code, or the negated number of the signal that ended it."""
        if isinstance(self._program, Program):
            return self._program.wait(seconds=seconds)
        return self._program.wait(seconds)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        os.kill(self.pid, number)
        return self.wait()

    def log(self) -> str:
        """Its stdout and stderr."""
        with open(self._log_file, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_published(self, path: str = "") -> None:
        """Return once somebody listens at the registration socket."""

        def listens() -> bool:
            assert self.is_alive(), self.log()
            return accepts(path or self.place.socket_path)

        wait_until(listens, "the registration socket is served")

    def wait_log(self, text: str) -> None:
        """Return once the log has `text`."""
        wait_until(lambda: text in self.log(), f"the log has {text!r}")

    def status(self) -> RoomStatus:
        """What it tells on its state socket; started with --run-dir=place.run_directory."""
        path = f"{self.place.run_directory}/{STATE_SOCKETS['registrar']}"
        states = RoomStates({"registrar": path}, timeout_seconds=RPC_SECONDS, options=_CHANNEL_OPTIONS)
        try:
            status = states.ask()["registrar"]
        finally:
            states.close()
        assert status is not None, self.log()
        return status

    def metrics(self) -> Samples:
        """What it counts, by its state socket."""
        path = f"{self.place.run_directory}/{STATE_SOCKETS['registrar']}"
        states = RoomStates({"registrar": path}, timeout_seconds=RPC_SECONDS, options=_CHANNEL_OPTIONS)
        try:
            families = states.ask_metrics()["registrar"]
        finally:
            states.close()
        assert families is not None, self.log()
        return parse(text(families))

    def wait_state(self, state: str) -> RoomStatus:
        """Return its status once it is in `state`."""
        path = f"{self.place.run_directory}/{STATE_SOCKETS['registrar']}"
        wait_until(lambda: accepts(path), "the state socket is served")
        wait_until(lambda: self.status().state == state, f"the state is {state!r}")
        return self.status()


class Subject(Protocol):
    """A program under test. `is_ours`: what a table says of us counts, else what it says of upstream."""

    is_ours: bool

    def start(
        self,
        place: Place,
        flags: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        umask: int = 0o022,
    ) -> Running: ...


def _log_file(place: Place) -> str:
    descriptor, path = tempfile.mkstemp(prefix="log-", dir=place.base)
    os.close(descriptor)
    return path


class Ours:
    """Our program, forked from a process that has imported it, as `sscsi run` does."""

    is_ours = True

    def __init__(self, programs: Preloaded) -> None:
        self._programs = programs

    def start(
        self,
        place: Place,
        flags: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        umask: int = 0o022,
    ) -> Running:
        setup = {registrar_main.UMASK: f"{umask:o}", registrar_main.DIRECTORY: place.base}
        log_file = _log_file(place)
        program = self._programs.start(
            registrar_main.__name__, flags, environ={**setup, **(environ or {})}, log_file=log_file
        )
        return Running(program, place, log_file)


class Peer:
    """Upstream's binary, which the variable names."""

    is_ours = False

    def __init__(self, path: str) -> None:
        self._path = path

    def start(
        self,
        place: Place,
        flags: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        umask: int = 0o022,
    ) -> Running:
        log_file = _log_file(place)
        with open(log_file, "wb") as log:
            process = subprocess.Popen(
                [self._path, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=umask,
                cwd=place.base,
                env=dict(environ or {}),
            )
        return Running(process, place, log_file)


@contextlib.contextmanager
def running(
    subject: Subject,
    place: Place,
    *flags: str,
    environ: Mapping[str, str] | None = None,
    umask: int = 0o022,
) -> Iterator[Running]:
    """A registrar with the usual flags and `flags`, killed at the end if it still runs."""
    made = subject.start(place, place.flags(*flags), environ=environ, umask=umask)
    try:
        yield made
    finally:
        if made.is_alive():
            made.end(signal.SIGKILL)


def accepts(path: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def identity(path: str) -> tuple[int, int, int]:
    """Which file it is; the number of one that is gone may be given again, so when it was made counts too."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns


@contextlib.contextmanager
def kubelets_stub(
    path: str, *, authority: str = "localhost"
) -> Iterator[pluginregistration_pb2_grpc.RegistrationStub]:
    """Kubelet's side of a registration socket, by hand."""
    options = (("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1))
    with grpc.insecure_channel(f"unix:{path}", options) as channel:
        yield pluginregistration_pb2_grpc.RegistrationStub(channel)


def get_info(path: str, *, authority: str = "localhost") -> pb.PluginInfo:
    """What GetInfo answers."""
    with kubelets_stub(path, authority=authority) as stub:
        return stub.GetInfo(pb.InfoRequest(), timeout=RPC_SECONDS)


def notify(path: str, *, error: str = "") -> pb.RegistrationStatusResponse:
    """Tell that the driver is registered, or why not."""
    with kubelets_stub(path) as stub:
        return stub.NotifyRegistrationStatus(
            pb.RegistrationStatus(plugin_registered=not error, error=error), timeout=RPC_SECONDS
        )
