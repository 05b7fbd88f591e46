"""`sscsi-node` in which any method of any port can raise an error that nobody planned for. A test's entry point.

SSCSI_TEST_FAILURE names a file: while it is there, with JSON {"method": "Mounter.look", "text": ...}, that method
raises RuntimeError with that text, caused by another with the same. Each time is a line in the file's `.journal`.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, cast

from sscsi.edges.classes_grpc import StatusSyncClasses
from sscsi.edges.file_trees import LinuxFileTrees
from sscsi.edges.linux_mounts import LinuxMounter, check_mount_rights
from sscsi.edges.provider_sockets import ProviderSockets
from sscsi.edges.record_files import RecordFiles
from sscsi.edges.run_directory import make_run_directory
from sscsi.node import room as node_room
from sscsi.node.config import NodeConfig, parse
from sscsi.ports import ClassSource, FileTrees, Mounter, Providers, RecordStore
from sscsi.process.run import room
from tests.support.wrapped_ports import Wrapped, WrappedTrees

VARIABLE = "SSCSI_TEST_FAILURE"


def around(port: type, name: str, do: Callable[[], Any]) -> Any:
    """Make the call, or fail in its place."""
    path = os.environ[VARIABLE]
    try:
        with open(path, encoding="utf-8") as file:
            failure = json.load(file)
    except FileNotFoundError:
        return do()
    method = f"{port.__name__}.{name}"
    if method != failure["method"]:
        return do()
    with open(f"{path}.journal", "a", encoding="utf-8") as journal:
        journal.write(f"{method}\n")
    raise RuntimeError(failure["text"]) from ValueError(failure["text"])


def serve(config: NodeConfig, stop: threading.Event) -> int:
    """As `sscsi.node.__main__.serve`, with every port wrapped, the room's own two as well."""
    check_mount_rights()
    make_run_directory(config.run_directory)
    replaced: Any = node_room
    replaced.ProviderSockets = lambda *args, **kwargs: Wrapped(
        ProviderSockets(*args, **kwargs), Providers, around
    )
    replaced.StatusSyncClasses = lambda *args: Wrapped(StatusSyncClasses(*args), ClassSource, around)
    store = RecordFiles(config.state_directory, os.path.join(config.run_directory, "records"))
    mounter = LinuxMounter(require_shared=config.require_shared_propagation)
    node = node_room.NodeRoom(
        config,
        mounter=cast(Mounter, Wrapped(mounter, Mounter, around)),
        trees=cast(FileTrees, WrappedTrees(LinuxFileTrees(), around)),
        store=cast(RecordStore, Wrapped(store, RecordStore, around)),
    )
    return node.serve(stop)


def main() -> int:
    """The entry point; it takes the node room's flags."""
    return room("node", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
