"""`sscsi-node` with a trap: the n-th effect on the node kills the process with SIGKILL. A test's entry point.

The room is wired as in `sscsi.node.__main__`; nothing in production knows of this. What counts as an effect is
everything that is not known to be read-only, so that new code is swept without being listed:

- level `ports`: every method of mounter, file trees and record store, the lists READ_ONLY excepted;
- level `calls`: what Python and libc are asked to change inside of those methods, and in taking the sockets:
  every audit event (sys.addaudithook) of a file system change, every os.write, every libc call of the mounter.

SSCSI_TEST_TRAP holds the Trap as JSON. Counting starts when its file `armed_by` is there.
"""

import dataclasses
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, cast

from sscsi.edges import linux_mounts
from sscsi.edges.file_trees import LinuxFileTrees
from sscsi.edges.linux_mounts import LinuxMounter, check_mount_rights
from sscsi.edges.record_files import RecordFiles
from sscsi.edges.run_directory import make_run_directory
from sscsi.node.config import NodeConfig, parse
from sscsi.node.room import NodeRoom
from sscsi.ports import FileTrees, Mounter, RecordStore, VolumeTree
from sscsi.process.run import room
from tests.support.wrapped_ports import Wrapped, WrappedTrees

VARIABLE = "SSCSI_TEST_TRAP"
T = TypeVar("T")

READ_ONLY: Mapping[type, frozenset[str]] = {
    Mounter: frozenset({"look", "check_reaches_host", "check_sees_host"}),
    FileTrees: frozenset({"open", "usage"}),
    VolumeTree: frozenset({"read_root", "read_data_link", "list_directory", "read_version", "list_files"}),
    RecordStore: frozenset(),
}
_READ_ONLY_EVENTS = frozenset({"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.kill"})
_READ_ONLY_LIBC = frozenset({"statx", "statfs"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """Which effect ends the process; `at` is 0 for none, then `journal` lists all. `moment` is before or after.

    At level `calls` the moment is always before, which is after the one before it; a write is cut in half.
    """

    level: str
    at: int
    moment: str
    armed_by: str
    journal: str

    def encode(self) -> str:
        return json.dumps(dataclasses.asdict(self))


class Counter:
    """Counts effects and springs the trap."""

    def __init__(self, trap: Trap) -> None:
        self._trap = trap
        self._lock = threading.Lock()
        self._count = 0
        self._journal = os.open(trap.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._write = os.write

    def around(self, port: type, name: str, do: Callable[[], Any]) -> Any:
        """A method of a port: an effect unless it is known to change nothing."""
        return do() if name in READ_ONLY[port] else self.effect(f"{port.__name__}.{name}", do)

    def effect(self, name: str, do: Callable[[], T]) -> T:
        """Do it, unless the process ends here."""
        if not self._is_next(name):
            return do()
        try:
            if self._trap.moment == "after":
                do()
        finally:
            _die()

    def event(self, name: str) -> None:
        """An effect that the interpreter is about to have."""
        if self._is_next(name):
            _die()

    def write(self, descriptor: int, data: bytes) -> int:
        """os.write, of which the trap leaves half done."""
        if self._is_next("os.write"):
            self._write(descriptor, memoryview(data)[: len(data) // 2])
            _die()
        return self._write(descriptor, data)

    def _is_next(self, name: str) -> bool:
        if not os.path.exists(self._trap.armed_by):
            return False
        with self._lock:
            self._count += 1
            self._write(self._journal, name.encode() + b"\n")
            return self._count == self._trap.at


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process outlives SIGKILL")


class WrappedLibc:
    """libc for the mounter: every call that does not only look is an effect."""

    def __init__(self, libc: Any, counter: Counter) -> None:
        self._libc = libc
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._libc, name)
        if name in _READ_ONLY_LIBC:
            return function
        return lambda *args: self._counter.effect(f"libc.{name}", lambda: function(*args))


def trap_calls(counter: Counter) -> None:
    """Count every call of this process that changes a file system."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, int) or not flags & _WRITING:
                return
        elif not event.startswith("os.") or event in _READ_ONLY_EVENTS:
            return
        counter.event(f"{event} {_last_name(args)}")

    os.write = counter.write  # type: ignore[assignment]
    linux_mounts._libc = WrappedLibc(linux_mounts._libc, counter)  # type: ignore[assignment]
    sys.addaudithook(hook)


def _last_name(args: tuple[Any, ...]) -> str:
    """The last component of the first path, for a reader of the journal."""
    path = next((arg for arg in args if isinstance(arg, str | bytes)), "")
    return os.path.basename(os.fsdecode(path))


def serve(config: NodeConfig, stop: threading.Event) -> int:
    """As `sscsi.node.__main__.serve`, with the trap set."""
    trap = Trap(**json.loads(os.environ[VARIABLE]))
    counter = Counter(trap)
    if trap.level == "calls":
        trap_calls(counter)
    check_mount_rights()
    make_run_directory(config.run_directory)
    mounter: Any = LinuxMounter(require_shared=config.require_shared_propagation)
    trees: Any = LinuxFileTrees()
    store: Any = RecordFiles(config.state_directory, os.path.join(config.run_directory, "records"))
    if trap.level == "ports":
        mounter = Wrapped(mounter, Mounter, counter.around)
        trees = WrappedTrees(trees, counter.around)
        store = Wrapped(store, RecordStore, counter.around)
    node = NodeRoom(
        config,
        mounter=cast(Mounter, mounter),
        trees=cast(FileTrees, trees),
        store=cast(RecordStore, store),
    )
    return node.serve(stop)


def main() -> int:
    """The entry point; it takes the node room's flags."""
    # Compiled files written at a late import would count.
    sys.dont_write_bytecode = True
    return room("node", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
