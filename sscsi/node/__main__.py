"""`sscsi-node`: the node room with the real kernel and the real disk behind it."""

import os
import sys
import threading

from sscsi.edges.file_trees import LinuxFileTrees
from sscsi.edges.linux_mounts import LinuxMounter, check_mount_rights
from sscsi.edges.record_files import RecordFiles
from sscsi.edges.run_directory import make_run_directory
from sscsi.node.config import NodeConfig, parse
from sscsi.node.room import NodeRoom
from sscsi.process.run import room


def serve(config: NodeConfig, stop: threading.Event) -> int:
    """Wire the room and run it."""
    check_mount_rights()
    make_run_directory(config.run_directory)
    node = NodeRoom(
        config,
        mounter=LinuxMounter(require_shared=config.require_shared_propagation),
        trees=LinuxFileTrees(),
        store=RecordFiles(config.state_directory, os.path.join(config.run_directory, "records")),
    )
    return node.serve(stop)


def main() -> int:
    """The console script."""
    return room("node", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
