"""A kubelet, as far as plugin registration goes (sidecars reference, C2 to C6): its watcher, its loop, its back-off.

with fake_kubelet(registry) as kubelet:
    driver = kubelet.wait_registered("secrets-store.csi.k8s.io")      # Driver(name, endpoint, node_id, ...)

Its rules are those of kubelet 1.34, tried by `tests/registrar/test_fake_kubelet.py`. Everything that happens is an
Event with a monotonic time, so that a benchmark can tell how long each step took.
"""

import contextlib
import dataclasses
import itertools
import os
import re
import select
import stat
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import NoReturn

import grpc

from sscsi.edges.inotify import Change, Inotify, Kind
from sscsi.pb import csi_pb2, csi_pb2_grpc, pluginregistration_pb2_grpc
from sscsi.pb import pluginregistration_pb2 as pb

PERIOD_SECONDS = 1.0
DIAL_SECONDS = 10.0
INFO_SECONDS = 1.0
NOTIFY_SECONDS = 5.0
NODE_INFO_SECONDS = 120.0
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 122.0
_MAJOR = re.compile(r"v?(\d+)\.(\d+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """What happened: `kind` is seen, removed, dial-failed, info-failed, invalid, refused, registered,
    deregistered or notify-failed; `text` says more. `time` is monotonic.
    """

    time: float
    kind: str
    path: str
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A registered driver. `time` is monotonic."""

    name: str
    endpoint: str
    socket_path: str
    node_id: str
    time: float


@dataclasses.dataclass(slots=True)
class _Backoff:
    until: float
    seconds: float


class FakeKubelet:
    """Watches `registry` from `start` on. One thread watches and loops; each registration has one of its own.

    `host_path` maps an endpoint, a path on the host, to where this process finds it. `refusals` are texts with which
    the next registrations fail as if the node could not be updated, one each. `ask_driver` false: NodeGetInfo is
    skipped. The back-off may be shortened for tests that are about something else.
    """

    def __init__(
        self,
        registry: str,
        *,
        period_seconds: float = PERIOD_SECONDS,
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
        dial_seconds: float = DIAL_SECONDS,
        host_path: Callable[[str], str] = lambda path: path,
        ask_driver: bool = True,
    ) -> None:
        self.registry = registry
        self.refusals: list[str] = []
        self.events: list[Event] = []
        self._period_seconds = period_seconds
        self._first_backoff_seconds = first_backoff_seconds
        self._dial_seconds = dial_seconds
        self._host_path = host_path
        self._ask_driver = ask_driver
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._clear()

    def _clear(self) -> None:
        """What is lost when kubelet ends. The numbers stand for its UUIDs."""
        self._desired: dict[str, int] = {}
        self._actual: dict[str, tuple[int, str]] = {}
        self._drivers: dict[str, Driver] = {}
        self._pending: set[str] = set()
        self._backoffs: dict[str, _Backoff] = {}
        self._directories: dict[int, str] = {}
        self._stop = threading.Event()

    # What a test or a benchmark asks.

    @property
    def registered(self) -> dict[str, Driver]:
        """The drivers by name, as they are now."""
        with self._changed:
            return dict(self._drivers)

    def wait_registered(self, name: str, *, seconds: float = 20.0, after: float = 0.0) -> Driver:
        """The driver once it is registered, later than `after` (monotonic); fails after `seconds`."""

        def found() -> bool:
            return name in self._drivers and self._drivers[name].time > after

        with self._changed:
            assert self._changed.wait_for(found, seconds), f"{name} not registered; {self._told()}"
            return self._drivers[name]

    def wait_event(self, kind: str, *, seconds: float = 20.0, after: float = 0.0) -> Event:
        """The first event of a kind later than `after` (monotonic); fails when none comes within `seconds`."""

        def found() -> list[Event]:
            return [event for event in self.events if event.kind == kind and event.time > after]

        with self._changed:
            assert self._changed.wait_for(found, seconds), f"no {kind} event; {self._told()}"
            return found()[0]

    def count(self, kind: str) -> int:
        """How many events of a kind there were."""
        with self._changed:
            return sum(event.kind == kind for event in self.events)

    def _told(self) -> str:
        return "events: " + "; ".join(f"{event.kind} {event.path} {event.text}" for event in self.events)

    # Its life.

    def start(self) -> None:
        """Walk the registry, and watch it from then on."""
        self._inotify = Inotify()
        self._pool = futures.ThreadPoolExecutor(16, "kubelet")
        self._walk(self.registry)
        self._thread = threading.Thread(target=self._run, name="kubelet-loop")
        self._thread.start()

    def stop(self) -> None:
        """End as kubelet does: the plugins are not told, and everything is forgotten."""
        self._stop.set()
        self._thread.join()
        self._pool.shutdown()
        self._inotify.close()
        with self._changed:
            self._clear()

    def restart(self) -> None:
        """`systemctl restart kubelet`."""
        self.stop()
        self.start()

    def _run(self) -> None:
        next_tick = time.monotonic()
        poll = select.poll()
        poll.register(self._inotify.fileno(), select.POLLIN)
        while not self._stop.is_set():
            if poll.poll(min(max(next_tick - time.monotonic(), 0.0), 0.05) * 1000):
                for change in self._inotify.read():
                    self._see(change)
            if time.monotonic() >= next_tick:
                self._reconcile()
                next_tick = time.monotonic() + self._period_seconds

    # The watcher.

    def _walk(self, directory: str) -> None:
        """Watch a directory and what is below, and take up the sockets that are there.

        At this, names of directories may begin with a dot; those of sockets never.
        """
        self._directories[self._inotify.add(directory)] = directory
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                self._walk(entry.path)
            else:
                self._take(entry.path)

    def _see(self, change: Change) -> None:
        directory = self._directories.get(change.watch)
        if directory is None or change.kind is Kind.MOVED_AWAY:
            return
        path = os.path.join(directory, change.name) if change.name else directory
        if change.kind is Kind.CREATED:
            if change.is_directory and not change.name.startswith("."):
                with contextlib.suppress(OSError):
                    self._walk(path)
            elif not change.is_directory:
                self._take(path)
        elif change.kind in {Kind.DELETED, Kind.ENDED}:
            self._forget(path)

    def _take(self, path: str) -> None:
        """A name is there now: every time is a new plugin, whatever was known of the path."""
        if os.path.basename(path).startswith("."):
            return
        try:
            mode = os.stat(path).st_mode
        except OSError:
            return
        if stat.S_ISSOCK(mode):
            with self._changed:
                self._desired[path] = next(self._numbers)
            self._tell("seen", path)

    def _forget(self, path: str) -> None:
        with self._changed:
            known = self._desired.pop(path, None)
        if known is not None:
            self._tell("removed", path)

    # The loop.

    def _reconcile(self) -> None:
        """Unregister what is not wanted any more, or is another one now; then register what is not."""
        with self._changed:
            stale = [path for path, (number, _) in self._actual.items() if self._desired.get(path) != number]
            new = [
                path for path, number in self._desired.items() if self._actual.get(path, (0, ""))[0] != number
            ]
        for path in stale:
            self._start(path, self._unregister)
        for path in new:
            self._start(path, self._register)

    def _start(self, path: str, operation: Callable[[str], None]) -> None:
        """Run one operation for a path, unless one is running or the back-off of the last failure lasts."""
        with self._changed:
            backoff = self._backoffs.get(path)
            if path in self._pending or (backoff and time.monotonic() < backoff.until):
                return
            self._pending.add(path)
        self._pool.submit(self._operate, path, operation)

    def _operate(self, path: str, operation: Callable[[str], None]) -> None:
        try:
            operation(path)
        except _OperationError:
            with self._changed:
                last = self._backoffs.get(path)
                seconds = min(last.seconds * 2, MAX_BACKOFF_SECONDS) if last else self._first_backoff_seconds
                self._backoffs[path] = _Backoff(time.monotonic() + seconds, seconds)
        else:
            with self._changed:
                self._backoffs.pop(path, None)
        finally:
            with self._changed:
                self._pending.discard(path)

    def _unregister(self, path: str) -> None:
        with self._changed:
            _, name = self._actual.pop(path)
            driver = self._drivers.pop(name, None)
        if driver:
            self._tell("deregistered", path, name)

    # One registration.

    def _register(self, path: str) -> None:
        with self._changed:
            number = self._desired.get(path)
        if number is None:
            return
        with self._dialled(path, urllib.parse.quote(path, safe="")) as channel:
            plugin = pluginregistration_pb2_grpc.RegistrationStub(channel)
            try:
                info = plugin.GetInfo(pb.InfoRequest(), timeout=INFO_SECONDS)
            except grpc.RpcError as error:
                self._fail("info-failed", path, f"{error.code().name}: {error.details()}")
            if problem := self._problem(info):
                self._notify(plugin, path, problem)
                self._fail("invalid", path, problem)
            # From here on this very socket is never tried again, however it ends.
            with self._changed:
                self._actual[path] = (number, info.name)
            problem, node_id = self._register_driver(info.name, info.endpoint or path)
            if problem:
                self._notify(
                    plugin, path, f"RegisterPlugin error -- plugin registration failed with err: {problem}"
                )
                self._fail("refused", path, problem)
            driver = Driver(
                name=info.name,
                endpoint=info.endpoint or path,
                socket_path=path,
                node_id=node_id,
                time=time.monotonic(),
            )
            with self._changed:
                self._drivers[info.name] = driver
            self._notify(plugin, path, "")
            self._tell("registered", path, info.name)

    @contextlib.contextmanager
    def _dialled(self, path: str, authority: str) -> Iterator[grpc.Channel]:
        options = (("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1))
        with grpc.insecure_channel("unix:" + path.replace("%", "%25"), options) as channel:
            ready = grpc.channel_ready_future(channel)
            deadline = time.monotonic() + self._dial_seconds
            while not self._stop.is_set() and time.monotonic() < deadline:
                try:
                    ready.result(0.05)
                except grpc.FutureTimeoutError:
                    continue
                yield channel
                return
            ready.cancel()
            self._fail("dial-failed", path, f"not within {self._dial_seconds} s")

    def _problem(self, info: pb.PluginInfo) -> str:
        """Why kubelet would not take such a plugin, before it looks at the driver itself."""
        if info.type != "CSIPlugin":
            return f"RegisterPlugin error -- no handler registered for plugin type: {info.type}"
        problem = ""
        majors = [int(match[1]) for version in info.supported_versions if (match := _MAJOR.match(version))]
        if not info.supported_versions:
            problem = "no versions"
        elif len(majors) < len(info.supported_versions):
            problem = "a version is none"
        elif max((major for major in majors if major <= 1), default=0) != 1:
            problem = "none of the versions is supported"
        elif info.name in self.registered:
            problem = (
                "Another driver with the same name is already registered with a higher supported version"
            )
        return f"RegisterPlugin error -- plugin validation failed with err: {problem}" if problem else ""

    def _register_driver(self, name: str, endpoint: str) -> tuple[str, str]:
        """What is wrong, and the node's id."""
        with self._changed:
            if self.refusals:
                return self.refusals.pop(0), ""
        if not self._ask_driver:
            return "", name
        here = self._host_path(endpoint)
        if not os.path.exists(here):  # the whole endpoint is the name of a file, a scheme too
            return f"dial unix {endpoint}: connect: no such file or directory", ""
        options = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
        with grpc.insecure_channel("unix:" + here.replace("%", "%25"), options) as channel:
            call = csi_pb2_grpc.NodeStub(channel).NodeGetInfo.future(
                csi_pb2.NodeGetInfoRequest(), timeout=NODE_INFO_SECONDS
            )
            while True:
                try:
                    node = call.result(0.05)
                except grpc.FutureTimeoutError:
                    if self._stop.is_set():
                        call.cancel()
                        # One that ends tells nobody.
                        raise _OperationError("kubelet ended") from None
                except grpc.RpcError as error:
                    return f"rpc error: code = {error.code().name} desc = {error.details()}", ""
                else:
                    break
        return ("" if node.node_id else "driverNodeID must not be empty"), node.node_id

    def _notify(self, plugin: pluginregistration_pb2_grpc.RegistrationStub, path: str, error: str) -> None:
        status = pb.RegistrationStatus(plugin_registered=not error, error=error)
        try:
            plugin.NotifyRegistrationStatus(status, timeout=NOTIFY_SECONDS)
        except grpc.RpcError as failure:
            self._fail("notify-failed", path, f"{failure.code().name}: {failure.details()}")

    def _fail(self, kind: str, path: str, text: str) -> NoReturn:
        self._tell(kind, path, text)
        raise _OperationError(text)

    def _tell(self, kind: str, path: str, text: str = "") -> None:
        with self._changed:
            self.events.append(Event(time.monotonic(), kind, path, text))
            self._changed.notify_all()


class _OperationError(Exception):
    """The operation failed, and its path is in back-off now."""


@contextlib.contextmanager
def fake_kubelet(
    registry: str,
    *,
    period_seconds: float = PERIOD_SECONDS,
    first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
    dial_seconds: float = DIAL_SECONDS,
    host_path: Callable[[str], str] = lambda path: path,
    ask_driver: bool = True,
) -> Iterator[FakeKubelet]:
    """A kubelet that runs until the block ends."""
    kubelet = FakeKubelet(
        registry,
        period_seconds=period_seconds,
        first_backoff_seconds=first_backoff_seconds,
        dial_seconds=dial_seconds,
        host_path=host_path,
        ask_driver=ask_driver,
    )
    kubelet.start()
    try:
        yield kubelet
    finally:
        kubelet.stop()
